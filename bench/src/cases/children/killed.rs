//! Children that are killed while they write their results: what becomes of their tasks, and when the next child is ready.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use manyhands::Task;
use manyhands_broker::{State, limits};

use super::super::local::url;
use super::Bench;
use crate::{
    figures::{millis, percentile},
    report::{Row, Target, Unit},
    roles::{Dying, Role},
    worker::{Harm, Hired, Look, Way},
};

/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let kills = bench.scaled(1000, 20);
    let folder = bench.place.fresh()?;
    let broker = url(folder.path());
    let look = Look::at(&broker)?.of(Harm::QUEUE)?;
    let ledger = folder.path().join("ledger");
    let role = serde_json::to_string(&Role::Dying(Dying { ledger: ledger.clone() }))?;
    let program = serde_json::to_string(&[&std::env::current_exe()?.display().to_string(), "role", &role])?;
    // After each one that dies one that does not: a child that never answers anything is started less and less often.
    let ways = (0..kills).flat_map(|n| [(2 * n, Way::None), (2 * n + 1, Way::Kill)]);
    look.send(ways.map(|(number, way)| (Harm { number, way }, 1)))?;
    let configuration = format!("[tasks.harm]\nqueue = \"harm\"\nprocess = {program}\nprocesses = 1\n");
    let mut worker = Hired::stock(&bench.manyhands()?, folder.path(), &broker, &configuration, &[])?;
    let settled = look.until(&mut worker, PATIENCE, |status| status.unsettled() == 0);
    settled.context("not all tasks have an end")?;
    let dead = look.status()?.dead;
    let typed = typed(&look)?;
    worker.stop(1)?;
    let mut replaced = replaced(&fs::read_to_string(&ledger)?)?;
    ensure!(!replaced.is_empty(), "nobody took a place");
    let (middle, tail) = (percentile(&mut replaced, 0.5), percentile(&mut replaced, 0.99));
    Ok(vec![
        Row::new(
            "killed",
            format!("typed ends of {kills} tasks whose children died"),
            Unit::Count,
            vec![typed as f64],
        )
        .target(Target::NeverBelow(kills as f64))
        .remark(format!("{dead} are dead; the {kills} between them are done, and nothing is unsettled")),
        Row::new("killed", "from a death to the next that is ready, p50", Unit::Millis, vec![middle])
            .target(Target::AtMost(20.0)),
        Row::new("killed", "the same, p99", Unit::Millis, vec![tail]),
    ])
}

/// How many of the dead are so for a crash, by a signal that is named.
fn typed(look: &Look) -> Result<usize> {
    look.with(|broker, queue| async move {
        let (mut typed, mut after) = (0, None);
        let lookup = broker.lookup().context("this broker lists no tasks")?;
        loop {
            let page = lookup.list(&queue, State::Dead, after.as_ref(), limits::MAX_BATCH).await?;
            let told = |error: &String| error.contains("crash 1 of 1") && error.contains("SIGKILL");
            typed += page.tasks.iter().filter(|task| task.error.as_ref().is_some_and(told)).count();
            after = page.next;
            if after.is_none() {
                break Ok(typed);
            }
        }
    })
}

/// Milliseconds from each death to the next child that was ready.
fn replaced(ledger: &str) -> Result<Vec<f64>> {
    let mut died = None;
    let mut replaced = Vec::new();
    for line in ledger.lines() {
        let (at, what) = line.split_once(' ').context("a ledger that cannot be read")?;
        let at: u64 = at.parse()?;
        match (what, died) {
            ("died", _) => died = Some(at),
            (_, Some(since)) => {
                replaced.push(millis(at - since));
                died = None;
            }
            _ => {}
        }
    }
    Ok(replaced)
}
