//! What is measured: a folder for each broker, and in it a file for each case.

pub(crate) mod children;
pub(crate) mod local;
pub(crate) mod pool;
pub(crate) mod rabbitmq;
pub(crate) mod redis;
mod restart;

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::{
    actor::Actor,
    figures::{Spread, rate},
    machine,
    place::Place,
    raw::{Measured, Raw},
    report::{self, Row, Target, Unit},
    roles::{Does, Produce, Produced, Role, Trickle, Work, Worked},
    settings::{Despite, Settings},
};

/// The cases of one broker, in the order in which they run.
pub(crate) trait Cases: ValueEnum + Copy + Send + Sync + 'static {
    /// Measures one of them.
    fn run(self, bench: &Bench) -> Result<Vec<Row>>;

    /// Whether it runs only where it is named, as it takes long or needs much memory. All run where little is measured.
    fn only_if_named(self) -> bool {
        false
    }
}

/// The flags of a run.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options<C: Cases> {
    /// Run only this case; may be given more than once.
    #[arg(long, value_name = "CASE", value_enum)]
    only: Vec<C>,

    #[command(flatten)]
    shared: Shared,
}

/// The flags that do not depend on the broker.
#[derive(Args, Clone, Debug)]
struct Shared {
    /// A smoke run: so little of everything that the figures say nothing.
    #[arg(long)]
    quick: bool,

    /// How many rounds of each measurement that can be repeated.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,

    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    json: bool,

    /// Measure in this folder, which must be on a disk  [default: $TMPDIR, else where cargo builds]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,

    /// The command `manyhands`  [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    manyhands: Option<PathBuf>,
}

/// What all cases share.
#[derive(Debug)]
pub(crate) struct Bench {
    shared: Shared,
    place: Place,
}

/// Runs the cases that are asked for.
pub(crate) fn run<C: Cases>(options: &Options<C>) -> Result<()> {
    let place = Place::choose(options.shared.folder.as_deref())?;
    let bench = Bench { shared: options.shared.clone(), place };
    let mut about = bench.about();
    let usual = |case: &C| options.shared.quick || !case.only_if_named();
    let all = || C::value_variants().iter().copied().filter(usual).collect();
    let chosen = if options.only.is_empty() { all() } else { options.only.clone() };
    let mut rows = Vec::new();
    for case in chosen {
        if !bench.shared.json {
            eprintln!(
                "== {}",
                case.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
            );
        }
        let measured = case.run(&bench)?;
        if bench.shared.json {
            measured.iter().for_each(|row| println!("{}", row.json()));
        } else {
            measured.iter().for_each(|row| eprintln!("{}", row.line()));
        }
        rows.extend(measured);
    }
    if !bench.shared.json {
        about.push(format!("load {} at the end", machine::load()));
        report::print(&rows, &about);
    }
    Ok(())
}

impl Bench {
    /// What holds for all cases.
    fn about(&self) -> Vec<String> {
        let quick = self.shared.quick.then(|| "a quick run: these figures say nothing".to_owned());
        let machine = format!("machine: {}, load {} at the start", machine::describe(), machine::load());
        let disk = format!("files on {}, in {}", self.place.system(), self.place.path().display());
        quick.into_iter().chain([machine, disk, format!("rounds: {}", self.rounds())]).collect()
    }

    /// So many, or so many in a quick run.
    fn scaled(&self, full: u64, quick: u64) -> u64 {
        if self.shared.quick { quick } else { full }
    }

    fn rounds(&self) -> u32 {
        if self.shared.quick { 1 } else { self.shared.rounds }
    }

    /// Where the command is.
    fn manyhands(&self) -> Result<PathBuf> {
        let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("manyhands"));
        let path = self.shared.manyhands.clone().map_or_else(beside, Ok)?;
        ensure!(path.exists(), "{} is not there: cargo build --release --bin manyhands", path.display());
        Ok(path)
    }

    /// Measures a raw limit in a process of its own.
    fn raw(&self, raw: Raw) -> Result<Measured> {
        let folder = self.place.fresh()?;
        Actor::run(&Role::Raw { raw, folder: folder.path().to_owned() })
    }
}

/// Puts so many tasks on the queue, in large steps, and closes it where nothing more will come.
fn fill(broker: &str, tasks: u64, close: bool) -> Result<()> {
    let produce = Produce { batch: 256, calls: 4, close, ..Produce::new(broker, tasks) };
    let _: Produced = Actor::run(&Role::Produce(produce))?;
    Ok(())
}

/// Lets one producer put its tasks on the queue.
fn enqueue(produce: Produce) -> Result<Pace> {
    let tasks = produce.tasks;
    let produced: Produced = Actor::run(&Role::Produce(produce))?;
    Ok(Pace { rate: rate(tasks, produced.ended - produced.began), cpu: each(produced.cpu, tasks) })
}

/// Lets one worker drain the queue.
fn drain(work: Work, tasks: u64) -> Result<Pace> {
    let worked: Worked = Actor::run(&Role::Work(work))?;
    ensure!(worked.settled >= tasks, "{} of {tasks} tasks were settled", worked.settled);
    let (rate, cpu) = (rate(tasks, worked.ended - worked.began), each(worked.cpu, worked.settled));
    Ok(Pace { rate, cpu })
}

/// Lets a worker take so few of the tasks that are queued at this broker, and as many from a queue that has no more, round by round: tasks a
/// second of both. A fresh broker is one without tasks, with what keeps it alive.
fn of_many_and_of_few<T>(
    bench: &Bench,
    many: &str,
    few: u64,
    fresh: impl Fn() -> Result<(T, String)>,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut of_many, mut of_few) = (Vec::new(), Vec::new());
    let until = Some(few);
    for _ in 0..bench.rounds() {
        let (_alive, broker) = fresh()?;
        fill(&broker, few, false)?;
        of_few.push(drain(Work { until, ..Work::new(&broker) }, few)?.rate);
        of_many.push(drain(Work { until, ..Work::new(many) }, few)?.rate);
    }
    Ok((of_many, of_few))
}

/// The pace of a producer and a worker at once, from before the first enqueue to the last accepted settlement.
fn both(produce: Produce, work: Work) -> Result<Pace> {
    let tasks = produce.tasks;
    let mut worker = Actor::ready(&Role::Work(work))?;
    let mut producer = Actor::ready(&Role::Produce(produce))?;
    worker.go()?;
    producer.go()?;
    let produced: Produced = producer.end()?;
    let worked: Worked = worker.end()?;
    Ok(Pace { rate: rate(tasks, worked.ended - produced.began), cpu: each(produced.cpu + worked.cpu, tasks) })
}

/// Long enough for all to fall asleep again.
const IDLE: Duration = Duration::from_millis(3);

/// Sends one task after the other to a worker that is idle each time.
fn trickle(broker: &str, tasks: u64) -> Result<(Produced, Worked)> {
    // As a service: one that watches for the end of its queue asks more often.
    let work = Work { does: Does::NoteAge, until: Some(tasks), ..Work::new(broker) };
    let mut worker = Actor::ready(&Role::Work(work))?;
    let trickle = Trickle { broker: broker.to_owned(), tasks, pause: IDLE };
    let mut producer = Actor::ready(&Role::Trickle(trickle))?;
    worker.go()?;
    producer.go()?;
    let produced: Produced = producer.end()?;
    let worked: Worked = worker.end()?;
    ensure!(worked.settled == tasks, "{} of {tasks} tasks were settled", worked.settled);
    Ok((produced, worked))
}

/// The p50 of a raw limit whose single calls were timed.
fn median(raw: &Measured) -> f64 {
    raw.took.map_or(f64::NAN, |took| took.0)
}

/// From an enqueue to the handler in another process, when all are idle, beside raw limits, of which the first has the target: p50 and p99. A fresh
/// broker is one without tasks, with what keeps it alive.
fn latency<T>(
    bench: &Bench,
    raws: &[(Raw, &str)],
    fresh: impl Fn() -> Result<(T, String)>,
    ours: impl Fn(&str, usize, u64) -> Settings,
    (middle, tail): (Target, Target),
) -> Result<Vec<Row>> {
    let n = bench.scaled(1000, 50);
    let (mut p50, mut p99, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    let mut theirs = vec![Vec::new(); raws.len()];
    for _ in 0..bench.rounds() {
        for ((raw, _), theirs) in raws.iter().zip(&mut theirs) {
            theirs.push(bench.raw(raw.clone())?);
        }
        let (_alive, broker) = fresh()?;
        let (produced, worked) = trickle(&broker, n)?;
        calls.push(produced.call);
        p50.push(worked.age.0 / 1e6);
        p99.push(worked.age.1 / 1e6);
    }
    let call = Spread::of(&calls).map_or(0.0, |spread| spread.median);
    let mut rows = Vec::new();
    for ((_, name), mut theirs) in raws.iter().zip(theirs) {
        let medians = theirs.iter().map(median).collect();
        let row = Row::new("latency", "enqueue -> handler, p50", Unit::Millis, p50.clone())
            .with(ours("one producer, one worker, idle", 1, n))
            .beside(name, medians, theirs.swap_remove(0).settings, Despite::Nothing);
        let first = rows.is_empty();
        rows.push(if first {
            row.target(middle).remark(format!("the enqueue call alone: p50 {call:.3} ms"))
        } else {
            row
        });
    }
    let last = Row::new("latency", "enqueue -> handler, p99", Unit::Millis, p99).against("our p50", p50);
    rows.push(last.target(tail));
    Ok(rows)
}

/// What a producer or a worker came to.
#[derive(Debug)]
struct Pace {
    /// Tasks a second, from before the first call to the last answer that counts.
    rate: f64,
    /// Processor time a task, in microseconds.
    cpu: f64,
}

/// Rounds of ours, and of the raw limit that was measured in turns with it.
#[derive(Debug)]
struct BesideRaw {
    rates: Vec<f64>,
    cpu: Vec<f64>,
    raw: Vec<f64>,
    settings: Settings,
}

impl BesideRaw {
    /// Measures a raw limit and ours, round by round.
    fn measure(bench: &Bench, raw: &Raw, mut ours: impl FnMut() -> Result<Pace>) -> Result<Self> {
        let (mut rates, mut cpu, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.rounds() {
            theirs.push(bench.raw(raw.clone())?);
            let Pace { rate, cpu: each } = ours()?;
            rates.push(rate);
            cpu.push(each);
        }
        let raw = theirs.iter().map(|raw| raw.per_second).collect();
        Ok(Self { rates, cpu, raw, settings: theirs.swap_remove(0).settings })
    }

    /// The row that they make: ours, as it was measured, beside the raw limit of this name.
    fn row(self, ours: Row, name: &str, who: &str) -> Row {
        let remark = cpu_remark(who, &self.cpu);
        ours.beside(name, self.raw, self.settings, Despite::Nothing).remark(remark)
    }
}

/// Processor time a task, in microseconds.
fn each(nanos: u64, tasks: u64) -> f64 {
    nanos as f64 / 1e3 / tasks.max(1) as f64
}

/// What is said of processor time: it stays the same where something else uses the processors, too.
fn cpu_remark(who: &str, rounds: &[f64]) -> String {
    let median = Spread::of(rounds).map_or(0.0, |spread| spread.median);
    format!("{who}: {median:.1} us of processor time a task")
}
