//! Ten million queued tasks, and 200 sessions at once: neither may make a drain slow, nor a script long.

use anyhow::{Result, ensure};

use super::{Bench, broker, fill, in_batches, memory, of_many_and_of_few, ours, slow_calls::SlowCalls};
use crate::{
    actor::Actor,
    figures::rate,
    machine,
    report::{Row, Target, Unit},
    roles::{Crowd, Produce, Produced, Role, Worked},
    settings::Despite,
    work::BATCH,
};

/// How many workers are there by their sessions.
const SESSIONS: usize = 200;

/// What a queued task may take of the memory at most, in bytes, with some to spare.
const EACH: u64 = 500;

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let (many, few) = (bench.scaled(10_000_000, 5_000), bench.scaled(100_000, 1_000));
    let sessions = usize::try_from(bench.scaled(SESSIONS as u64, 5))?;
    // What the rounds take comes on top: so many are queued in each of them.
    let each_round = 3 * few + 2 * (sessions * BATCH) as u64;
    let queued = many + each_round * u64::from(bench.rounds());
    let free = machine::free_memory()?;
    ensure!(
        free > queued * EACH,
        "{queued} queued tasks may need {} MiB of memory, and {} are free",
        (queued * EACH) >> 20,
        free >> 20
    );
    let (server, mut slow) = SlowCalls::start()?;
    let full = server.url();
    let empty = memory::used(&server)?;
    let produce = Produce { batch: 256, calls: 4, capacity: Some(queued), ..Produce::new(&full, queued) };
    let produced: Produced = Actor::run(&Role::Produce(produce))?;
    slow.note("they were enqueued")?;
    let filled = format!(
        "{queued} tasks were enqueued, {:.0} a second, and took {:.0} MiB of the server's memory",
        rate(queued, produced.ended - produced.began),
        (memory::used(&server)? - empty) / (1024.0 * 1024.0)
    );
    let (one, one_of_few) = of_many_and_of_few(bench, &full, few, broker)?;
    slow.note("one worker took some")?;
    let (mut crowd, mut crowd_of_few, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let (_server, fresh) = broker()?;
        fill(&fresh, few, false)?;
        crowd_of_few.push(by_sessions(&fresh, sessions, few)?);
        crowd.push(by_sessions(&full, sessions, few)?);
        slow.note("many sessions took some")?;
        alone.push(by_sessions(&full, 1, few)?);
        slow.note("one session took some")?;
    }
    let (queued_many, queued_few) = (format!("{} queued", words(many)), format!("{} queued", words(few)));
    let deep = |who: &str| in_batches(&format!("{who}, {queued_many}"), few);
    let flat = |who: &str| in_batches(&format!("{who}, {queued_few}"), few);
    let all = format!("{sessions} sessions of one process, each claims and settles {BATCH}");
    let row = |what: String, unit, rounds| Row::new("big", what, unit, rounds);
    let scripts = row("scripts of more than 2 ms".to_owned(), Unit::Count, vec![slow.count() as f64])
        .with(ours("all of the above", 256, queued))
        .target(Target::NeverAbove(0.0));
    Ok(vec![
        row(format!("drain of {queued_many}, one worker"), Unit::PerSecond, one)
            .with(deep("one worker, 100 slots"))
            .beside(&queued_few, one_of_few, flat("one worker, 100 slots"), Despite::Nothing)
            .target(Target::RatioAtLeast(0.8))
            .remark(filled),
        row(format!("drain of {queued_many}, {sessions} sessions"), Unit::PerSecond, crowd.clone())
            .with(deep(&all))
            .beside(&queued_few, crowd_of_few, flat(&all), Despite::Nothing)
            .target(Target::RatioAtLeast(0.8)),
        row(format!("drain of {queued_many}, {sessions} sessions"), Unit::PerSecond, crowd)
            .with(deep(&all))
            .against("one session", alone),
        slow.told().fold(scripts, Row::remark),
    ])
}

/// A number as people say it.
fn words(n: u64) -> String {
    match n / 1_000_000 {
        millions @ 1.. if n.is_multiple_of(1_000_000) => format!("{millions} million"),
        _ => n.to_string(),
    }
}

/// Tasks a second of so many sessions at once.
fn by_sessions(broker: &str, sessions: usize, until: u64) -> Result<f64> {
    let crowd = Crowd { broker: broker.to_owned(), sessions, until };
    let worked: Worked = Actor::run(&Role::Crowd(crowd))?;
    Ok(rate(until, worked.ended - worked.began))
}
