//! A drain: everything is queued, one worker process takes it. Beside a raw limit, and beside queues that others built.

use anyhow::Result;

use super::{Bench, broker, cpu_remark, drain, fill, in_batches};
use crate::{
    peers::Peers,
    raw::Raw,
    reference,
    report::{Row, Target, Unit},
    roles::Work,
    settings::Despite,
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(200_000, 2_000);
    let peers = Peers::find()?;
    let (mut rates, mut cpu, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    let mut others = peers.rounds();
    for _ in 0..bench.rounds() {
        raw.push(bench.raw(Raw::RedisClaims { n })?);
        let (_server, broker) = broker()?;
        fill(&broker, n, true)?;
        let drained = drain(Work::new(&broker), n)?;
        rates.push(drained.rate);
        cpu.push(drained.cpu);
        others.measure("drain", bench.scaled(40_000, 500))?;
    }
    let theirs = raw.iter().map(|raw| raw.per_second).collect();
    let settings = raw.swap_remove(0).settings;
    let row = || {
        Row::new("drain", "no-op async handler, one worker", Unit::PerSecond, rates.clone())
            .with(in_batches("one worker, 100 slots", n))
    };
    let first = row()
        .beside(reference::REDIS_CLAIMS, theirs, settings, Despite::Nothing)
        .target(Target::RatioAtLeast(0.6))
        .remark(cpu_remark("the worker", &cpu));
    let ahead = Target::RatioAtLeast(1.0);
    let targets = [
        ("bullmq", Target::RatioAtLeast(4.0)),
        ("bee-queue", ahead),
        ("apalis", ahead),
        ("apalis-unlocked", ahead),
    ];
    Ok([first].into_iter().chain(others.rows(row, &targets)).collect())
}
