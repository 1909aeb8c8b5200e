//! A warm handler in Python that does nothing, beside the same program with nothing but pipes to it.

use std::{fs, time::Duration};

use anyhow::Result;

use super::super::local::{ours, url};
use super::Bench;
use crate::{
    cases::fill,
    raw::{NOTHING, Raw},
    report::{Row, Target, Unit},
    settings::{Despite, Durability},
    worker::{Hired, Look},
};

/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(30_000, 1000);
    let kinds = [(1, 0), (1, 64), (2, 64), (8, 0)];
    let (mut raw, mut rates) = (Vec::new(), vec![Vec::new(); kinds.len()]);
    let mut settings = None;
    for _ in 0..bench.rounds() {
        let measured = bench.raw(Raw::Pipe { n })?;
        raw.push(measured.per_second);
        settings = Some(measured.settings);
        for ((processes, ahead), rates) in kinds.iter().zip(&mut rates) {
            rates.push(round(bench, *processes, *ahead, n)?);
        }
    }
    let Some(settings) = settings else { return Ok(Vec::new()) };
    let row = |((processes, ahead), rates): (&(usize, usize), Vec<f64>)| {
        let what = match ahead {
            0 => format!("{processes} in Python, one task at a time"),
            ahead => format!("{processes} in Python, {ahead} tasks ahead"),
        };
        let who = format!("a worker, {processes} warm children");
        let row = Row::new("warm", what, Unit::PerSecond, rates)
            .with(crate::settings::Settings { batch: 1, ..ours(&who, Durability::Nothing, n) })
            .beside("a pipe to one, one task at a time", raw.clone(), settings.clone(), Despite::Nothing);
        if *processes == 1 { row.target(Target::RatioAtLeast(0.7)) } else { row }
    };
    let rows = kinds.iter().zip(rates).map(row);
    Ok(rows.map(|row| row.remark("ours claims and settles each task on the local store")).collect())
}

fn round(bench: &Bench, processes: usize, ahead: usize, n: u64) -> Result<f64> {
    let folder = bench.place.fresh()?;
    let broker = url(folder.path());
    fill(&broker, n, false)?;
    fs::write(folder.path().join("nothing.py"), NOTHING)?;
    let configuration = format!(
        "[tasks.work]\nqueue = \"bench\"\nprocess = [\"python3\", \"nothing.py\", \"{ahead}\"]\nprocesses = {processes}\n"
    );
    let look = Look::at(&broker)?;
    let mut worker = Hired::stock(&bench.manyhands()?, folder.path(), &broker, &configuration, &[])?;
    let pace = look.pace(&mut worker, n, PATIENCE)?;
    worker.stop(1)?;
    Ok(pace)
}
