//! What the way into a process and back costs a handler in Rust.

use std::time::Duration;

use anyhow::Result;

use super::super::local::{ours, url};
use super::Bench;
use crate::{
    cases::fill,
    report::{Row, Target, Unit},
    settings::Durability,
    worker::{Hired, Look},
};

/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(100_000, 2000);
    let (mut inside, mut outside, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let here = round(bench, "", n)?;
        let there = round(bench, "[tasks.work]\nprocess = true\nprocesses = 1\n", n)?;
        more.push(1e6 / there - 1e6 / here);
        inside.push(here);
        outside.push(there);
    }
    Ok(vec![
        Row::new("process", "Rust, one process", Unit::PerSecond, outside)
            .with(ours("one worker", Durability::Normal, n))
            .against("the same handler, async", inside),
        Row::new("process", "more a task", Unit::Micros, more).target(Target::AtMost(60.0)),
    ])
}

fn round(bench: &Bench, configuration: &str, n: u64) -> Result<f64> {
    let folder = bench.place.fresh()?;
    let broker = url(folder.path());
    fill(&broker, n, false)?;
    let look = Look::at(&broker)?;
    let mut worker = Hired::start(folder.path(), &broker, configuration, &["--queues", "bench"])?;
    let pace = look.pace(&mut worker, n, PATIENCE)?;
    worker.stop(1)?;
    Ok(pace)
}
