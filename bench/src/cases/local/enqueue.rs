//! Durable enqueue: one producer, one call after the other.

use anyhow::Result;

use super::{Bench, cpu_remark, each, ours};
use crate::{
    actor::Actor,
    figures::rate,
    raw::Raw,
    reference,
    report::{Row, Target, Unit},
    roles::{Produce, Produced, Role},
    settings::{Despite, Durability},
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(200_000, 2_000);
    let (mut rates, mut cpu, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        raw.push(bench.raw(Raw::Inserts { n })?);
        let (_folder, broker) = bench.broker()?;
        let produced: Produced = Actor::run(&Role::Produce(Produce::new(&broker, n)))?;
        rates.push(rate(n, produced.ended - produced.began));
        cpu.push(each(produced.cpu, n));
    }
    let theirs = raw.iter().map(|raw| raw.per_second).collect();
    let settings = raw.swap_remove(0).settings;
    let row = Row::new("enqueue", "durable, batches of 100", Unit::PerSecond, rates)
        .with(ours("one producer", Durability::Full, n))
        .beside(reference::INSERTS, theirs, settings, Despite::Nothing)
        .target(Target::RatioAtLeast(0.6))
        .remark(cpu_remark("the producer", &cpu));
    Ok(vec![row])
}
