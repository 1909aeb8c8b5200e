//! A drain must not become slow because much is queued.

use anyhow::Result;

use super::{Bench, of_many_and_of_few, ours};
use crate::{
    actor::Actor,
    report::{Row, Target, Unit},
    roles::{Produce, Produced, Role},
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
    let (rates, theirs) = of_many_and_of_few(bench, &full, few, || bench.broker())?;
    let settings = ours("one worker, 100 slots, 2 million queued", Durability::Normal, few);
    let small = ours("one worker, 100 slots, 50 000 queued", Durability::Normal, few);
    let row = Row::new("backlog", "drain of 2 million queued", Unit::PerSecond, rates)
        .with(settings)
        .beside("50 000 queued", theirs, small, Despite::Nothing)
        .target(Target::RatioAtLeast(0.8));
    Ok(vec![row])
}
