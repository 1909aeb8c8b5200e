//! A burst of twenty times the rate, on a supervisor that scales: how old the oldest ready task became, and what was done.

use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use manyhands::{NewTask, Payload, TaskName};
use manyhands_worker::autoscale::{Sample, Watch};

use super::super::local::url;
use super::Bench;
use crate::{
    report::{Row, Target, Unit},
    work,
    worker::{Hired, Look},
};

/// How many tasks come a second before the burst and after it, and how many times as many in it.
const RATE: u64 = 3;
const BURST: u64 = 20;

/// What each task does: it is written down, and takes a while.
const WORK: &str = "[tasks.note]\nqueue = \"bench\"\ncommand = [\"sh\", \"-c\", \"echo {n} >>ledger; sleep 0.15\"]\nprocesses = 2\n";

/// How long it may take until all is drained, and until one worker process is left.
const PATIENCE: Duration = Duration::from_secs(120);

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let seconds = bench.scaled(10, 2);
    let folder = bench.place.fresh()?;
    let broker = url(folder.path());
    let look = Look::at(&broker)?;
    let flags = ["--autoscale", "1..4", "-v"];
    let mut worker = Hired::stock(&bench.manyhands()?, folder.path(), &broker, WORK, &flags)?;
    let (sent, ages) = burst(&look, &mut worker, seconds)?;
    let most = worker.said().lines().filter_map(wanted).max().unwrap_or(1);
    // Fewer after 30 s in which fewer were enough.
    if !bench.shared.quick {
        look.until(&mut worker, PATIENCE, |_| said_last(&folder.path().join("said")) == Some(1))?;
    }
    worker.stop(1)?;
    let mut runs: BTreeMap<u64, u64> = BTreeMap::new();
    for line in fs::read_to_string(folder.path().join("ledger"))?.lines() {
        *runs.entry(line.parse().context("a ledger that cannot be read")?).or_default() += 1;
    }
    let once = runs.values().filter(|runs| **runs == 1).count();
    let oldest = ages.iter().copied().fold(0.0, f64::max);
    let curve: Vec<_> = ages.iter().map(|age| format!("{age:.0}")).collect();
    Ok(vec![
        Row::new("burst", format!("of {sent} tasks, done once"), Unit::Count, vec![once as f64])
            .target(Target::NeverBelow(sent as f64))
            .remark(format!(
                "{RATE} a second, {} for {seconds} s; {most} worker processes at most",
                BURST * RATE
            )),
        Row::new("burst", "the oldest ready task, s", Unit::Count, vec![oldest])
            .remark(format!("its age, second by second: {}", curve.join(" "))),
    ])
}

/// Sends tasks until the burst is over and nothing waits: how many, and the age of the oldest ready one each second.
#[expect(clippy::disallowed_methods, reason = "a rate is what is measured with")]
fn burst(look: &Look, worker: &mut Hired, seconds: u64) -> Result<(u64, Vec<f64>)> {
    let (queue, name) = (work::queue()?, TaskName::new("note")?);
    let (mut watch, mut ages, mut sent) = (Watch::default(), Vec::new(), 0);
    let began = Instant::now();
    for second in 0_u32.. {
        let in_burst = (3..3 + seconds).contains(&u64::from(second));
        let come = if in_burst { BURST * RATE } else { RATE };
        let task = |n: u64| {
            let payload = Payload::encode(&BTreeMap::from([("n", n)]))?;
            Ok(NewTask::new(queue.clone(), name.clone(), payload))
        };
        let tasks: Vec<_> = (sent..sent + come).map(task).collect::<Result<_>>()?;
        look.with(|broker, _| async move { broker.enqueue(&tasks, None).await })?;
        sent += come;
        let sample = look.with(|broker, queue| async move { Sample::take(&*broker, &[queue]).await })?;
        ages.push(watch.add(Instant::now(), &sample).oldest.as_secs_f64());
        worker.check()?;
        if u64::from(second) > 3 + seconds && look.status()?.ready == 0 {
            return Ok((sent, ages));
        }
        ensure!(began.elapsed() < PATIENCE, "it is not drained: {ages:?}");
        thread::sleep((SECOND * (second + 1)).saturating_sub(began.elapsed()));
    }
    Ok((sent, ages))
}

/// How many worker processes a line says that there are to be.
fn wanted(line: &str) -> Option<u64> {
    let before = line.split(" worker process").next()?;
    line.contains(" instead of ").then(|| before.rsplit(' ').next()?.parse().ok())?
}

/// How many the last such line of a file says.
fn said_last(file: &std::path::Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.lines().filter_map(wanted).next_back()
}
