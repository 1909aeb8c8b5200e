//! Enqueue: one producer, twenty calls of 100 tasks at a time: so many messages are not confirmed as at the raw limit.

use anyhow::Result;

use super::{Bench, BesideRaw, broker, ours};
use crate::{
    cases::enqueue,
    raw::{Raw, WINDOW},
    reference,
    report::{Row, Target, Unit},
    roles::Produce,
    work::BATCH,
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(100_000, 2_000);
    let rounds = BesideRaw::measure(bench, &Raw::RabbitmqPublish { n }, || {
        let (_server, broker) = broker()?;
        enqueue(Produce { calls: WINDOW / BATCH, ..Produce::new(&broker, n) })
    })?;
    let row = Row::new("enqueue", "20 calls of 100 at a time", Unit::PerSecond, rounds.rates.clone())
        .with(ours("one producer", WINDOW, n))
        .target(Target::RatioAtLeast(0.9));
    Ok(vec![rounds.row(row, reference::RABBITMQ_PUBLISH, "the producer")])
}
