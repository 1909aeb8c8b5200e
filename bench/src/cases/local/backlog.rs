//! A drain must not become slow because much is queued.

use anyhow::Result;

use super::{Bench, drain, fill, ours};
use crate::{
    actor::Actor,
    report::{Row, Target, Unit},
    roles::{Produce, Produced, Role, Work},
    settings::{Despite, Durability},
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let (many, few) = (bench.scaled(2_000_000, 5_000), bench.scaled(50_000, 1_000));
    let (_folder, full) = bench.broker()?;
    // What the rounds take comes on top: so many are queued in each of them.
    let queued = many + few * u64::from(bench.rounds());
    let produce = Produce {
        batch: 256,
        calls: 4,
        capacity: Some(queued.max(3_000_000)),
        ..Produce::new(&full, queued)
    };
    let _: Produced = Actor::run(&Role::Produce(produce))?;
    let (mut rates, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let (_folder, broker) = bench.broker()?;
        fill(&broker, few, false)?;
        let until = Some(few);
        theirs.push(drain(Work { until, ..Work::new(&broker) }, few)?.rate);
        rates.push(drain(Work { until, ..Work::new(&full) }, few)?.rate);
    }
    let settings = ours("one worker, 100 slots, 2 million queued", Durability::Normal, few);
    let small = ours("one worker, 100 slots, 50 000 queued", Durability::Normal, few);
    let row = Row::new("backlog", "drain of 2 million queued", Unit::PerSecond, rates)
        .with(settings)
        .beside("50 000 queued", theirs, small, Despite::Nothing)
        .target(Target::RatioAtLeast(0.8));
    Ok(vec![row])
}
