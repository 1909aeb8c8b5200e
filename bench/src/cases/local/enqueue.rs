//! Durable enqueue: one producer, one call after the other.

use anyhow::Result;

use super::{Bench, BesideRaw, enqueue_all, ours};
use crate::{
    raw::Raw,
    reference,
    report::{Row, Target, Unit},
    roles::Produce,
    settings::Durability,
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(200_000, 2_000);
    let rounds = BesideRaw::measure(bench, &Raw::Inserts { n }, || {
        let (_folder, broker) = bench.broker()?;
        enqueue_all(Produce::new(&broker, n))
    })?;
    let row = Row::new("enqueue", "durable, batches of 100", Unit::PerSecond, rounds.rates.clone())
        .with(ours("one producer", Durability::Full, n))
        .target(Target::RatioAtLeast(0.6));
    Ok(vec![rounds.row(row, reference::INSERTS, "the producer")])
}
