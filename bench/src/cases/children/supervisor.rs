//! A supervisor is killed: when its workers, and their children, have ended.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use manyhands_test_support::{
    kill::{self, Watch},
    ledger::now,
};

use super::super::local::url;
use super::Bench;
use crate::{
    figures::{millis, percentile},
    raw::NOTHING,
    report::{Row, Target, Unit},
    worker::{Hired, Look},
};

/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long after the kill nobody may be left.
const LEFT: Duration = Duration::from_secs(1);

/// The supervisor's guard, its workers, each with a guard and two children.
const FAMILY: usize = 1 + 2 * 4;

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let kills = bench.scaled(100, 2);
    let (mut took, mut left) = (Vec::new(), 0_u64);
    for _ in 0..kills {
        let (last, alive) = round(bench)?;
        took.push(last);
        left += alive;
    }
    let (middle, worst) = (percentile(&mut took, 0.5), percentile(&mut took, 1.0));
    Ok(vec![
        Row::new("supervisor", format!("alive {LEFT:?} after {kills} kills"), Unit::Count, vec![left as f64])
            .target(Target::NeverAbove(0.0))
            .remark(format!(
                "two workers with two children in Python each, with their guards {FAMILY} processes"
            )),
        Row::new("supervisor", "from the kill to the end of the last, p50", Unit::Millis, vec![middle]),
        Row::new("supervisor", "the same, at most", Unit::Millis, vec![worst]),
    ])
}

/// Milliseconds until the last has ended, and how many were left after a second.
fn round(bench: &Bench) -> Result<(f64, u64)> {
    let folder = bench.place.fresh()?;
    let broker = url(folder.path());
    fs::write(folder.path().join("nothing.py"), NOTHING)?;
    let configuration =
        "[tasks.work]\nqueue = \"bench\"\nprocess = [\"python3\", \"nothing.py\", \"0\"]\nprocesses = 2\n";
    let look = Look::at(&broker)?;
    look.with(|broker, queue| async move { broker.declare(&queue, None).await })?;
    let mut worker =
        Hired::stock(&bench.manyhands()?, folder.path(), &broker, configuration, &["--processes", "2"])?;
    let pid = worker.pid();
    look.until(&mut worker, PATIENCE, |_| kill::descendants(pid).len() >= FAMILY)?;
    let family: Vec<_> = kill::descendants(pid).into_iter().filter_map(|pid| Watch::open(pid).ok()).collect();
    let killed = now();
    kill::kill(pid)?;
    let (mut last, mut alive) = (killed, 0);
    for member in family {
        let rest = LEFT.saturating_sub(Duration::from_nanos(now() - killed));
        if member.ended(rest).context("a process cannot be watched")? {
            last = now();
        } else {
            alive += 1;
        }
    }
    Ok((millis(last - killed), alive))
}
