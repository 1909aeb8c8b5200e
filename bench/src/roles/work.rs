//! Workers.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use manyhands::{App, Context, Observer, Running, Shutdown, TaskError, Worker, connect};
use manyhands_broker::Settled;
use manyhands_test_support::ledger::{Answer, Ledger, Run, now};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{Orders, say, timed::Timed};
use crate::{
    figures::percentile,
    machine::own_cpu_nanos,
    work::{self, nothing},
};

/// Takes tasks and runs them.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Work {
    /// The broker.
    pub(crate) broker: String,
    /// What its handler does.
    pub(crate) does: Does,
    /// To end after so many accepted settlements; else when the queue is closed and joined.
    pub(crate) until: Option<u64>,
    /// Whether to begin at once, without an order.
    pub(crate) at_once: bool,
    /// How many tasks at a time, if not the usual number.
    pub(crate) slots: Option<usize>,
}

/// What a handler does.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Does {
    /// Nothing.
    Nothing,
    /// Nothing; but the first one that begins runs until all others that are waited for are settled.
    OneIsSlow,
    /// Notes how long ago the task was made.
    NoteAge,
    /// Says when it began.
    SayBegin,
    /// Keeps a ledger in this folder, and never ends where it begins first.
    Hang(PathBuf),
    /// Keeps a ledger in this folder, as the worker does of what the broker answers, and says what that accepts.
    KeepLedger(PathBuf),
}

impl Does {
    /// The folder of its ledger, if it keeps one.
    fn ledgers(&self) -> Option<&PathBuf> {
        match self {
            Self::Hang(folder) | Self::KeepLedger(folder) => Some(folder),
            Self::Nothing | Self::OneIsSlow | Self::NoteAge | Self::SayBegin => None,
        }
    }
}

/// How long a handler takes that keeps a ledger, so that some run at any time.
const TAKES: Duration = Duration::from_millis(50);

/// What a worker did. Times are nanoseconds since the boot.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Worked {
    /// Before it claimed anything.
    pub(crate) began: u64,
    /// The last accepted settlement.
    pub(crate) ended: u64,
    /// Processor time of this process, in nanoseconds.
    pub(crate) cpu: u64,
    /// How many were accepted.
    pub(crate) settled: u64,
    /// The longest time that a claim took, in nanoseconds.
    pub(crate) longest_claim: u64,
    /// How old tasks were when their handlers began, in nanoseconds: p50 and p99.
    pub(crate) age: (f64, f64),
    /// The least of that.
    pub(crate) youngest: f64,
}

/// A handler began.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Begun {
    /// The task.
    pub(crate) id: String,
    /// When.
    pub(crate) at: u64,
}

/// The broker accepted a call of a producer, or a settlement.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Accepted {
    /// When that was known, in nanoseconds since the boot.
    pub(crate) accepted: u64,
}

/// Counts accepted settlements.
#[derive(Debug, Default)]
struct Counter {
    settled: AtomicU64,
    ended: AtomicU64,
    until: Option<u64>,
    shutdown: Shutdown,
    /// Told when so many are settled.
    enough: Arc<Notify>,
    /// Where each answer is written down, if that is wanted.
    ledger: Option<Arc<Ledger>>,
    /// Why an answer could not be.
    unwritten: OnceLock<anyhow::Error>,
}

impl Counter {
    fn write(&self, ledger: &Ledger, run: &Running<'_>, answer: Settled) -> Result<()> {
        let lease = &run.task.lease;
        let accepted = answer == Settled::Settled;
        let result = if accepted { Answer::Accepted } else { Answer::Refused };
        ledger.end(&Run::new(lease.id.to_string(), lease.epoch), result)?;
        if accepted { say(&Accepted { accepted: now() }) } else { Ok(()) }
    }
}

impl Observer for Counter {
    fn settled(&self, run: &Running<'_>, answer: Settled) {
        let written = self.ledger.as_ref().map_or(Ok(()), |ledger| self.write(ledger, run, answer));
        if let Err(error) = written {
            // Said at the end of the worker, which is now.
            let _ = self.unwritten.set(error);
            self.shutdown.stop();
        }
        if answer == Settled::Settled {
            let before = self.settled.fetch_add(1, Ordering::Relaxed);
            // What is settled after the last that counts is settled all the same.
            if self.until.is_none_or(|until| before < until) {
                self.ended.store(now(), Ordering::Relaxed);
            }
            if self.until == Some(before + 1) {
                self.enough.notify_one();
                self.shutdown.stop();
            }
        }
    }
}

impl Work {
    /// A worker that does nothing until the queue is closed and joined.
    pub(crate) fn new(broker: &str) -> Self {
        Self { broker: broker.to_owned(), does: Does::Nothing, until: None, at_once: false, slots: None }
    }

    pub(super) async fn play(self, mut orders: Orders) -> Result<()> {
        let shutdown = Shutdown::new();
        let ledgers = self.does.ledgers();
        let ledger = ledgers.map(|folder| Ledger::open(folder, "worker").map(Arc::new)).transpose()?;
        let counter = Arc::new(Counter {
            until: self.until,
            shutdown: shutdown.clone(),
            ledger: ledger.clone().filter(|_| matches!(self.does, Does::KeepLedger(_))),
            ..Counter::default()
        });
        let ages = Arc::new(Mutex::new(Vec::new()));
        let timed = Arc::new(Timed::new(connect(&self.broker.parse()?).await?));
        let builder = Worker::builder(Arc::clone(&timed) as Arc<dyn manyhands::Broker>);
        let builder = builder.app(self.app(&ages, ledger, &counter.enough)).until_ended(self.until.is_none());
        let builder = self.slots.into_iter().fold(builder, |builder, slots| builder.concurrency(slots));
        let worker = builder.observer(Arc::clone(&counter) as Arc<dyn Observer>).build()?;
        if !self.at_once {
            orders.wait().await?;
        }
        let (began, before) = (now(), own_cpu_nanos());
        worker.run(&shutdown).await?;
        if let Some(error) = counter.unwritten.get() {
            bail!("what the broker answered could not be written down: {error:#}");
        }
        let cpu = own_cpu_nanos() - before;
        let mut ages = std::mem::take(&mut *ages.lock().unwrap_or_else(PoisonError::into_inner));
        say(&Worked {
            began,
            cpu,
            ended: counter.ended.load(Ordering::Relaxed),
            settled: counter.settled.load(Ordering::Relaxed),
            longest_claim: timed.longest(),
            youngest: percentile(&mut ages, 0.0),
            age: (percentile(&mut ages, 0.5), percentile(&mut ages, 0.99)),
        })
    }

    fn app(&self, ages: &Arc<Mutex<Vec<f64>>>, ledger: Option<Arc<Ledger>>, enough: &Arc<Notify>) -> App {
        match (self.does.clone(), ledger) {
            (Does::OneIsSlow, _) => {
                let (enough, begun) = (Arc::clone(enough), Arc::new(AtomicBool::new(false)));
                App::new().handle(move |_: work::Work, _: Context| {
                    let slow = (!begun.swap(true, Ordering::Relaxed)).then(|| Arc::clone(&enough));
                    async move {
                        if let Some(enough) = slow {
                            enough.notified().await;
                        }
                        Ok(())
                    }
                })
            }
            (Does::NoteAge, _) => {
                let ages = Arc::clone(ages);
                App::new().handle(move |task: work::Work, _: Context| {
                    let age = now().saturating_sub(task.at) as f64;
                    ages.lock().unwrap_or_else(PoisonError::into_inner).push(age);
                    async { Ok(()) }
                })
            }
            (Does::SayBegin, _) => App::new().handle(|_: work::Work, ctx: Context| async move { tell(&ctx) }),
            (Does::Hang(folder), Some(ledger)) => App::new()
                .handle(move |_: work::Work, ctx: Context| hang(Arc::clone(&ledger), folder.clone(), ctx)),
            (Does::KeepLedger(_), Some(ledger)) => {
                App::new().handle(move |_: work::Work, ctx: Context| note(Arc::clone(&ledger), ctx))
            }
            _ => App::new().handle(nothing),
        }
    }
}

fn tell(ctx: &Context) -> Result<(), TaskError> {
    let said = say(&Begun { id: ctx.id().to_string(), at: now() });
    said.map_err(|e| TaskError::retry(e.to_string()))
}

fn unwritten(error: io::Error) -> TaskError {
    TaskError::retry(error.to_string())
}

/// Never ends where it begins first: who runs it must be killed. What says so is a file, as the broker is what is judged.
async fn hang(ledger: Arc<Ledger>, folder: PathBuf, ctx: Context) -> Result<(), TaskError> {
    let run = Run::new(ctx.id().to_string(), ctx.fence());
    let first = File::create_new(folder.join(format!("{}.begun", ctx.id()))).is_ok();
    ledger.begin(&run).map_err(unwritten)?;
    tell(&ctx)?;
    if first {
        std::future::pending::<()>().await;
    }
    ledger.done(&run).map_err(unwritten)
}

/// Writes down that it ran.
async fn note(ledger: Arc<Ledger>, ctx: Context) -> Result<(), TaskError> {
    let run = Run::new(ctx.id().to_string(), ctx.fence());
    ledger.begin(&run).map_err(unwritten)?;
    tokio::time::sleep(TAKES).await;
    ledger.done(&run).map_err(unwritten)
}
