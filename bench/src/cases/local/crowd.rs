//! Eight workers on one queue: together nearly as quick as one, each served, none kept waiting.

use anyhow::{Result, ensure};

use super::{Bench, drain, fill, ours};
use crate::{
    actor::Actor,
    figures::{millis, rate},
    report::{Row, Target, Unit},
    roles::{Role, Work, Worked},
    settings::{Despite, Durability},
};

/// How many workers.
const WORKERS: usize = 8;

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(200_000, 4_000);
    let (mut rates, mut shares, mut waits, mut alone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let (_folder, broker) = bench.broker()?;
        fill(&broker, n, true)?;
        alone.push(drain(Work::new(&broker), n)?.rate);
        let crowd = measure(bench, n)?;
        let settled: u64 = crowd.iter().map(|worked| worked.settled).sum();
        ensure!(settled == n, "{settled} of {n} tasks were settled");
        let began = crowd.iter().map(|worked| worked.began).min().unwrap_or_default();
        let ended = crowd.iter().map(|worked| worked.ended).max().unwrap_or_default();
        rates.push(rate(n, ended.saturating_sub(began)));
        let fair = n as f64 / WORKERS as f64;
        shares.extend(crowd.iter().map(|worked| worked.settled as f64 / fair));
        waits.extend(crowd.iter().map(|worked| millis(worked.longest_claim)));
    }
    let settings = ours("eight workers, 100 slots each", Durability::Normal, n);
    let one = ours("one worker, 100 slots", Durability::Normal, n);
    Ok(vec![
        Row::new("crowd", "eight workers, together", Unit::PerSecond, rates)
            .with(settings)
            .beside("one worker", alone, one, Despite::Nothing)
            .target(Target::RatioAtLeast(0.7)),
        Row::new("crowd", "part of a fair share, each worker", Unit::Part, shares)
            .target(Target::NeverBelow(1.0 / 3.0)),
        Row::new("crowd", "longest wait for a claim, each worker", Unit::Millis, waits)
            .target(Target::NeverAbove(250.0)),
    ])
}

fn measure(bench: &Bench, n: u64) -> Result<Vec<Worked>> {
    let (_folder, broker) = bench.broker()?;
    fill(&broker, n, true)?;
    let ready = |_| Actor::ready(&Role::Work(Work::new(&broker)));
    let mut workers = (0..WORKERS).map(ready).collect::<Result<Vec<_>>>()?;
    workers.iter_mut().try_for_each(Actor::go)?;
    workers.into_iter().map(Actor::end).collect()
}
