//! One task kills every process that it runs in, and 99 that do no harm run beside it in all slots of a worker: the one is found
//! out and dead, and nobody else is charged.
//!
//! The workers are this program, started again with the same test: where `MANYHANDS_TEST_POISON_BROKER` names a broker, the test
//! is a worker of it. The harmless tasks never end while they run beside others, so that all die with the poison.

#![cfg(all(feature = "local", feature = "redis"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]
#![allow(clippy::print_stdout, reason = "the workers' words to their parent")]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use manyhands::{
    App, Client, Context, NewTask, Observer, QueueName, Running, Shutdown, Task, TaskError, TaskId, Worker,
};
use manyhands_broker::{Settled, limits};
use manyhands_test_support::{
    checker, kill,
    ledger::{Answer, Ledger, Outcome, Record, Run, now},
    servers::Redis,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What makes a test a worker, and where it keeps its ledger.
const BROKER: &str = "MANYHANDS_TEST_POISON_BROKER";
const FOLDER: &str = "MANYHANDS_TEST_POISON_FOLDER";

/// The slots of a worker, and the tasks.
const TASKS: usize = 100;

/// How long a lease lasts: on Redis, until what the dead held is taken back.
const LEASE: Duration = Duration::from_secs(2);

#[derive(Serialize, Deserialize)]
struct Work {
    poison: bool,
}

impl Task for Work {
    const NAME: &'static str = "work";
    type Output = ();
}

/// What runs in this process: how many began, and whether one of them runs alone.
type Crowd = (usize, bool);

/// Says what every run begins with, and writes down what becomes of it.
#[derive(Debug)]
struct Clerk {
    ledger: Arc<Ledger>,
    crowd: watch::Sender<Crowd>,
}

impl Observer for Clerk {
    fn started(&self, run: &Running<'_>) {
        let task = run.task;
        let id = task.lease.id.to_string();
        self.ledger.begin(&Run::new(&id, task.lease.epoch)).unwrap();
        println!("\n@{id} {} {} {}", task.attempts, task.crashes, task.alone);
        self.crowd.send_modify(|(began, alone)| {
            *began += 1;
            *alone = task.alone;
        });
    }

    fn settled(&self, run: &Running<'_>, answer: Settled) {
        let lease = &run.task.lease;
        let answer = if answer == Settled::Settled { Answer::Accepted } else { Answer::Refused };
        self.ledger.end(&Run::new(lease.id.to_string(), lease.epoch), answer).unwrap();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// In a worker: works until the queue ended. False in the test that starts it.
fn worked() -> bool {
    let Ok(url) = std::env::var(BROKER) else { return false };
    let folder = std::env::var_os(FOLDER).unwrap();
    let ledger = Arc::new(Ledger::open(Path::new(&folder), "worker").unwrap());
    let clerk = Arc::new(Clerk { ledger: Arc::clone(&ledger), crowd: watch::Sender::default() });
    let crowd = clerk.crowd.clone();
    let work = move |Work { poison }: Work, ctx: Context| {
        let (ledger, mut crowd) = (Arc::clone(&ledger), crowd.subscribe());
        async move {
            let alone = crowd.wait_for(|(began, alone)| *alone || *began == TASKS).await.unwrap().1;
            if poison {
                std::process::abort();
            }
            if !alone {
                std::future::pending::<()>().await;
            }
            assert_eq!(ctx.attempt(), 1, "no attempt was charged");
            ledger.done(&Run::new(ctx.id().to_string(), ctx.fence())).unwrap();
            Ok::<_, TaskError>(())
        }
    };
    runtime().block_on(async {
        let broker = manyhands::connect(&url.parse().unwrap()).await.unwrap();
        let worker = Worker::builder(broker).app(App::new().handle(work)).concurrency(TASKS).lease(LEASE);
        worker.until_ended(true).observer(clerk).build().unwrap().run(&Shutdown::new()).await.unwrap();
    });
    true
}

/// A worker process, ended with the test if it is not by itself.
struct Process(Child);

impl Process {
    fn start(test: &str, url: &str, folder: &Path) -> Self {
        let worker = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(BROKER, url)
            .env(FOLDER, folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        Self(worker.unwrap())
    }

    /// What it says until it ends: of each run, the id, the charges, and whether it runs alone.
    fn runs(&mut self) -> Vec<(String, bool)> {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said = lines.filter_map(|line| Some(line.strip_prefix('@')?.to_owned()));
        let run = |line: String| {
            let words: Vec<_> = line.split(' ').collect();
            let [id, attempts, crashes, alone] = words[..] else { panic!("{line}") };
            let charges = (attempts, crashes);
            assert!(id == "poison" || charges == ("0", "0"), "an innocent task is charged: {line}");
            (id.to_owned(), alone == "true")
        };
        said.map(run).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tells whether it died.
fn died(worker: &mut Process) -> bool {
    let status = worker.0.wait().unwrap();
    assert!(status.success() || status.signal() == Some(kill::Signal::ABORT.as_raw()), "{status}");
    !status.success()
}

fn only_the_poison_dies(test: &str, url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path(), "test").unwrap();
    let name = QueueName::new(Work::QUEUE).unwrap();
    let id = |number: usize| if number == TASKS / 2 { "poison".to_owned() } else { number.to_string() };
    let innocent: BTreeSet<_> = (0..TASKS).map(id).filter(|id| id != "poison").collect();
    runtime().block_on(async {
        let client = Client::connect(&url.parse().unwrap()).await.unwrap();
        for number in 0..TASKS {
            let id = id(number);
            let task = NewTask::of(&Work { poison: id == "poison" }).unwrap();
            client.send_task(task.with_id(TaskId::new(&id).unwrap())).await.unwrap();
            if id != "poison" {
                ledger.sent(&id, Outcome::Confirmed).unwrap();
            }
        }
        client.close(&name).await.unwrap();
    });
    let mut deaths = Vec::new();
    loop {
        let mut worker = Process::start(test, url, folder.path());
        let runs = worker.runs();
        if !died(&mut worker) {
            break;
        }
        ledger.write(&Record::Killed { pid: worker.0.id(), at: now() }).unwrap();
        deaths.push(runs);
        assert!(deaths.len() < 10, "the poison is not found out");
    }
    // Twice with all others beside it, and then alone until it is dead.
    for together in &deaths[..2] {
        let ids: BTreeSet<_> = together.iter().map(|(id, _)| id.clone()).collect();
        assert_eq!((ids.len(), together.len()), (TASKS, TASKS), "all run beside the poison");
        assert!(together.iter().all(|(_, alone)| !alone));
    }
    let alone: Vec<_> = deaths[2..].iter().map(|runs| runs.last().unwrap().clone()).collect();
    assert_eq!(alone, vec![("poison".to_owned(), true); 3], "who killed each process after that");

    let report = checker::check(folder.path()).unwrap();
    assert_eq!(report.defects(), Vec::<String>::new());
    assert_eq!((report.confirmed, report.completed), (innocent.len(), innocent.len()), "{report}");
    runtime().block_on(async {
        let broker = manyhands::connect(&url.parse().unwrap()).await.unwrap();
        let dead = broker.dead_letters().unwrap().list(&name, None, limits::MAX_BATCH).await.unwrap();
        let dead: Vec<_> =
            dead.iter().map(|task| (task.id.to_string(), task.attempts, task.crashes)).collect();
        assert_eq!(dead, [("poison".to_owned(), 0, 3)]);
        let status = broker.status(&name).await.unwrap().unwrap();
        assert_eq!((status.unsettled(), status.dead), (0, 1));
        assert_eq!(broker.fsck().unwrap().fsck(false).await.unwrap().findings, []);
    });
}

#[test]
fn only_the_poison_dies_on_local() {
    if !worked() {
        let store = tempfile::tempdir().unwrap();
        only_the_poison_dies("only_the_poison_dies_on_local", &format!("local:{}", store.path().display()));
    }
}

#[test]
fn only_the_poison_dies_on_redis() {
    if !worked() {
        let server = Redis::start().unwrap();
        only_the_poison_dies("only_the_poison_dies_on_redis", &server.url());
    }
}
