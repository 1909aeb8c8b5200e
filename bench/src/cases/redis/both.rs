//! A producer and a worker at once, in two processes: beside queues that others built.

use anyhow::Result;

use super::{Bench, both_at_once, broker, in_batches};
use crate::{
    peers::Peers,
    report::{Row, Target, Unit},
    roles::{Produce, Work},
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(200_000, 2_000);
    let peers = Peers::find()?;
    let mut rates = Vec::new();
    let mut others = peers.rounds();
    for _ in 0..bench.rounds() {
        let (_server, broker) = broker()?;
        let work = Work { until: Some(n), ..Work::new(&broker) };
        rates.push(both_at_once(Produce::new(&broker, n), work)?.rate);
        others.measure("both", bench.scaled(40_000, 500))?;
    }
    let row = || {
        Row::new("both", "a producer and a worker", Unit::PerSecond, rates.clone())
            .with(in_batches("one producer, one worker, 100 slots", n))
    };
    let targets = ["bullmq", "bee-queue"].map(|peer| (peer, Target::RatioAtLeast(4.0)));
    Ok(others.rows(row, &targets))
}
