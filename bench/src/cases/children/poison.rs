//! One task among a thousand that kills its process, in three ways.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result};
use manyhands::Task;

use super::super::local::url;
use super::Bench;
use crate::{
    figures::millis,
    report::{Row, Target, Unit},
    worker::{Harm, Hired, Look, Way},
};

/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(1000, 50);
    let mut rows = Vec::new();
    for (way, name) in [(Way::Abort, "aborts"), (Way::Kill, "is killed"), (Way::Eat, "eats memory")] {
        let folder = bench.place.fresh()?;
        let broker = url(folder.path());
        let look = Look::at(&broker)?.of(Harm::QUEUE)?;
        let way = |number| if number == n / 2 { way } else { Way::None };
        look.send((0..n).map(|number| (Harm { number, way: way(number) }, 3)))?;
        let configuration = "[tasks.harm]\nprocess = true\nprocesses = 4\nmemory_limit = \"200MiB\"\n";
        let began = manyhands_test_support::ledger::now();
        let mut worker = Hired::start(folder.path(), &broker, configuration, &["--queues", Harm::QUEUE])?;
        let ended = look.until(&mut worker, PATIENCE, |status| status.unsettled() == 0)?;
        let dead = look.status()?.dead;
        worker.stop(1)?;
        let mut runs: BTreeMap<u64, u64> = BTreeMap::new();
        for line in fs::read_to_string(folder.path().join("runs"))?.lines() {
            *runs.entry(line.parse().context("a ledger that cannot be read")?).or_default() += 1;
        }
        let poison = runs.remove(&(n / 2)).unwrap_or_default();
        let once = runs.values().filter(|runs| **runs == 1).count();
        rows.push(
            Row::new("poison", format!("{name}: others that ran once"), Unit::Count, vec![once as f64])
                .target(Target::NeverBelow((n - 1) as f64))
                .remark(format!(
                    "{name}: {poison} runs of it, {dead} dead, all settled after {:.0} ms, of which its back-off is some 3 s",
                    millis(ended - began)
                )),
        );
        rows.push(
            Row::new("poison", format!("{name}: runs until it is dead"), Unit::Count, vec![poison as f64])
                .target(Target::NeverAbove(3.0)),
        );
    }
    Ok(rows)
}
