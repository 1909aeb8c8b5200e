//! SIGHUP: all worker processes are replaced, one after another.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use manyhands::{NewTask, Payload, QueueName, TaskName};
use manyhands_test_support::{
    kill::Signal,
    servers::{RabbitMq, Redis},
};

use super::{
    WARM, all_ready, linked, pid_in, processes,
    programs::{PATIENCE, Place, Worker},
    put, supervisor,
};

/// How many there are, and how often all of them are replaced.
const PROCESSES: usize = 3;
const TIMES: usize = 2;

fn under_load(url: &str) {
    let place = Place::with(
        "[tasks.work]\ncommand = [\"sh\", \"-c\", \"echo begun {n} >>ledger; sleep 0.1; echo done {n} >>ledger\"]\nprocesses = 2\n",
    );
    let mut command = place.program("worker");
    let mut worker = Worker::start(
        command.args(["-v", "--processes", &PROCESSES.to_string()]).env("MANYHANDS_BROKER", url),
    );
    all_ready(&mut worker, PROCESSES);
    let over = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| send_until(url, &over));
        for _ in 0..TIMES {
            worker.signal(Signal::HUP);
            worker.says(&format!("{PROCESSES} worker processes were replaced"));
        }
        over.store(true, Ordering::SeqCst);
        sending.join().unwrap()
    });
    let (code, said) = worker.stop();
    assert_eq!(code, Some(0), "{said}");
    let ledger = place.told("ledger");
    let all: Vec<String> =
        ["begun", "done"].iter().flat_map(|word| (0..sent).map(move |n| format!("{word} {n}"))).collect();
    let mut told: Vec<_> = ledger.lines().map(str::to_owned).collect();
    told.sort();
    let mut wanted = all;
    wanted.sort();
    assert_eq!(told, wanted, "each was begun and done once: {said}");
    never_fewer(&said);
}

/// Sends tasks, more than run at a time, until it is over and all are settled; each may fail once, and then it is dead.
fn send_until(url: &str, over: &AtomicBool) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = manyhands::Client::connect(&url.parse().unwrap()).await.unwrap();
        let queue = QueueName::new("default").unwrap();
        let mut sent = 0;
        let work = async {
            loop {
                let changed = client.broker().wait(std::slice::from_ref(&queue));
                let status = client.broker().status(&queue).await.unwrap();
                let (ready, left) =
                    status.map_or((0, 0), |status| (status.ready, status.unsettled() + status.dead));
                let ending = over.load(Ordering::SeqCst);
                if ending && left == 0 {
                    return;
                }
                for _ in ready..if ending { 0 } else { 2 * PROCESSES as u64 } {
                    let payload = Payload::encode(&serde_json::json!({ "n": sent })).unwrap();
                    let mut task = NewTask::new(queue.clone(), TaskName::new("work").unwrap(), payload);
                    task.max_attempts = 1;
                    client.send_task(task).await.unwrap();
                    sent += 1;
                }
                let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
            }
        };
        tokio::time::timeout(PATIENCE, work).await.unwrap();
        sent
    })
}

/// Since all were ready, as many always were: one is told to drain only when another is ready in its place.
fn never_fewer(said: &str) {
    let (mut ready, mut began, mut drained) = (BTreeSet::new(), false, 0);
    for line in said.lines() {
        if line.contains("the worker process is ready") {
            assert!(ready.insert(pid_in(line)), "{line}");
        } else if line.contains("the worker process is told to drain") {
            assert!(ready.remove(&pid_in(line)), "{line}");
            drained += 1;
        }
        began |= ready.len() == PROCESSES;
        assert!(!began || ready.len() >= PROCESSES, "{line}: {}\n{said}", ready.len());
    }
    assert_eq!(drained, PROCESSES * TIMES, "{said}");
    assert!(!said.contains("nobody told it to"), "{said}");
}

#[test]
fn under_load_over_local() {
    let store = tempfile::tempdir().unwrap();
    under_load(&format!("local:{}", store.path().display()));
}

#[test]
fn under_load_over_redis() {
    let server = Redis::start().unwrap();
    under_load(&server.url());
}

#[test]
fn under_load_over_rabbitmq() {
    let server = RabbitMq::shared_url().unwrap();
    under_load(&format!("{server}?namespace=replaced-{}", std::process::id()));
}

/// Waits until so many live.
fn are(supervisor: &Worker, many: usize) {
    let patience = std::time::Instant::now() + PATIENCE;
    while processes(supervisor).len() != many {
        assert!(std::time::Instant::now() < patience, "{:?}", processes(supervisor));
    }
}

/// The new ones have the configuration as it is now; how many there are is part of it.
#[test]
fn the_new_ones_read_the_configuration_anew() {
    let configuration = |processes: usize, answer: &str| {
        format!("[worker]\nprocesses = {processes}\n[tasks.work]\ncommand = [\"echo\", \"{answer}\"]\n")
    };
    let place = Place::with(&configuration(2, "1"));
    let mut worker = place.worker(&["-v"]);
    all_ready(&mut worker, 2);
    assert_eq!(place.ask("work", "1"), (Some(0), "1\n".to_owned()));
    place.write("manyhands.toml", configuration(3, "2"));
    worker.signal(Signal::HUP);
    worker.says("2 worker processes were replaced");
    are(&worker, 3);
    assert_eq!(place.ask("work", "1"), (Some(0), "2\n".to_owned()));
    place.write("manyhands.toml", configuration(1, "3"));
    worker.signal(Signal::HUP);
    worker.says("1 worker process was replaced");
    are(&worker, 1);
    assert_eq!(place.ask("work", "1"), (Some(0), "3\n".to_owned()));
    // Nothing is replaced by what cannot be read.
    place.write("manyhands.toml", configuration(0, "4"));
    let before = processes(&worker);
    worker.signal(Signal::HUP);
    worker.says("worker.processes: 0 is no whole number from 1 to 512: no worker process is replaced");
    assert_eq!(processes(&worker), before);
    // Whoever sends reads the same file.
    place.write("manyhands.toml", configuration(1, "5"));
    assert_eq!(place.ask("work", "1"), (Some(0), "3\n".to_owned()));
    assert_eq!(worker.stop().0, Some(0));
}

/// A deploy puts another file, or another link, in the place of the program.
#[test]
fn the_new_ones_are_of_the_new_program() {
    let place = Place::with("[tasks.work]\ncommand = [\"echo\", \"1\"]\n");
    let (link, mut command) = linked(&place);
    let mut worker = Worker::start(command.args(["-v", "--processes", "2"]));
    all_ready(&mut worker, 2);
    let program = |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let old = program(worker.pid());
    assert!(processes(&worker).into_iter().all(|pid| program(pid) == old));
    let new = place.path("new");
    std::fs::copy(&old, &new).unwrap();
    std::fs::rename(&new, &link).unwrap();
    worker.signal(Signal::HUP);
    worker.says("2 worker processes were replaced");
    assert!(processes(&worker).into_iter().all(|pid| program(pid) == link), "{}", link.display());
    assert_eq!(place.ask("work", "1"), (Some(0), "1\n".to_owned()));
    // One that cannot run stops the replacement, and the others go on.
    let before = processes(&worker);
    put(&place, "#!/bin/sh\necho no licence >&2\nexit 9\n");
    worker.signal(Signal::HUP);
    worker.says("no licence");
    worker.says("ended: exit code 9, before it was ready: it was to take the place of another, and no more are replaced");
    assert_eq!(processes(&worker), before);
    std::fs::remove_file(&link).unwrap();
    worker.signal(Signal::HUP);
    worker.says("ended: exit code 127, before it was ready");
    assert_eq!(processes(&worker), before);
    assert_eq!(place.ask("work", "1"), (Some(0), "1\n".to_owned()));
    assert_eq!(worker.stop().0, Some(0));
}

/// Asked for again while it is under way, all are replaced once more after it.
#[test]
fn twice_is_once_more() {
    let place = Place::with("[tasks.work]\nprocess = [\"python3\", \"warm.py\", \"1\"]\n");
    place.write("warm.py", WARM);
    let mut worker = supervisor(&place, 2);
    all_ready(&mut worker, 2);
    worker.signal(Signal::HUP);
    worker.says("a worker process is started");
    place.write("manyhands.toml", "[tasks.work]\nprocess = [\"python3\", \"warm.py\", \"2\"]\n");
    worker.signal(Signal::HUP);
    worker.says("2 worker processes were replaced");
    worker.says("2 worker processes were replaced");
    assert_eq!(place.ask("work", "1"), (Some(0), "\"2\"\n".to_owned()));
    assert_eq!(worker.stop().0, Some(0));
}
