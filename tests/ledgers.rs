//! Tasks lost, doubled, overlapping, or settled from an old epoch: who worked wrote down what it did, on the disk and
//! outside the broker, and nothing else is believed.
//!
//! This process sends; the workers are this program, started again with the same test: where
//! `MANYHANDS_TEST_LEDGERS_BROKER` names a broker, the test is a worker of it. Some are killed, or the network fails,
//! after so many tasks each time; the last end by themselves, with their queue.

#![cfg(all(feature = "local", feature = "rabbitmq", feature = "redis"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]
#![allow(clippy::print_stdout, reason = "the workers' words to their parent, and the figures")]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, PipeWriter},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::AtomicU32, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use manyhands::{
    App, Client, Context, Error, NewTask, Observer, QueueName, Running, Shutdown, Task, TaskError, TaskId,
    Worker, capabilities::Ids,
};
use manyhands_broker::Settled;
use manyhands_test_support::{
    checker::{self, Pair, Report},
    kill::{self, Signal},
    ledger::{Answer, Ledger, Outcome, Run, now},
    relay::{Fault, Relay},
    servers::{RabbitMq, Redis},
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// What makes a test a worker, and where it keeps its ledger.
const BROKER: &str = "MANYHANDS_TEST_LEDGERS_BROKER";
const FOLDER: &str = "MANYHANDS_TEST_LEDGERS_FOLDER";

/// What is sent.
const TASKS: usize = 300;

/// Workers at a time, and what each runs at a time.
const WORKERS: usize = 3;
const SLOTS: usize = 4;

/// How often something fails, and after how many tasks each time.
const STRIKES: usize = 5;
const BETWEEN: usize = 40;

/// How long a lease lasts: on Redis, until somebody else runs what the dead held.
const LEASE: Duration = Duration::from_secs(2);

/// How long nobody may finish anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long until a call is repeated that had no answer.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Serialize, Deserialize)]
struct Work(usize);

impl Task for Work {
    const NAME: &'static str = "work";
    type Output = ();
}

/// A run that is in the ledger; dropped before it is done, it failed.
struct Begun {
    ledger: Arc<Ledger>,
    run: Run,
    done: bool,
}

impl Begun {
    fn new(ledger: &Arc<Ledger>, ctx: &Context) -> Self {
        let run = Run::new(ctx.id().to_string(), ctx.fence());
        ledger.begin(&run).unwrap();
        Self { ledger: Arc::clone(ledger), run, done: false }
    }

    fn done(mut self) {
        self.ledger.done(&self.run).unwrap();
        self.done = true;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.done {
            self.ledger.failed(&self.run).unwrap();
        }
    }
}

/// Writes down what the broker says to settlements.
#[derive(Debug)]
struct Clerk(Arc<Ledger>);

impl Observer for Clerk {
    fn settled(&self, run: &Running<'_>, answer: Settled) {
        let lease = &run.task.lease;
        let answer = if answer == Settled::Settled { Answer::Accepted } else { Answer::Refused };
        self.0.end(&Run::new(lease.id.to_string(), lease.epoch), answer).unwrap();
    }
}

/// In a worker: works until the queue ended. False in the test that starts it.
fn worked() -> bool {
    let Ok(url) = std::env::var(BROKER) else { return false };
    let folder = std::env::var_os(FOLDER).unwrap();
    let ledger = Arc::new(Ledger::open(Path::new(&folder), "worker").unwrap());
    let clerk = Arc::new(Clerk(Arc::clone(&ledger)));
    let work = move |Work(number): Work, ctx: Context| {
        let ledger = Arc::clone(&ledger);
        async move {
            let begun = Begun::new(&ledger, &ctx);
            // So that there is something to be killed, and never the same.
            tokio::time::sleep(Duration::from_millis(2 + number as u64 % 7)).await;
            begun.done();
            println!("\n@done");
            Ok::<_, TaskError>(())
        }
    };
    runtime().block_on(async {
        let broker = insist(async || manyhands::connect(&url.parse()?).await).await;
        let worker = Worker::builder(broker)
            .app(App::new().handle(work))
            .concurrency(SLOTS)
            .lease(LEASE)
            .until_ended(true)
            .observer(clerk);
        worker.build().unwrap().run(&Shutdown::new()).await.unwrap();
    });
    println!("\n@ended");
    true
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Repeats a call while it may succeed later.
async fn insist<T>(mut call: impl AsyncFnMut() -> Result<T, Error>) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) if error.is_retryable() => tokio::time::sleep(PAUSE).await,
            Err(error) => panic!("{}", error.report()),
        }
    }
}

/// Sends everything, never more than `lead` ahead of what is done, and closes the queue. Returns what may be there twice:
/// what was sent again where the broker does not know ids.
async fn produce(url: &str, ledger: &Ledger, lead: &Semaphore) -> BTreeSet<String> {
    let client = insist(async || Client::connect(&url.parse()?).await).await;
    let ids = client.broker().capabilities().ids;
    let mut twins = BTreeSet::new();
    for number in 0..TASKS {
        // Closed when nobody is there any more.
        let _ = lead.acquire().await.map(tokio::sync::SemaphorePermit::forget);
        let mut task = NewTask::of(&Work(number)).unwrap();
        if ids == Ids::Remembered {
            task = task.with_id(TaskId::new(&format!("task-{number}")).unwrap());
        }
        let id = task.id.to_string();
        insist(async || {
            let sent = client.send_task(task.clone()).await;
            let outcome = match &sent {
                Ok(_) => Outcome::Confirmed,
                Err(error) if error.is_retryable() => Outcome::Unknown,
                Err(_) => Outcome::Refused,
            };
            ledger.sent(&id, outcome).unwrap();
            if outcome == Outcome::Unknown && ids == Ids::Unknown {
                twins.insert(id.clone());
            }
            sent
        })
        .await;
    }
    insist(async || client.close(&QueueName::new(Work::QUEUE)?).await).await;
    twins
}

/// One test under way.
struct Scene {
    test: &'static str,
    url: String,
    folder: TempDir,
    /// Of what fails.
    ledger: Ledger,
    workers: Vec<Child>,
    /// Who did not say that it ended.
    busy: usize,
    done: usize,
    /// What all workers say: one pipe, so it ends with the last of them.
    lines: mpsc::Receiver<String>,
    pipe: Option<PipeWriter>,
    /// How many more tasks may be sent.
    lead: Arc<Semaphore>,
    producer: Option<JoinHandle<BTreeSet<String>>>,
}

impl Scene {
    fn start(test: &'static str, url: String, lead: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path(), "test").unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
            // The rest is what the test harness prints.
            lines.all(|line| line.strip_prefix('@').is_none_or(|word| sender.send(word.to_owned()).is_ok()))
        });
        let lead = Arc::new(Semaphore::new(lead));
        let sent = Ledger::open(folder.path(), "producer").unwrap();
        let (at, room) = (url.clone(), Arc::clone(&lead));
        let producer = Some(std::thread::spawn(move || runtime().block_on(produce(&at, &sent, &room))));
        let (workers, pipe) = (Vec::new(), Some(writer));
        let mut scene =
            Self { test, url, folder, ledger, workers, busy: 0, done: 0, lines, pipe, lead, producer };
        (0..WORKERS).for_each(|_| scene.start_worker());
        scene
    }

    fn start_worker(&mut self) {
        let worker = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", self.test, "--nocapture", "--test-threads=1"])
            .env(BROKER, &self.url)
            .env(FOLDER, self.folder.path())
            .stdin(Stdio::null())
            .stdout(self.pipe.as_ref().unwrap().try_clone().unwrap())
            .spawn();
        self.workers.push(worker.unwrap());
        self.busy += 1;
    }

    /// Waits for the next word of a worker; false when there are none to come.
    fn hear(&mut self) -> bool {
        match self.lines.recv_timeout(PATIENCE).as_deref() {
            Ok("done") => {
                self.done += 1;
                self.lead.add_permits(1);
            }
            Ok(_) => self.busy -= 1,
            Err(mpsc::RecvTimeoutError::Disconnected) => return false,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("all stands still: {}", self.check()),
        }
        true
    }

    /// Lets it fail so often, and then go on to its end.
    fn run(mut self, mut strike: impl FnMut(&mut Self, usize)) -> Report {
        let mut strikes = 0;
        while strikes < STRIKES && self.busy > 0 {
            if self.done < BETWEEN * (strikes + 1) {
                self.hear();
            } else {
                strike(&mut self, strikes);
                strikes += 1;
            }
        }
        // The workers have theirs still.
        self.pipe = None;
        while self.hear() {}
        self.lead.close();
        let twins = self.producer.take().unwrap().join().unwrap();
        let mut report = self.check();
        println!("{}: {} sent again: {report}", self.test, twins.len());
        // Two tasks of one id, which nobody can tell from one that is run twice.
        let once = |pair: &Pair| !twins.contains(&pair.first.id);
        for pairs in [&mut report.doubled, &mut report.overlapping, &mut report.stale, &mut report.reused] {
            pairs.retain(once);
        }
        assert_eq!(report.defects(), Vec::<String>::new());
        assert_eq!((report.confirmed, report.unknown, strikes), (TASKS, 0, STRIKES));
        assert!(report.completed >= TASKS);
        for mut worker in self.workers.drain(..) {
            assert!(worker.wait().unwrap().success());
        }
        report
    }

    fn check(&self) -> Report {
        checker::check(self.folder.path()).unwrap()
    }

    /// Kills the worker that was started first, and starts another.
    fn kill(&mut self) {
        let mut victim = self.workers.remove(0);
        // Its last record is older than what is written down of its death.
        kill::stop(victim.id()).unwrap();
        self.ledger.kill(victim.id()).unwrap();
        let status = victim.wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "it ended before: {}", self.check());
        self.busy -= 1;
        self.start_worker();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.workers.iter_mut().for_each(|worker| {
            let _ = worker.kill();
            let _ = worker.wait();
        });
    }
}

/// Workers are killed. The queue is closed long before the last of them.
fn kills(test: &'static str, url: String) {
    let report = Scene::start(test, url, TASKS).run(|scene, _| scene.kill());
    // The dead do not run, and what was accepted before is done.
    assert_eq!(report.overlapping, []);
    assert!(report.doubled.iter().all(|pair| !pair.after_accepted), "{:?}", report.doubled);
}

/// All connections fail at once, and in the middle there is a time in which answers are lost.
fn faults(test: &'static str, server: &str) {
    let (address, namespace) = server.split_once('?').unwrap();
    let relay = Relay::start(address.rsplit_once(':').unwrap().1.parse().unwrap()).unwrap();
    let url = format!("{}?{namespace}", relay.url(address));
    // Little ahead, so that all of them meet who sends.
    Scene::start(test, url, BETWEEN / 2).run(|scene, strike| {
        let from = now();
        if strike == STRIKES / 2 {
            let before = relay.stats().discarded;
            relay.set(Fault::RepliesDropped(None)).unwrap();
            relay.wait(PATIENCE, |stats| stats.discarded > before).unwrap();
        } else {
            relay.set(Fault::Cut).unwrap();
        }
        relay.heal().unwrap();
        scene.ledger.fault(if strike == STRIKES / 2 { "lost answers" } else { "cut" }, None, from).unwrap();
    });
}

/// A set of queues that nobody else has.
fn fresh(url: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{url}?namespace=ledgers-{}-{}-{number}", std::process::id(), now())
}

#[test]
fn kills_over_local() {
    if worked() {
        return;
    }
    let store = tempfile::tempdir().unwrap();
    kills("kills_over_local", format!("local:{}", store.path().display()));
}

#[test]
fn kills_over_redis() {
    if worked() {
        return;
    }
    let server = Redis::start().unwrap();
    kills("kills_over_redis", fresh(&server.url()));
}

#[test]
fn kills_over_rabbitmq() {
    if worked() {
        return;
    }
    kills("kills_over_rabbitmq", fresh(&RabbitMq::shared_url().unwrap()));
}

#[test]
fn faults_over_redis() {
    if worked() {
        return;
    }
    let server = Redis::start().unwrap();
    faults("faults_over_redis", &fresh(&server.url()));
}

#[test]
fn faults_over_rabbitmq() {
    if worked() {
        return;
    }
    faults("faults_over_rabbitmq", &fresh(&RabbitMq::shared_url().unwrap()));
}
