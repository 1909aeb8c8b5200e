//! A producer and a worker at once, in two processes.

use anyhow::Result;

use super::{Bench, BesideRaw, SLOTS, both_at_once, broker, ours};
use crate::{
    raw::{Raw, WINDOW},
    reference,
    report::{Row, Target, Unit},
    roles::{Produce, Work},
    work::BATCH,
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(100_000, 2_000);
    let rounds = BesideRaw::measure(bench, &Raw::RabbitmqBoth { n }, || {
        let (_server, broker) = broker()?;
        let produce = Produce { calls: WINDOW / BATCH, ..Produce::new(&broker, n) };
        let work = Work { until: Some(n), slots: Some(SLOTS), ..Work::new(&broker) };
        both_at_once(produce, work)
    })?;
    let row = Row::new("both", "a producer and a worker", Unit::PerSecond, rounds.rates.clone())
        .with(ours("one producer, 20 calls of 100 at a time, one worker, 1000 slots", BATCH, n))
        .target(Target::RatioAtLeast(0.8));
    Ok(vec![rounds.row(row, reference::RABBITMQ_BOTH, "both")])
}
