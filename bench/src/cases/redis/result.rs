//! From before an enqueue until its sender has the result, one task after the other.

use anyhow::{Result, ensure};

use super::{Bench, broker, ours};
use crate::{
    actor::Actor,
    cases::median,
    peers::Peers,
    raw::Raw,
    reference,
    report::{Row, Target, Unit},
    roles::{Ask, Produced, Role, Work, Worked},
    settings::Despite,
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(2000, 50);
    let peers = Peers::find()?;
    let (mut p50, mut pings) = (Vec::new(), Vec::new());
    let mut others = peers.rounds();
    for _ in 0..bench.rounds() {
        pings.push(bench.raw(Raw::RedisPing { n: bench.scaled(10_000, 100), pause: 0 })?);
        p50.push(measure(n)?);
        others.measure_only("bullmq", "result", bench.scaled(1000, 20))?;
    }
    let theirs = pings.iter().map(median).collect();
    let settings = pings.swap_remove(0).settings;
    let row = || {
        Row::new("result", "send and wait for the result, p50", Unit::Millis, p50.clone()).with(ours(
            "one sender, one worker, 100 slots",
            1,
            n,
        ))
    };
    let first = row()
        .beside(reference::REDIS_PING, theirs, settings, Despite::Nothing)
        .target(Target::RatioAtMost(6.0));
    Ok([first].into_iter().chain(others.rows(row, &[("bullmq", Target::RatioAtMost(0.5))])).collect())
}

fn measure(n: u64) -> Result<f64> {
    let (_server, broker) = broker()?;
    // As a service: one that watches for the end of its queue asks more often.
    let mut worker = Actor::ready(&Role::Work(Work { until: Some(n), ..Work::new(&broker) }))?;
    let mut sender = Actor::ready(&Role::Ask(Ask { broker, tasks: n }))?;
    worker.go()?;
    sender.go()?;
    let produced: Produced = sender.end()?;
    let worked: Worked = worker.end()?;
    ensure!(worked.settled == n, "{} of {n} tasks were settled", worked.settled);
    Ok(produced.call)
}
