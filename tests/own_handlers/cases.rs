//! What such handlers do, seen from outside.

use manyhands::{QueueName, TaskId};
use manyhands_broker::State;
use manyhands_test_support::kill;
use serde_json::{Value, json};

use crate::{
    ROLE,
    handlers::Known,
    programs::{Place, Worker, all_end},
};

/// Both handlers in processes, one each.
fn place(more: &str) -> Place {
    Place::with(&format!(
        "[tasks.waits]\nprocess = true\nprocesses = 1\n{more}[tasks.computes]\nprocess = true\nprocesses = 1\n{more}"
    ))
}

fn worker(place: &Place) -> Worker {
    let mut worker = place.program("worker");
    let mut own = std::process::Command::new(std::env::current_exe().unwrap());
    own.current_dir(worker.get_current_dir().unwrap()).stdin(std::process::Stdio::null());
    own.envs(worker.get_envs().filter_map(|(name, value)| Some((name, value?))));
    worker = own;
    Worker::start(worker.env(ROLE, "1"))
}

/// Sends a task to either handler, and waits for what it says.
fn ask(place: &Place, task: &str, what: &str, more: &[&str]) -> (Option<i32>, String) {
    let queue = ["--queue", if task == "waits" { "default" } else { "computing" }];
    let queue = if more.contains(&"--queue") { &[] } else { &queue[..] };
    let payload = json!(what).to_string();
    let send = ["send", task, &payload, "--wait", "50s", "--max-attempts", "1"];
    let (code, out, err) = place.run("producer", &[&send[..], &["--max-crashes", "1"], queue, more].concat());
    (code, if code == Some(0) { out } else { err })
}

fn known(told: &(Option<i32>, String)) -> Known {
    assert_eq!(told.0, Some(0), "{}", told.1);
    serde_json::from_str(&told.1).unwrap()
}

pub(crate) fn the_pipe_changes_nothing_for_a_handler() {
    let place = place("");
    let mut worker = worker(&place);
    for (task, queue) in [("waits", "default"), ("computes", "computing")] {
        let told = known(&ask(&place, task, "tell", &["--id", task]));
        let children = kill::descendants(worker.pid());
        assert!(told.pid != worker.pid() && children.contains(&told.pid), "{told:?} {children:?}");
        let expected = Known {
            pid: told.pid,
            id: task.to_owned(),
            queue: queue.to_owned(),
            attempt: 1,
            has_fence: true,
            batch: None,
            wanted: true,
        };
        assert_eq!(told, expected);
        assert_eq!(known(&ask(&place, task, "print", &[])).pid, told.pid, "it is kept");
        worker.says("{\"id\": no protocol!");
        worker.says("to standard error");
    }
    assert_eq!(worker.stop().0, Some(0));
    place.fsck();
}

pub(crate) fn what_a_handler_does_wrong_costs_its_task() {
    let place = place("");
    let worker = worker(&place);
    for task in ["waits", "computes"] {
        for (what, why) in [
            ("panic", "is dead: the handler panicked: all is lost"),
            (
                "abort",
                "crash 1 of 1: the handler's process crashed before it answered: killed by signal 6 (SIGABRT)",
            ),
            ("bury", "is dead: never"),
            ("large", "is dead: xxx"),
            ("no such variant", "unknown variant"),
        ] {
            let (code, said) = ask(&place, task, what, &[]);
            assert!(code == Some(1) && said.contains(why), "{task} {what}: {said}");
            assert_eq!(ask(&place, task, "tell", &[]).0, Some(0), "{task} after {what}");
        }
    }
    let later = json!("later").to_string();
    place.run("producer", &["send", "waits", &later, "--id", "later"]);
    let left = place.look(|broker| async move {
        let (queue, id) = (QueueName::new("default").unwrap(), TaskId::new("later").unwrap());
        loop {
            let found = broker.lookup().unwrap().get(&queue, &id).await.unwrap().unwrap().info;
            match found.standing {
                manyhands_broker::Standing::Scheduled { left, .. } => break left.as_secs(),
                _ => tokio::task::yield_now().await,
            }
        }
    });
    assert!((3000..=3600).contains(&left), "{left}");
    assert_eq!(worker.stop().0, Some(0));
    place.fsck();
}

pub(crate) fn a_handler_that_takes_too_much_is_killed() {
    let place = place("run_limit = \"1s\"\nmemory_limit = \"200MiB\"\n");
    let worker = worker(&place);
    for task in ["waits", "computes"] {
        let (code, said) = ask(&place, task, "spin", &[]);
        assert!(code == Some(1) && said.contains("ran for longer than its limit of 1s"), "{task}: {said}");
        let (code, said) = ask(&place, task, "eat", &[]);
        let limits = ["more than its limit of 200.0 MiB", "ran for longer than its limit of 1s"];
        assert!(code == Some(1) && limits.iter().any(|why| said.contains(why)), "{task}: {said}");
        assert_eq!(ask(&place, task, "tell", &[]).0, Some(0));
    }
    assert_eq!(worker.stop().0, Some(0));
}

pub(crate) fn what_is_enqueued_and_told_passes_the_pipe() {
    let place = place("");
    let worker = worker(&place);
    assert_eq!(ask(&place, "waits", "hand_on", &[]).0, Some(0));
    let handed_on = place.look(|broker| async move {
        let queue = QueueName::new("put").unwrap();
        let lookup = broker.lookup().unwrap();
        let tasks = lookup.list(&queue, State::Ready, None, 256).await.unwrap().tasks;
        let mut payloads = Vec::new();
        for task in tasks {
            payloads.push(
                lookup.get(&queue, &task.id).await.unwrap().unwrap().payload.decode::<String>().unwrap(),
            );
        }
        payloads
    });
    let numbers: Vec<_> = handed_on.iter().map(|payload| payload[..3].parse::<u32>().unwrap()).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>(), "all of them, in order");
    assert_eq!(ask(&place, "computes", "put", &[]).0, Some(0));
    assert_eq!(place.status("put").ready, 101);
    place.run("producer", &["send", "waits", "\"put\"", "--id", "p"]);
    let told: Value = place.look(|broker| async move {
        let (queue, id) = (QueueName::new("default").unwrap(), TaskId::new("p").unwrap());
        loop {
            let progress = broker.lookup().unwrap().get(&queue, &id).await.unwrap().unwrap().progress;
            if let Some(progress) = progress.filter(|told| told.as_str() != "\"Enqueued\"") {
                break progress.decode().unwrap();
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(told, json!("Exists"), "the second time");
    kill::kill(worker.pid()).unwrap();
    place.fsck();
}

pub(crate) fn the_children_end_with_the_worker() {
    let place = place("");
    let worker = worker(&place);
    for task in ["waits", "computes"] {
        assert_eq!(ask(&place, task, "tell", &[]).0, Some(0));
    }
    let family = worker.family();
    assert_eq!(family.len(), 3, "two children and the guard");
    kill::kill(worker.pid()).unwrap();
    all_end(family);
}

pub(crate) fn a_handler_without_the_word_runs_in_the_worker() {
    let place = Place::with("[tasks.waits]\nprocess = true\nqueue = \"others\"\n");
    let worker = worker(&place);
    assert_eq!(known(&ask(&place, "computes", "tell", &[])).pid, worker.pid());
    let told = known(&ask(&place, "waits", "tell", &["--queue", "others"]));
    assert!(told.pid != worker.pid() && told.queue == "others");
    assert_eq!(worker.stop().0, Some(0));
}
