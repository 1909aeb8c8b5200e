//! A drain: everything is queued, one worker process takes it. Beside a raw limit, and beside queues that others built.

use anyhow::Result;

use super::{Bench, BesideRaw, broker, drain, fill, in_batches};
use crate::{
    peers::Peers,
    raw::Raw,
    reference,
    report::{Row, Target, Unit},
    roles::Work,
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(200_000, 2_000);
    let mut others = Peers::find()?.rounds();
    let rounds = BesideRaw::measure(bench, &Raw::RedisClaims { n }, || {
        let (_server, broker) = broker()?;
        fill(&broker, n, true)?;
        let drained = drain(Work::new(&broker), n)?;
        others.measure("drain", bench.scaled(40_000, 500))?;
        Ok(drained)
    })?;
    let rates = rounds.rates.clone();
    let row = || {
        Row::new("drain", "no-op async handler, one worker", Unit::PerSecond, rates.clone())
            .with(in_batches("one worker, 100 slots", n))
    };
    let first = rounds.row(row().target(Target::RatioAtLeast(0.6)), reference::REDIS_CLAIMS, "the worker");
    let ahead = Target::RatioAtLeast(1.0);
    let targets = [
        ("bullmq", Target::RatioAtLeast(4.0)),
        ("bee-queue", ahead),
        ("apalis", ahead),
        ("apalis-unlocked", ahead),
    ];
    Ok([first].into_iter().chain(others.rows(row, &targets)).collect())
}
