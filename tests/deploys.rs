//! Rolling deploys: workers are replaced one after another under load. The tasks write down what was done, outside the broker: nothing
//! is lost, nothing is done twice, and what outlasts the grace is given back without being charged.
//!
//! With `MANYHANDS_TEST_LONG` as many and for as long as a real one.

#![cfg(all(feature = "cli", feature = "local", feature = "rabbitmq", feature = "redis"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]
#![expect(clippy::print_stdout, reason = "the figures")]

mod programs;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use manyhands::{NewTask, Payload, QueueName, TaskName};
use manyhands_test_support::servers::{RabbitMq, Redis};
use programs::{Place, Worker};
use serde_json::Value;

/// The size of a deploy.
struct Form {
    workers: usize,
    rounds: usize,
    /// How long a task takes, in seconds as `sleep` reads them, and one that outlasts the grace.
    short: &'static str,
    long: &'static str,
    grace: &'static str,
}

const QUICK: Form = Form { workers: 4, rounds: 2, short: "0.3", long: "4", grace: "2s" };
const LONG: Form = Form { workers: 8, rounds: 10, short: "2", long: "8", grace: "5s" };

/// How many slots a worker has.
const SLOTS: &str = "2";

/// One task of so many outlasts the grace.
const OUTLASTS: usize = 20;

/// What the tasks run: each line is one write, to a file that is only appended to.
const WORK: &str = "echo begun $1 >>ledger; sleep $2; echo done $1 >>ledger\n";

fn deploy(url: &str) {
    let form = if std::env::var_os("MANYHANDS_TEST_LONG").is_some() { LONG } else { QUICK };
    let place = Place::with(&format!(
        "[worker]\ngrace = \"{}\"\nlease = \"5s\"\n[tasks.work]\ncommand = [\"sh\", \"work.sh\", \"{{n}}\", \"{{seconds}}\"]\nprocesses = {SLOTS}\n",
        form.grace
    ));
    place.write("work.sh", WORK);
    let start = || {
        let mut worker = Worker::start(place.program("worker").env("MANYHANDS_BROKER", url));
        worker.says("queues default");
        worker
    };
    let mut workers: Vec<_> = (0..form.workers).map(|_| start()).collect();
    let over = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| send_until(url, &form, &over));
        for number in 0..form.workers * form.rounds {
            let old = workers.remove(0);
            workers.push(start());
            // In turns as a supervisor does it, and as an operator does it from anywhere.
            let (code, said) = if number % 2 == 0 { old.stop() } else { drain(&place, url, old) };
            assert_eq!(code, Some(0), "{said}");
        }
        over.store(true, Ordering::SeqCst);
        sending.join().unwrap()
    });
    let left = ends(url);
    assert_eq!((left.dead, left.unsettled()), (0, 0), "what was given back was charged");
    for worker in workers {
        let (code, said) = worker.stop();
        assert_eq!(code, Some(0), "{said}");
    }
    let again = judge(&std::fs::read_to_string(place.path("ledger")).unwrap(), sent);
    let replaced = form.workers * form.rounds;
    println!(
        "{}: {replaced} workers replaced, {sent} tasks done once, {again} of them begun again",
        url_kind(url)
    );
}

/// Sends tasks, a few more than there are slots at a time, until it is over; each may fail once, and then it is dead. Tells how many.
fn send_until(url: &str, form: &Form, over: &AtomicBool) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = manyhands::Client::connect(&url.parse().unwrap()).await.unwrap();
        let queue = QueueName::new("default").unwrap();
        let (mut sent, most) = (0, 4 * form.workers as u64);
        while !over.load(Ordering::SeqCst) {
            let changed = client.broker().wait(std::slice::from_ref(&queue));
            let ready = client.broker().status(&queue).await.unwrap().map_or(0, |status| status.ready);
            for _ in ready..most {
                let seconds = if sent % OUTLASTS == OUTLASTS - 1 { form.long } else { form.short };
                let payload = serde_json::json!({ "n": sent, "seconds": seconds });
                let mut task = NewTask::new(
                    queue.clone(),
                    TaskName::new("work").unwrap(),
                    Payload::encode(&payload).unwrap(),
                );
                task.max_attempts = 1;
                client.send_task(task).await.unwrap();
                sent += 1;
            }
            let _ = tokio::time::timeout(Duration::from_millis(100), changed).await;
        }
        sent
    })
}

/// Lets the worker drain by its id, and waits until the command says that it has ended.
fn drain(place: &Place, url: &str, worker: Worker) -> (Option<i32>, String) {
    let ours = |args: &[&str]| {
        programs::told(place.program("manyhands").env("MANYHANDS_BROKER", url).args(args).output().unwrap())
    };
    let (code, out, said) = ours(&["workers", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let all = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let pid = u64::from(worker.pid());
    let found = all.clone().find(|live| live["pid"].as_u64() == Some(pid));
    let found = found.unwrap_or_else(|| panic!("process {pid} is not listed: {out}"));
    let id = found["worker"].as_str().unwrap();
    let (code, out, said) = ours(&["workers", "drain", id, "--wait", "1m"]);
    assert_eq!(code, Some(0), "{out}{said}");
    worker.end()
}

/// Waits until all tasks are settled, or one is dead.
fn ends(url: &str) -> manyhands::QueueStatus {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let broker = manyhands::connect(&url.parse().unwrap()).await.unwrap();
        let queue = QueueName::new("default").unwrap();
        let wait = async {
            loop {
                let changed = broker.wait(std::slice::from_ref(&queue));
                let status = broker.status(&queue).await.unwrap().unwrap();
                if status.unsettled() == 0 || status.dead > 0 {
                    return status;
                }
                let _ = tokio::time::timeout(Duration::from_millis(200), changed).await;
            }
        };
        tokio::time::timeout(programs::PATIENCE, wait).await.unwrap()
    })
}

/// Every task was done once. More than one beginning is of one that was stopped at the end of the grace.
/// Tells how many those are.
fn judge(ledger: &str, sent: usize) -> usize {
    let (mut begun, mut done) = (BTreeMap::<usize, usize>::new(), BTreeMap::<usize, usize>::new());
    for line in ledger.lines() {
        let (word, number) = line.split_once(' ').unwrap();
        let counts = if word == "begun" { &mut begun } else { &mut done };
        *counts.entry(number.parse().unwrap()).or_default() += 1;
    }
    let all: BTreeSet<_> = (0..sent).collect();
    assert_eq!(done.keys().copied().collect::<BTreeSet<_>>(), all, "lost");
    assert!(done.values().all(|times| *times == 1), "done twice: {done:?}");
    let again: Vec<_> = begun.iter().filter(|(_, times)| **times > 1).map(|(number, _)| *number).collect();
    assert!(
        again.iter().all(|number| number % OUTLASTS == OUTLASTS - 1),
        "given back though it would have ended within the grace: {again:?}"
    );
    again.len()
}

fn url_kind(url: &str) -> &str {
    url.split(':').next().unwrap_or_default()
}

#[test]
fn over_local() {
    let store = tempfile::tempdir().unwrap();
    deploy(&format!("local:{}", store.path().display()));
}

#[test]
fn over_redis() {
    let server = Redis::start().unwrap();
    deploy(&server.url());
}

#[test]
fn over_rabbitmq() {
    let server = RabbitMq::shared_url().unwrap();
    deploy(&format!("{server}?namespace=deploys-{}", std::process::id()));
}
