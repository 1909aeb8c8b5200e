//! A drain: everything is queued, one worker process takes it. Once more with one task that does not end before the others have.

use anyhow::Result;

use super::{Bench, BesideRaw, SLOTS, broker, drain, fill, ours};
use crate::{
    raw::Raw,
    reference,
    report::{Row, Target, Unit},
    roles::{Does, Work},
    work::BATCH,
};

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(100_000, 2_000);
    let (mut slow, mut rates) = (Vec::new(), Vec::new());
    let rounds = BesideRaw::measure(bench, &Raw::RabbitmqConsume { n }, || {
        let pace = {
            let (_server, broker) = broker()?;
            fill(&broker, n, true)?;
            drain(Work { slots: Some(SLOTS), ..Work::new(&broker) }, n)?
        };
        let (_server, broker) = broker()?;
        fill(&broker, n, false)?;
        let one =
            Work { does: Does::OneIsSlow, until: Some(n - 1), slots: Some(SLOTS), ..Work::new(&broker) };
        slow.push(drain(one, n - 1)?.rate);
        rates.push(pace.rate);
        Ok(pace)
    })?;
    let who = || ours("one worker, 1000 slots", BATCH, n);
    let row =
        Row::new("drain", "no-op async handler, one worker, 1000 slots", Unit::PerSecond, rates.clone())
            .with(who())
            .target(Target::RatioAtLeast(0.6));
    let first = rounds.row(row, reference::RABBITMQ_CONSUME, "the worker");
    let second = Row::new("drain", "one task is slow", Unit::PerSecond, slow)
        .with(who())
        .against("without", rates)
        .target(Target::RatioAtLeast(0.95));
    Ok(vec![first, second])
}
