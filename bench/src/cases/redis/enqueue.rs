//! Enqueue: one producer, one call of 100 tasks after the other.

use anyhow::Result;

use super::{Bench, broker, cpu_remark, each, in_batches};
use crate::{
    actor::Actor,
    figures::rate,
    raw::Raw,
    reference,
    report::{Row, Target, Unit},
    roles::{Produce, Produced, Role},
    settings::Despite,
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(200_000, 2_000);
    let (mut rates, mut cpu, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        raw.push(bench.raw(Raw::RedisEnqueue { n })?);
        let (_server, broker) = broker()?;
        let produced: Produced = Actor::run(&Role::Produce(Produce::new(&broker, n)))?;
        rates.push(rate(n, produced.ended - produced.began));
        cpu.push(each(produced.cpu, n));
    }
    let theirs = raw.iter().map(|raw| raw.per_second).collect();
    let settings = raw.swap_remove(0).settings;
    let row = Row::new("enqueue", "batches of 100", Unit::PerSecond, rates)
        .with(in_batches("one producer", n))
        .beside(reference::REDIS_ENQUEUE, theirs, settings, Despite::Nothing)
        .target(Target::RatioAtLeast(0.7))
        .remark(cpu_remark("the producer", &cpu));
    Ok(vec![row])
}
