//! Tasks that are due in the same second, among many that are due later.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Bench, SLOTS, broker, ours};
use crate::{
    actor::Actor,
    report::{Row, Target, Unit},
    roles::{Does, Produce, Produced, Role, Work, Worked},
    work::BATCH,
};

/// When those are due that are waited for, after they were sent. No round number: they go through as many waiting lines as such numbers can.
const DUE: Duration = Duration::from_secs(31);

/// When the others are.
const LATER: Duration = Duration::from_secs(3_000_000 / 4);

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let (due, later) = (bench.scaled(10_000, 200), bench.scaled(100_000, 500));
    let after = if bench.scaled(1, 0) == 1 { DUE } else { Duration::from_secs(3) };
    let (mut p50, mut p99, mut early) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let (_server, broker) = broker()?;
        let send = |tasks, after: Duration| -> Result<Produced> {
            let produce =
                Produce { batch: 256, calls: 4, delay: after.as_secs(), ..Produce::new(&broker, tasks) };
            Actor::run(&Role::Produce(produce))
        };
        send(later, LATER)?;
        let work = Work { does: Does::NoteAge, until: Some(due), slots: Some(SLOTS), ..Work::new(&broker) };
        let mut worker = Actor::ready(&Role::Work(work))?;
        worker.go()?;
        send(due, after)?;
        let worked: Worked = worker.end()?;
        ensure!(worked.settled >= due, "{} of {due} tasks were settled", worked.settled);
        let late = |age: f64| age / 1e6 - after.as_millis() as f64;
        p50.push(late(worked.age.0));
        p99.push(late(worked.age.1));
        early.push(f64::from(u8::from(late(worked.youngest) < 0.0)));
    }
    let who = format!("{due} due in {after:?}, among {later} due in {LATER:?}; one worker, 1000 slots");
    let row = |what: &str, unit, rounds| Row::new("delays", what, unit, rounds);
    Ok(vec![
        row("how late, p99", Unit::Millis, p99)
            .with(ours(&who, BATCH, due))
            .target(Target::NeverAbove(1500.0)),
        row("how late, p50", Unit::Millis, p50),
        row("rounds in which one was early", Unit::Count, early).target(Target::NeverAbove(0.0)),
    ])
}
