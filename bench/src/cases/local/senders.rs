//! Many commands send one task each, at once: each is stored or refused, none is kept waiting.

use std::{
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use manyhands_test_support::ledger::now;

use super::{Bench, ours};
use crate::{
    figures::millis,
    report::{Row, Target, Unit},
    settings::{Durability, Settings},
    work::{QUEUE, Work, queue},
};

/// The exit code of a task that was refused.
const REFUSED: i32 = 4;

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let n = bench.scaled(200, 20);
    let (mut slowest, mut lost, mut said) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        let (_folder, broker) = bench.broker()?;
        let ended = send(bench, &broker, n)?;
        slowest.push(ended.iter().map(|sent| millis(sent.took)).fold(0.0, f64::max));
        let stored = ended.iter().filter(|sent| sent.code == Some(0)).count() as u64;
        let refused = ended.iter().filter(|sent| sent.code == Some(REFUSED)).count() as u64;
        let neither = ended.iter().find(|sent| ![Some(0), Some(REFUSED)].contains(&sent.code));
        said.extend(
            neither
                .map(|sent| format!("exit {:?} after {:.0} ms: {}", sent.code, millis(sent.took), sent.said)),
        );
        ensure!(
            ready(&broker)? == stored,
            "{stored} commands say that they stored a task, {} are there",
            ready(&broker)?
        );
        lost.push((n - stored - refused) as f64);
    }
    let settings =
        Settings { batch: 1, ..ours("200 x `manyhands send` in a new directory", Durability::Full, n) };
    let neither = Row::new("senders", "neither stored nor refused", Unit::Part, lost);
    Ok(vec![
        Row::new("senders", "200 at once, the slowest", Unit::Millis, slowest)
            .with(settings)
            .target(Target::NeverAbove(5000.0)),
        said.into_iter().fold(neither, Row::remark).target(Target::NeverAbove(0.0)),
    ])
}

/// How a command ended.
#[derive(Debug)]
struct Sent {
    code: Option<i32>,
    /// Nanoseconds from its start.
    took: u64,
    /// What it told on standard error, in one line.
    said: String,
}

/// Starts all of them, and returns how each ended.
fn send(bench: &Bench, broker: &str, n: u64) -> Result<Vec<Sent>> {
    let program = bench.manyhands()?;
    let one = || {
        let mut command = Command::new(&program);
        command.args(["send", "work", &Work::json(now()), "--queue", QUEUE, "--broker", broker]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let began = now();
        let output = command.output().context("manyhands cannot be started")?;
        let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Sent { code: output.status.code(), took: now() - began, said })
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..n).map(|_| scope.spawn(one)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<_>>| {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
        };
        threads.into_iter().map(join).collect()
    })
}

/// How many tasks are on the queue.
fn ready(broker: &str) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let broker = manyhands::connect(&broker.parse()?).await?;
        Ok(broker.status(&queue()?).await?.map_or(0, |status| status.ready))
    })
}
