//! The broker over a Redis server. Each measurement has a server of its own, which keeps nothing on the disk, as have those that it
//! is compared with.

mod big;
mod both;
mod drain;
mod enqueue;
mod latency;
mod memory;
mod restart;
mod result;
mod slow_calls;

use anyhow::Result;
use clap::ValueEnum;
use manyhands_test_support::servers::Redis;

use super::{
    Bench, BesideRaw, Cases, both as both_at_once, drain, enqueue as enqueue_all, fill, of_many_and_of_few,
};
use crate::{
    report::Row,
    settings::{Durability, Settings},
    work::{BATCH, PAYLOAD},
};

/// The cases, in the order in which they run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Case {
    /// Enqueue in batches of 100.
    Enqueue,
    /// One worker process and an async handler that does nothing.
    Drain,
    /// A producer and a worker at once.
    Both,
    /// From an enqueue to the handler, when all are idle.
    Latency,
    /// From before an enqueue until its sender has the result.
    Result,
    /// What a queued task takes of the server's memory.
    Memory,
    /// A server that is killed and started again, under load.
    Restart,
    /// Ten million queued tasks, and 200 sessions at once. Takes minutes and 4.5 GiB of memory, so it runs only if it is named.
    Big,
}

impl Cases for Case {
    fn run(self, bench: &Bench) -> Result<Vec<Row>> {
        match self {
            Self::Enqueue => enqueue::run(bench),
            Self::Drain => drain::run(bench),
            Self::Both => both::run(bench),
            Self::Latency => latency::run(bench),
            Self::Result => result::run(bench),
            Self::Memory => memory::run(bench),
            Self::Restart => restart::run(bench),
            Self::Big => big::run(bench),
        }
    }

    fn only_if_named(self) -> bool {
        self == Self::Big
    }
}

/// A server that keeps nothing on the disk, and the URL of the broker over it.
fn broker() -> Result<(Redis, String)> {
    let server = Redis::start()?;
    let url = server.url();
    Ok((server, url))
}

/// The settings of ours.
fn ours(who: &str, batch: usize, n: u64) -> Settings {
    with_durability(who, batch, n, Durability::ServersMemory)
}

/// The settings of ours where answers are worth this.
fn with_durability(who: &str, batch: usize, n: u64, durability: Durability) -> Settings {
    Settings {
        who: format!("manyhands redis:, {who}"),
        payload: PAYLOAD,
        batch,
        durability,
        journal: if durability == Durability::ServersLog { "append-only file" } else { "none" }.to_owned(),
        n,
    }
}

/// The settings of ours where tasks are sent a hundred in a call.
fn in_batches(who: &str, n: u64) -> Settings {
    ours(who, BATCH, n)
}
