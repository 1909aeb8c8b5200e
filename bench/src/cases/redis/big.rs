//! Ten million queued tasks, and 200 sessions at once: neither may make a drain slow, nor a script long.

use anyhow::{Result, ensure};
use manyhands_test_support::servers::Redis;

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

/// What a queued task may take of the memory at most, in bytes, with some to spare.
const EACH: u64 = 400;

/// So many tasks are queued, and so few of them are taken in one measurement, by so many sessions.
struct Numbers {
    many: u64,
    few: u64,
    sessions: usize,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let numbers = Numbers {
        many: bench.scaled(10_000_000, 5_000),
        few: bench.scaled(100_000, 1_000),
        sessions: usize::try_from(bench.scaled(200, 5))?,
    };
    let Numbers { many, few, sessions } = numbers;
    // What the rounds take comes on top: so many are queued in each of them.
    let each_round = 3 * few + 2 * (sessions * BATCH) as u64;
    let queued = many + each_round * u64::from(bench.rounds());
    let (server, mut slow) = SlowCalls::start()?;
    let full = server.url();
    let filled = enqueue(&server, queued)?;
    slow.note("they were enqueued")?;
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
    let scripts = Row::new("big", "scripts of more than 2 ms", Unit::Count, vec![slow.count() as f64])
        .with(ours("all of the above", 256, queued))
        .target(Target::NeverAbove(0.0));
    Ok(vec![
        numbers.row("one worker", "one worker, 100 slots", one, one_of_few).remark(filled),
        numbers.row_of_sessions(crowd.clone(), crowd_of_few),
        Row::new("big", format!("the same {sessions} sessions"), Unit::PerSecond, crowd)
            .against("one session", alone),
        slow.told().fold(scripts, Row::remark),
    ])
}

impl Numbers {
    /// A drain of many, beside one of few, by somebody: in short, and with all that matters.
    fn row(&self, short: &str, who: &str, of_many: Vec<f64>, of_few: Vec<f64>) -> Row {
        let [many, few] = [self.many, self.few].map(|n| format!("{} queued", words(n)));
        let settings = |queued: &str| in_batches(&format!("{who}, {queued}"), self.few);
        Row::new("big", format!("drain of {many}, {short}"), Unit::PerSecond, of_many)
            .with(settings(&many))
            .beside(&few, of_few, settings(&few), Despite::Nothing)
            .target(Target::RatioAtLeast(0.8))
    }

    fn row_of_sessions(&self, of_many: Vec<f64>, of_few: Vec<f64>) -> Row {
        let short = format!("{} sessions", self.sessions);
        let who = format!("{short} of one process, each claims and settles {BATCH}");
        self.row(&short, &who, of_many, of_few)
    }
}

/// Puts so many tasks on the queue, and says what they took.
fn enqueue(server: &Redis, queued: u64) -> Result<String> {
    let free = machine::free_memory()?;
    ensure!(
        free > queued * EACH,
        "{queued} queued tasks may need {} MiB of memory, and {} are free",
        (queued * EACH) >> 20,
        free >> 20
    );
    let empty = memory::used(server)?;
    let produce =
        Produce { batch: 256, calls: 4, capacity: Some(queued), ..Produce::new(&server.url(), queued) };
    let produced: Produced = Actor::run(&Role::Produce(produce))?;
    Ok(format!(
        "{queued} tasks were enqueued, {:.0} a second, and took {:.0} MiB of the server's memory",
        rate(queued, produced.ended - produced.began),
        (memory::used(server)? - empty) / (1024.0 * 1024.0)
    ))
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
