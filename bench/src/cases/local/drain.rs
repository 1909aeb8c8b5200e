//! A drain: everything is queued, one worker process takes it.

use anyhow::Result;

use super::{Bench, BesideRaw, drain, fill, ours};
use crate::{
    raw::Raw,
    reference,
    report::{Row, Target, Unit},
    roles::Work,
    settings::Durability,
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(200_000, 2_000);
    let rounds = BesideRaw::measure(bench, &Raw::Claims { n }, || {
        let (_folder, broker) = bench.broker()?;
        fill(&broker, n, true)?;
        drain(Work::new(&broker), n)
    })?;
    let row = Row::new("drain", "no-op async handler, one worker", Unit::PerSecond, rounds.rates.clone())
        .with(ours("one worker, 100 slots", Durability::Normal, n))
        .target(Target::RatioAtLeast(0.5));
    Ok(vec![rounds.row(row, reference::CLAIMS, "the worker")])
}
