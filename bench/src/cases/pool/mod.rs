//! Pools of processes that call functions.

mod apply;
mod beside;
mod imap;
mod killed;
mod left;
mod map;
mod workers;

use anyhow::Result;
use clap::ValueEnum;

use super::{Bench, Cases};
use crate::report::Row;

/// The cases, in the order in which they run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Case {
    /// `map` of a function that does next to nothing.
    Map,
    /// One call of it after the other.
    Apply,
    /// The same calls, done by two workers over Redis and over the store of one box.
    Workers,
    /// `imap`, while a process is killed.
    Imap,
    /// Processes that are killed while they write their results.
    Killed,
    /// What is left of a pool when its program ends or is killed.
    Left,
}

impl Cases for Case {
    fn run(self, bench: &Bench) -> Result<Vec<Row>> {
        match self {
            Self::Map => map::run(bench),
            Self::Apply => apply::run(bench),
            Self::Workers => workers::run(bench),
            Self::Imap => imap::run(bench),
            Self::Killed => killed::run(bench),
            Self::Left => left::run(bench),
        }
    }
}
