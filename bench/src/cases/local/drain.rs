//! A drain: everything is queued, one worker process takes it.

use anyhow::Result;

use super::{Bench, cpu_remark, drain, fill, ours};
use crate::{
    raw::Raw,
    reference,
    report::{Row, Target, Unit},
    roles::Work,
    settings::{Despite, Durability},
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(200_000, 2_000);
    let (mut rates, mut cpu, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        raw.push(bench.raw(Raw::Claims { n })?);
        let (_folder, broker) = bench.broker()?;
        fill(&broker, n, true)?;
        let drained = drain(Work::new(&broker), n)?;
        rates.push(drained.rate);
        cpu.push(drained.cpu);
    }
    let theirs = raw.iter().map(|raw| raw.per_second).collect();
    let settings = raw.swap_remove(0).settings;
    let row = Row::new("drain", "no-op async handler, one worker", Unit::PerSecond, rates)
        .with(ours("one worker, 100 slots", Durability::Normal, n))
        .beside(reference::CLAIMS, theirs, settings, Despite::Nothing)
        .target(Target::RatioAtLeast(0.5))
        .remark(cpu_remark("the worker", &cpu));
    Ok(vec![row])
}
