//! The broker over a RabbitMQ server. Each measurement has a server of its own, on the disk, as have the raw limits.

mod both;
mod delays;
mod drain;
mod enqueue;
mod latency;
mod restart;

use anyhow::Result;
use clap::ValueEnum;
use manyhands_test_support::servers::RabbitMq;

use super::{Bench, BesideRaw, Cases, both as both_at_once, drain, fill};
use crate::{
    report::Row,
    settings::{Durability, Settings},
    work::PAYLOAD,
};

/// The cases, in the order in which they run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Case {
    /// Enqueue, twenty calls of 100 at a time.
    Enqueue,
    /// One worker process with a thousand slots, and an async handler that does nothing.
    Drain,
    /// A producer and a worker at once.
    Both,
    /// From an enqueue to the handler, when all are idle.
    Latency,
    /// A server that is killed and started again, under load.
    Restart,
    /// Tasks that are due at once, among many that are due later.
    Delays,
}

impl Cases for Case {
    fn run(self, bench: &Bench) -> Result<Vec<Row>> {
        match self {
            Self::Enqueue => enqueue::run(bench),
            Self::Drain => drain::run(bench),
            Self::Both => both::run(bench),
            Self::Latency => latency::run(bench),
            Self::Restart => restart::run(bench),
            Self::Delays => delays::run(bench),
        }
    }
}

/// How many tasks a worker runs at a time.
const SLOTS: usize = 1000;

/// A server, and the URL of the broker over it.
fn broker() -> Result<(RabbitMq, String)> {
    let server = RabbitMq::start()?;
    let url = server.url();
    Ok((server, url))
}

/// The settings of ours.
fn ours(who: &str, batch: usize, n: u64) -> Settings {
    Settings {
        who: format!("manyhands amqp:, {who}"),
        payload: PAYLOAD,
        batch,
        durability: Durability::ServersQuorum,
        journal: "the server's write-ahead log".to_owned(),
        n,
    }
}
