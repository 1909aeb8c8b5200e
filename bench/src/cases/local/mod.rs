//! The broker of one box, `local:`.

mod backlog;
mod both;
mod crowd;
mod drain;
mod enqueue;
mod idle;
mod kills;
mod latency;
mod senders;

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use tempfile::TempDir;

use super::{
    Bench, BesideRaw, Cases, both as both_at_once, drain, enqueue as enqueue_all, fill, of_many_and_of_few,
    trickle,
};
use crate::{
    report::Row,
    settings::{Durability, Settings},
    work::{BATCH, PAYLOAD},
};

/// The cases, in the order in which they run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Case {
    /// Durable enqueue in batches of 100.
    Enqueue,
    /// One worker process and an async handler that does nothing.
    Drain,
    /// A producer and a worker at once.
    Both,
    /// From a durable enqueue to the handler, when all are idle.
    Latency,
    /// A drain of two million queued tasks.
    Backlog,
    /// Eight workers on one queue.
    Crowd,
    /// Workers are killed: when their tasks start again elsewhere.
    Kills,
    /// 200 commands send one task each, at once.
    Senders,
    /// What an idle worker costs, and how soon it is ready.
    Idle,
}

impl Cases for Case {
    fn run(self, bench: &Bench) -> Result<Vec<Row>> {
        match self {
            Self::Enqueue => enqueue::run(bench),
            Self::Drain => drain::run(bench),
            Self::Both => both::run(bench),
            Self::Latency => latency::run(bench),
            Self::Backlog => backlog::run(bench),
            Self::Crowd => crowd::run(bench),
            Self::Kills => kills::run(bench),
            Self::Senders => senders::run(bench),
            Self::Idle => idle::run(bench),
        }
    }
}

impl Bench {
    /// An empty directory, and the URL of the broker in it.
    fn broker(&self) -> Result<(TempDir, String)> {
        let folder = self.place.fresh()?;
        let url = url(folder.path());
        Ok((folder, url))
    }
}

pub(super) fn url(folder: &Path) -> String {
    format!("local:{}", folder.join("queue").display())
}

/// The settings of ours.
pub(super) fn ours(who: &str, durability: Durability, n: u64) -> Settings {
    let journal = "WAL".to_owned();
    Settings {
        who: format!("manyhands local:, {who}"),
        payload: PAYLOAD,
        batch: BATCH,
        durability,
        journal,
        n,
    }
}
