//! A process is ended at the named places of the RabbitMQ broker, where what follows from a call is stored and what it came from
//! is still there: a worker that answers waiting senders, and an operator that revives dead tasks. By the ledgers, outside the
//! broker, and by what is left on the server, nothing is lost, and what is there twice is one task.
//!
//! One trial a place and passage, `area.step#3`. This program is started again with `MANYHANDS_TEST_RABBITMQ_DEATH` set. A child that
//! ends by itself never passed its place, and its trial fails.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod operator;
mod worker;

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::{Arc, OnceLock},
    time::Duration,
};

use libtest_mimic::{Arguments, Trial};
use manyhands_broker::{
    Broker, Claim, ClaimedTask, End, Enqueued, Incarnation, NewTask, Payload, QueueName, Settled, Settlement,
    TaskId, TaskName, connect,
    crash::{Point, arm, passed},
};
use manyhands_test_support::{
    kill,
    ledger::{Ledger, Record, now},
    servers::RabbitMq,
};
use serde::{Deserialize, Serialize};

/// What makes this program a child, and tells it what to do.
const CHILD: &str = "MANYHANDS_TEST_RABBITMQ_DEATH";

/// How long something may take that is on its way.
const PATIENCE: Duration = Duration::from_secs(20);

/// The tasks of a trial.
const TASKS: usize = 4;

/// Who dies.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
enum Who {
    /// A worker that settles tasks whose senders wait.
    Worker,
    /// An operator that revives three dead tasks of four.
    Operator,
}

/// One death: who dies, where, and at which passage.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Plan {
    who: Who,
    /// The place, as its number in the list.
    point: usize,
    passage: u32,
}

/// What a child is told.
#[derive(Deserialize, Serialize)]
struct Child {
    plan: Plan,
    url: String,
    folder: PathBuf,
    ids: Vec<TaskId>,
}

impl Plan {
    fn point(&self) -> Point {
        Point::ALL[self.point]
    }
}

/// All places of the broker, each as often as it is certain to be passed.
fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    for (point, place) in Point::ALL.iter().enumerate().filter(|(_, point)| point.is_of_rabbitmq()) {
        let (who, passages) = match place {
            Point::RabbitMqEndsStored | Point::RabbitMqEndsAcknowledged | Point::RabbitMqEndsTaken => {
                (Who::Worker, 1)
            }
            Point::RabbitMqRevivedRemoved => (Who::Operator, operator::REVIVED as u32),
            _ => (Who::Operator, 1),
        };
        plans.extend((1..=passages).map(|passage| Plan { who, point, passage }));
    }
    plans
}

fn main() -> ExitCode {
    if let Ok(child) = std::env::var(CHILD) {
        let child: Child = serde_json::from_str(&child).unwrap();
        runtime().block_on(async {
            match child.plan.who {
                Who::Worker => worker::child(&child).await,
                Who::Operator => operator::child(&child).await,
            }
        });
        return ExitCode::SUCCESS;
    }
    let trial = |plan: Plan| {
        Trial::test(format!("{}#{}", plan.point().name(), plan.passage), move || {
            runtime().block_on(async {
                match plan.who {
                    Who::Worker => worker::trial(&plan).await,
                    Who::Operator => operator::trial(&plan).await,
                }
            });
            Ok(())
        })
    };
    libtest_mimic::run(&Arguments::from_args(), plans().into_iter().map(trial).collect()).exit_code()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The ledger of a child, which notes its death.
static LEDGER: OnceLock<Arc<Ledger>> = OnceLock::new();

impl Child {
    /// Starts the child that dies where the plan says, and waits for that.
    fn die(self) {
        let status = Command::new(std::env::current_exe().unwrap())
            .env(CHILD, serde_json::to_string(&self).unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(9), "the child ended by itself: {status}");
    }

    /// In the child: from here on it dies at its place.
    fn arm(&self) -> Arc<Ledger> {
        let ledger = Arc::new(Ledger::open(&self.folder, "child").unwrap());
        assert!(LEDGER.set(Arc::clone(&ledger)).is_ok());
        let point = self.plan.point();
        arm(point, passed(point) + self.plan.passage, || {
            let pid = std::process::id();
            LEDGER.get().unwrap().write(&Record::Killed { pid, at: now() }).unwrap();
            kill::send(pid, kill::Signal::KILL).unwrap();
            // Only the signal ends this thread.
            loop {
                std::thread::park();
            }
        });
        ledger
    }
}

/// A namespace of its own on the shared server.
fn namespace() -> String {
    format!("{}?namespace=deaths-{}", RabbitMq::shared_url().unwrap(), Incarnation::generate())
}

async fn session(url: &str) -> Arc<dyn Broker> {
    connect(&url.parse().unwrap()).await.unwrap()
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

/// So many tasks for the queue, which it takes.
async fn enqueue(broker: &dyn Broker, tasks: &[NewTask]) -> Vec<TaskId> {
    assert_eq!(broker.enqueue(tasks, None).await.unwrap(), vec![Enqueued::Enqueued; tasks.len()]);
    tasks.iter().map(|task| task.id.clone()).collect()
}

fn task(on: &str, name: &str) -> NewTask {
    NewTask::new(queue(on), TaskName::new(name).unwrap(), Payload::null())
}

/// Claims until nothing of the queue is unsettled, and ends each task so; tells which there were.
async fn drain(broker: &dyn Broker, from: &str, end: End) -> Vec<ClaimedTask> {
    let mut all = Vec::new();
    let drained = async {
        loop {
            let tasks = broker.claim(&Claim::new(queue(from), 9)).await.unwrap().tasks;
            let ends: Vec<_> =
                tasks.iter().map(|task| Settlement::new(task.lease.clone(), end.clone())).collect();
            assert_eq!(broker.settle(&ends).await.unwrap(), vec![Settled::Settled; ends.len()]);
            all.extend(tasks);
            if broker.status(&queue(from)).await.unwrap().is_none_or(|status| status.unsettled() == 0) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, drained).await.expect("everything can be claimed again");
    all
}

/// The ids, in order.
fn sorted<'a>(ids: impl IntoIterator<Item = &'a TaskId>) -> Vec<TaskId> {
    let mut ids: Vec<_> = ids.into_iter().cloned().collect();
    ids.sort();
    ids
}

/// A folder for ledgers.
fn ledgers() -> (tempfile::TempDir, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let own = Ledger::open(Path::new(folder.path()), "own").unwrap();
    (folder, own)
}
