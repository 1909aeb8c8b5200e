//! Handlers in processes of their own, on the broker of one box.

mod burst;
mod killed;
mod poison;
mod process;
mod supervisor;
mod waiting;
mod warm;

use anyhow::Result;
use clap::ValueEnum;

use super::{Bench, Cases};
use crate::report::Row;

/// The cases, in the order in which they run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Case {
    /// A handler in Python that does nothing.
    Warm,
    /// A handler in Rust that does nothing, in a process and in the worker.
    Process,
    /// Ten thousand async handlers that wait, in one worker.
    Waiting,
    /// Children that are killed while they write their results.
    Killed,
    /// Supervisors that are killed.
    Supervisor,
    /// One task among a thousand that kills its process.
    Poison,
    /// Twenty times as many tasks as before, on a supervisor that scales.
    Burst,
}

impl Cases for Case {
    fn run(self, bench: &Bench) -> Result<Vec<Row>> {
        match self {
            Self::Warm => warm::run(bench),
            Self::Process => process::run(bench),
            Self::Waiting => waiting::run(bench),
            Self::Killed => killed::run(bench),
            Self::Supervisor => supervisor::run(bench),
            Self::Poison => poison::run(bench),
            Self::Burst => burst::run(bench),
        }
    }
}
