//! From an enqueue to the handler in another process, when all are idle.

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
    let (mut p50, mut p99, mut calls, mut raw) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        raw.push(bench.raw(Raw::RabbitmqLatency { n })?);
        let (_server, broker) = broker()?;
        let (produced, worked) = trickle(&broker, n)?;
        calls.push(produced.call);
        p50.push(worked.age.0 / 1e6);
        p99.push(worked.age.1 / 1e6);
    }
    let call = Spread::of(&calls).map_or(0.0, |spread| spread.median);
    let theirs = raw.iter().map(median).collect();
    let settings = raw.swap_remove(0).settings;
    let row = Row::new("latency", "enqueue -> handler, p50", Unit::Millis, p50.clone())
        .with(ours("one producer, one worker, idle", 1, n))
        .beside(reference::RABBITMQ_LATENCY, theirs, settings, Despite::Nothing)
        .target(Target::RatioAtMost(1.3))
        .remark(format!("the enqueue call alone: p50 {call:.3} ms"));
    let tail = Row::new("latency", "enqueue -> handler, p99", Unit::Millis, p99).against("our p50", p50);
    Ok(vec![row, tail])
}
