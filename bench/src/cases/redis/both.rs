//! A producer and a worker at once, in two processes: beside queues that others built.

use anyhow::Result;

use super::{Bench, broker, in_batches};
use crate::{
    actor::Actor,
    figures::rate,
    peers::Peers,
    report::{Row, Target, Unit},
    roles::{Produce, Produced, Role, Work, Worked},
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(200_000, 2_000);
    let peers = Peers::find();
    let mut rates = Vec::new();
    let mut others = peers.rounds();
    for _ in 0..bench.rounds() {
        rates.push(measure(n)?);
        others.measure("both", bench.scaled(40_000, 500))?;
    }
    let row = || {
        Row::new("both", "a producer and a worker", Unit::PerSecond, rates.clone())
            .with(in_batches("one producer, one worker, 100 slots", n))
    };
    let targets = ["bullmq", "bee-queue"].map(|peer| (peer, Target::RatioAtLeast(4.0)));
    Ok(others.rows(row, &targets))
}

/// The tasks a second, from before the first enqueue to the last accepted settlement.
fn measure(n: u64) -> Result<f64> {
    let (_server, broker) = broker()?;
    let mut worker = Actor::ready(&Role::Work(Work { until: Some(n), ..Work::new(&broker) }))?;
    let mut producer = Actor::ready(&Role::Produce(Produce::new(&broker, n)))?;
    worker.go()?;
    producer.go()?;
    let produced: Produced = producer.end()?;
    let worked: Worked = worker.end()?;
    Ok(rate(n, worked.ended - produced.began))
}
