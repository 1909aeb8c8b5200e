//! A server that is killed under load, and started again: how soon there is progress, and what the ledgers of producer and workers tell.

use std::{path::Path, thread, time::Duration};

use anyhow::{Result, ensure};
use manyhands_test_support::{
    checker::{self, Report},
    ledger::now,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{
    actor::{Actor, Heard},
    figures::millis,
    report::{Row, Target, Unit},
    roles::{Accepted, Does, Feed, Produced, Role, Work, Worked},
    settings::Settings,
};

/// A server that can be killed and started again, on the same data.
pub(super) trait Mortal {
    /// The URL of the broker over it.
    fn url(&self) -> String;

    /// Ends it at once.
    fn kill(&mut self) -> std::io::Result<()>;

    /// Returns when it answers.
    fn restart(&mut self) -> std::io::Result<()>;

    /// Whether it has written down what it needs to come back with all that it accepted.
    fn is_ready_to_die(&self) -> std::io::Result<bool>;

    /// Whether it knows a call again that is made again: else that may double its tasks.
    fn remembers(&self) -> bool;
}

/// How many workers there are.
const WORKERS: usize = 2;

/// The load: so many tasks in a call, and a call in so long.
const BATCH: usize = 6;
const EVERY: Duration = Duration::from_millis(20);

/// So many calls are accepted before the server is killed again.
const CALLS: usize = 40;

/// How long the server is away, in turns. The longer it is, the more rarely do producer and workers look whether it is back.
const AWAY: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(7)];

/// How long there may be no progress before something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kills the server so many times. Settings are those of ours, of who works and how many tasks were accepted.
pub(super) fn measure(
    server: impl Mortal,
    ledgers: &Path,
    kills: usize,
    ours: impl FnOnce(&str, usize, u64) -> Settings,
) -> Result<Vec<Row>> {
    let remembers = server.remembers();
    let progress = Scene::start(server, ledgers)?.play(kills)?;
    let report = checker::check(ledgers)?;
    ensure!(report.unknown == 0, "of {} tasks it is not known whether they were accepted", report.unknown);
    let who = format!("one producer of {BATCH} tasks each {EVERY:?}, {WORKERS} workers, {kills} kills");
    Ok(rows(ours(&who, BATCH, report.confirmed as u64), remembers, progress, &report))
}

/// How soon there was progress, in milliseconds since the server was back.
#[derive(Debug, Default)]
struct Progress {
    enqueues: Vec<f64>,
    /// Of each worker.
    settlements: Vec<f64>,
    /// How many settlements were accepted, as the workers heard.
    settled: u64,
}

/// Who works, and the server that is killed.
struct Scene<S> {
    server: S,
    workers: Vec<Heard>,
    producer: Heard,
}

impl<S: Mortal> Scene<S> {
    fn start(server: S, ledgers: &Path) -> Result<Self> {
        let broker = server.url();
        let work = || Work { does: Does::KeepLedger(ledgers.to_owned()), ..Work::new(&broker) };
        let hire = |_| Ok(Actor::ready(&Role::Work(work()))?.hear());
        let mut workers = (0..WORKERS).map(hire).collect::<Result<Vec<_>>>()?;
        let feed = Feed { broker: broker.clone(), ledgers: ledgers.to_owned(), batch: BATCH, every: EVERY };
        let mut producer = Actor::ready(&Role::Feed(feed))?.hear();
        workers.iter_mut().try_for_each(Heard::go)?;
        producer.go()?;
        Ok(Self { server, workers, producer })
    }

    /// Kills the server so many times, and lets all end that is to be done.
    fn play(mut self, kills: usize) -> Result<Progress> {
        let mut progress = Progress::default();
        for away in AWAY.iter().cycle().take(kills) {
            for _ in 0..CALLS {
                let Accepted { .. } = self.producer.answer(PATIENCE)?;
            }
            while !self.server.is_ready_to_die()? {
                let Accepted { .. } = self.producer.answer(PATIENCE)?;
            }
            self.server.kill()?;
            stay_away(*away);
            self.server.restart()?;
            let back = now();
            progress.enqueues.push(millis(accepted_after(&self.producer, back)? - back));
            for worker in &self.workers {
                progress.settlements.push(millis(accepted_after(worker, back)? - back));
            }
        }
        self.producer.go()?;
        let _: Produced = ended(&self.producer)?;
        let worked = self.workers.iter().map(ended).collect::<Result<Vec<Worked>>>()?;
        progress.settled = worked.iter().map(|worked| worked.settled).sum();
        Ok(progress)
    }
}

fn rows(settings: Settings, remembers: bool, progress: Progress, report: &Report) -> Vec<Row> {
    let row = |what: &str, unit, rounds| Row::new("restart", what, unit, rounds);
    let count = |count: usize| vec![count as f64];
    let after_accepted = report.doubled.iter().filter(|pair| pair.after_accepted).count();
    let heard = format!(
        "{} tasks were accepted; that they were settled was heard of {}: a server may be killed before it says so",
        report.confirmed, progress.settled
    );
    vec![
        row("server is back -> an enqueue is accepted", Unit::Millis, progress.enqueues)
            .with(settings)
            .target(Target::NeverAbove(5000.0))
            .remark(format!(
                "the server was away for {AWAY:?} in turns, and for as long as it took to start"
            )),
        row("server is back -> a settlement is accepted, each worker", Unit::Millis, progress.settlements)
            .target(Target::NeverAbove(5000.0)),
        row("accepted and lost", Unit::Count, count(report.lost.len()))
            .target(Target::NeverAbove(0.0))
            .remark(heard),
        row("settled, and run again all the same", Unit::Count, count(after_accepted)).target(if remembers {
            Target::NeverAbove(0.0)
        } else {
            Target::None
        }),
        row("run more than once to the end", Unit::Count, count(report.doubled.len())),
    ]
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time that the server is away for is part of what is measured"
)]
fn stay_away(away: Duration) {
    thread::sleep(away);
}

/// Waits until somebody says that the broker accepted something after this moment, and tells when.
fn accepted_after(who: &Heard, moment: u64) -> Result<u64> {
    loop {
        let Accepted { accepted } = who.answer(PATIENCE)?;
        if accepted > moment {
            return Ok(accepted);
        }
    }
}

/// Waits for what somebody says in the end.
fn ended<T: DeserializeOwned>(who: &Heard) -> Result<T> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said<T> {
        Accepted(Accepted),
        Ended(T),
    }
    loop {
        match who.answer(PATIENCE)? {
            Said::Accepted(Accepted { .. }) => {}
            Said::Ended(ended) => return Ok(ended),
        }
    }
}
