//! What a worker costs that has nothing to do, and how soon a new one is ready.

use std::{thread, time::Duration};

use anyhow::Result;
use manyhands_test_support::ledger::now;

use super::{Bench, ours};
use crate::{
    actor::Actor,
    figures::millis,
    machine::{cpu_time, resident},
    report::{Row, Target, Unit},
    roles::{Begun, Does, Produce, Produced, Role, Work},
    settings::Durability,
};

/// How often a worker is started.
const STARTS: u64 = 20;

/// How much later the tasks may start that wait: not while we look.
const LATER: u64 = 3600;

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let waiting = bench.scaled(10_000, 500);
    let (_folder, broker) = bench.broker()?;
    let later = Produce { delay: LATER, ..Produce::new(&broker, waiting) };
    let _: Produced = Actor::run(&Role::Produce(later))?;
    let mut ready = Vec::new();
    for _ in 0..bench.scaled(STARTS, 2) {
        ready.push(start(&broker)?.1);
    }
    let (worker, _) = start(&broker)?;
    let watched = Duration::from_secs(bench.scaled(60, 2));
    let (cpu, memory) = watch(&worker, watched)?;
    let settings = ours(&format!("one worker, {waiting} delayed tasks"), Durability::Normal, waiting);
    Ok(vec![
        Row::new("idle", format!("processor time, {} s", watched.as_secs()), Unit::PercentOfACore, vec![cpu])
            .with(settings)
            .target(Target::AtMost(0.2)),
        Row::new("idle", "resident at most", Unit::MiB, vec![memory])
            .target(Target::AtMost(20.0))
            .remark("the worker is a role of this program, so its size counts too"),
        Row::new("idle", "from its start to its first task", Unit::Millis, ready)
            .target(Target::AtMost(50.0)),
    ])
}

/// Starts a worker while one task is ready, and returns it with the milliseconds until that task's handler began.
fn start(broker: &str) -> Result<(Actor, f64)> {
    let _: Produced = Actor::run(&Role::Produce(Produce::new(broker, 1)))?;
    let work = Work { does: Does::SayBegin, at_once: true, until: Some(u64::MAX), ..Work::new(broker) };
    let began = now();
    let mut worker = Actor::start(&Role::Work(work))?;
    let begun: Begun = worker.answer()?;
    Ok((worker, millis(begun.at - began)))
}

/// The share of a core that it uses, in percent, and the memory that it had, in MiB.
#[expect(clippy::disallowed_methods, reason = "what is measured is that nothing happens")]
fn watch(worker: &Actor, watched: Duration) -> Result<(f64, f64)> {
    // What its start left to do is not idle.
    thread::sleep(Duration::from_secs(1));
    let (began, before) = (now(), cpu_time(worker.pid())?);
    thread::sleep(watched);
    let used = (cpu_time(worker.pid())? - before).as_nanos() as f64;
    Ok((100.0 * used / (now() - began) as f64, resident(worker.pid())?))
}
