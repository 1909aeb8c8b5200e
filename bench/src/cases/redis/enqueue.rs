//! Enqueue: one producer, one call of 100 tasks after the other.

use anyhow::Result;

use super::{Bench, BesideRaw, broker, enqueue_all, in_batches};
use crate::{
    raw::Raw,
    reference,
    report::{Row, Target, Unit},
    roles::Produce,
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(200_000, 2_000);
    let rounds = BesideRaw::measure(bench, &Raw::RedisEnqueue { n }, || {
        let (_server, broker) = broker()?;
        enqueue_all(Produce::new(&broker, n))
    })?;
    let row = Row::new("enqueue", "batches of 100", Unit::PerSecond, rounds.rates.clone())
        .with(in_batches("one producer", n))
        .target(Target::RatioAtLeast(0.7));
    Ok(vec![rounds.row(row, reference::REDIS_ENQUEUE, "the producer")])
}
