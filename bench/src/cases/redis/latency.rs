//! From an enqueue to the handler in another process, when all are idle: what a few round trips cost.

use anyhow::Result;

use super::{Bench, broker, ours, trickle};
use crate::{
    cases::median,
    figures::Spread,
    raw::Raw,
    reference,
    report::{Row, Target, Unit},
    settings::Despite,
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(1000, 50);
    let (mut p50, mut p99, mut calls, mut pings) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        pings.push(bench.raw(Raw::RedisPing { n: bench.scaled(10_000, 100) })?);
        let (_server, broker) = broker()?;
        let (produced, worked) = trickle(&broker, n)?;
        calls.push(produced.call);
        p50.push(worked.age.0 / 1e6);
        p99.push(worked.age.1 / 1e6);
    }
    let call = Spread::of(&calls).map_or(0.0, |spread| spread.median);
    let theirs = pings.iter().map(median).collect();
    let settings = pings.swap_remove(0).settings;
    let row = Row::new("latency", "enqueue -> handler, p50", Unit::Millis, p50.clone())
        .with(ours("one producer, one worker, idle", 1, n))
        .beside(reference::REDIS_PING, theirs, settings, Despite::Nothing)
        .target(Target::RatioAtMost(3.0))
        .remark(format!("the enqueue call alone: p50 {call:.3} ms"));
    let tail = Row::new("latency", "enqueue -> handler, p99", Unit::Millis, p99)
        .against("our p50", p50)
        .target(Target::RatioAtMost(5.0));
    Ok(vec![row, tail])
}
