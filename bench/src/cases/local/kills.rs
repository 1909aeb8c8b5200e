//! Workers are killed: when what they held starts again elsewhere, by the ledgers that the handlers keep.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::ChildStdout,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use manyhands::Client;
use manyhands_test_support::ledger::{Ledger, Record, now};

use super::{Bench, ours};
use crate::{
    actor::{Actor, Held},
    figures::{Spread, millis, percentile},
    report::{Row, Target, Unit},
    roles::{Begun, Does, Role, Work},
    settings::Durability,
    work,
};

/// How many workers there are at any time.
const WORKERS: usize = 8;

/// How many tasks are held at any time.
const HELD: usize = 32;

/// How long anything may take before something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(bench: &Bench) -> Result<Vec<Row>> {
    let kills = bench.scaled(200, 4);
    let (folder, broker) = bench.broker()?;
    let ledgers = folder.path().join("ledgers");
    fs::create_dir(&ledgers)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = runtime.block_on(async { Client::connect(&broker.parse()?).await })?;
    let mut scene = Scene::new(&broker, &ledgers)?;
    for _ in 0..kills {
        // One after the other, so that they go to whoever is quickest.
        while scene.holders.len() < HELD {
            runtime.block_on(client.send(work::Work::new(now())).into_future())?;
            scene.hear()?;
        }
        scene.kill()?;
    }
    let killed = scene.killed.len();
    drop(scene);
    let mut gaps = gaps(&read(&ledgers)?);
    ensure!(gaps.len() >= killed, "{killed} workers were killed, {} tasks began again", gaps.len());
    let spread = Spread::of(&gaps).context("no task began again")?;
    let count = gaps.len();
    let (p50, p99) = (percentile(&mut gaps, 0.5), percentile(&mut gaps, 0.99));
    let row = Row::new("kills", format!("{killed} kills -> start elsewhere, p99"), Unit::Millis, vec![p99])
        .with(ours(
            "eight workers, 100 slots each, all idle but for what they hold",
            Durability::Normal,
            count as u64,
        ))
        .target(Target::AtMost(100.0))
        .remark(format!(
            "{count} tasks began again, after {:.2} ms at least, {p50:.2} in the middle, {:.2} at most",
            spread.min, spread.max
        ));
    Ok(vec![row])
}

/// What goes on, as far as the workers say it.
struct Scene<'s> {
    broker: &'s str,
    ledgers: &'s Path,
    ledger: Ledger,
    workers: BTreeMap<u32, Held>,
    /// The process that holds a task which never ends there.
    holders: BTreeMap<String, u32>,
    /// Tasks that began once.
    begun: BTreeSet<String>,
    killed: Vec<u32>,
    say: Sender<(u32, Begun)>,
    heard: Receiver<(u32, Begun)>,
}

impl<'s> Scene<'s> {
    fn new(broker: &'s str, ledgers: &'s Path) -> Result<Self> {
        let (holders, begun) = (BTreeMap::new(), BTreeSet::new());
        let ledger = Ledger::open(ledgers, "kills")?;
        let (workers, killed) = (BTreeMap::new(), Vec::new());
        let (say, heard) = channel();
        let mut scene = Self { broker, ledgers, ledger, workers, holders, begun, killed, say, heard };
        while scene.workers.len() < WORKERS {
            scene.hire()?;
        }
        Ok(scene)
    }

    /// Starts a worker, and a thread that hears what it says.
    fn hire(&mut self) -> Result<()> {
        let does = Does::Hang(self.ledgers.to_owned());
        let mut actor = Actor::ready(&Role::Work(Work { does, ..Work::new(self.broker) }))?;
        actor.go()?;
        let (worker, said) = actor.split();
        let (pid, heard) = (worker.pid(), self.say.clone());
        thread::spawn(move || listen(pid, said, &heard));
        self.workers.insert(pid, worker);
        Ok(())
    }

    /// Waits until somebody says that a task began.
    fn hear(&mut self) -> Result<()> {
        let (pid, begun) = self.heard.recv_timeout(PATIENCE).context("a task does not begin")?;
        if self.begun.insert(begun.id.clone()) {
            self.holders.insert(begun.id, pid);
        } else {
            self.holders.remove(&begun.id);
        }
        Ok(())
    }

    /// Kills one who holds something, waits until all of it began elsewhere, and starts another.
    fn kill(&mut self) -> Result<()> {
        // Whoever is next in the order of pids, so that it is not always the quickest.
        let last = self.killed.last().copied().unwrap_or_default();
        let holders: BTreeSet<u32> = self.holders.values().copied().collect();
        let victim = holders.range(last + 1..).next().or(holders.first()).copied();
        let victim = victim.context("nobody holds anything")?;
        self.ledger.kill(victim)?;
        self.workers.remove(&victim);
        self.killed.push(victim);
        while self.holders.values().any(|holder| *holder == victim) {
            self.hear()?;
        }
        self.hire()
    }
}

/// Hands on what a worker says until it ends.
fn listen(pid: u32, said: BufReader<ChildStdout>, heard: &Sender<(u32, Begun)>) {
    for line in said.lines().map_while(Result::ok) {
        if let Ok(begun) = serde_json::from_str(&line) {
            let _ = heard.send((pid, begun));
        }
    }
}

/// All that was written down.
fn read(ledgers: &Path) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for file in fs::read_dir(ledgers)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            // The last line of one who was killed may be half of one.
            let text = fs::read_to_string(path)?;
            records.extend(text.lines().filter_map(|line| serde_json::from_str::<Record>(line).ok()));
        }
    }
    Ok(records)
}

/// For each task that a killed process held: the milliseconds from the kill until it began elsewhere.
fn gaps(records: &[Record]) -> Vec<f64> {
    let mut killed = BTreeMap::new();
    let mut begins = BTreeMap::<&str, Vec<(u64, u32)>>::new();
    for record in records {
        match record {
            Record::Killed { pid, at } => drop(killed.insert(*pid, *at)),
            Record::Begin { run, at } => begins.entry(&run.id).or_default().push((*at, run.pid)),
            _ => {}
        }
    }
    let mut gaps = Vec::new();
    for begins in begins.values_mut() {
        begins.sort_unstable();
        for pair in begins.windows(2) {
            if let Some(at) = killed.get(&pair[0].1) {
                gaps.push(millis(pair[1].0.saturating_sub(*at)));
            }
        }
    }
    gaps
}

#[cfg(test)]
mod tests {
    use manyhands_test_support::ledger::Run;

    use super::*;

    fn begin(id: &str, pid: u32, at: u64) -> Record {
        Record::Begin { run: Run { id: id.to_owned(), epoch: 1, pid }, at }
    }

    #[test]
    fn a_gap_is_from_the_kill_to_the_next_begin() {
        let records = [
            begin("b", 1, 2_000_000),
            begin("a", 1, 1_000_000),
            begin("b", 3, 30_000_000),
            Record::Killed { pid: 1, at: 10_000_000 },
            begin("a", 2, 15_000_000),
            begin("c", 2, 99_000_000),
        ];
        assert_eq!(gaps(&records), [5.0, 20.0]);
    }
}
