//! From a durable enqueue to the handler in another process, when all are idle: what one sync and a few wake-ups cost.

use anyhow::Result;

use super::{Bench, ours, trickle};
use crate::{
    figures::Spread,
    raw::{Measured, Raw},
    reference,
    report::{Row, Target, Unit},
    settings::{Durability, Settings},
};

/// How many wake-ups the way may take.
const WAKE_UPS: f64 = 4.0;

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(1000, 50);
    let (mut p50, mut p99, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    let (mut syncs, mut sockets) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        syncs.push(bench.raw(Raw::Fdatasync { n: bench.scaled(3000, 100) })?);
        sockets.push(bench.raw(Raw::PingPong { n: bench.scaled(10_000, 100) })?);
        let (_folder, broker) = bench.broker()?;
        let (produced, worked) = trickle(&broker, n)?;
        calls.push(produced.call);
        p50.push(worked.age.0 / 1e6);
        p99.push(worked.age.1 / 1e6);
    }
    let call = Spread::of(&calls).map_or(0.0, |spread| spread.median);
    let middle = |raw: &Measured| raw.took.map_or(f64::NAN, |took| took.0);
    let pairs = syncs.iter().zip(&sockets);
    let limit = pairs.map(|(sync, socket)| middle(sync) + WAKE_UPS * middle(socket)).collect();
    let settings = Settings { batch: 1, ..ours("one producer, one worker, idle", Durability::Full, n) };
    let raw = |name: &'static str, measured: Vec<Measured>| {
        let row =
            Row::new("latency", format!("raw: {name}"), Unit::Millis, measured.iter().map(middle).collect());
        measured.into_iter().next().map(|first| row.with(first.settings).known_as(name))
    };
    let limits = [raw(reference::FDATASYNC, syncs), raw(reference::PING_PONG, sockets)];
    let row = Row::new("latency", "enqueue -> handler, p50", Unit::Millis, p50.clone())
        .with(settings)
        .against("fdatasync p50 + 4 x ping-pong p50", limit)
        .target(Target::RatioAtMost(1.0))
        .remark(format!("the enqueue call alone: p50 {call:.3} ms"));
    let row = limits.iter().flatten().fold(row, Row::computed_from);
    let tail = Row::new("latency", "enqueue -> handler, p99", Unit::Millis, p99)
        .against("our p50", p50)
        .target(Target::RatioAtMost(5.0));
    Ok([row, tail].into_iter().chain(limits.into_iter().flatten()).collect())
}
