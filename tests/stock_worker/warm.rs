//! Warm processes, and what becomes of them when they, their task or their worker end.

use manyhands::{QueueName, TaskId};
use manyhands_test_support::{
    kill::{self, Signal, Watch},
    servers::{RabbitMq, Redis},
};

use super::programs::{Place, all_end};

/// What a warm handler does is in the payload.
const NAUGHTY: &str = r##"
import json, os, signal, subprocess, sys, time
print(json.dumps({"hello": 1, "tasks": ["naughty"]}), flush=True)
for line in sys.stdin:
    task = json.loads(line)
    do = task["payload"]["do"]
    answer = {"id": task["id"], "result": do}
    if do == "print": print("just a word", "and\x1b[31m red", flush=True)
    if do == "brace": print("{this is no message", flush=True)
    if do == "pid": answer["result"] = os.getpid()
    if do == "wrong id": answer["id"] = "another"
    if do == "exit": sys.exit(3)
    if do == "words": print("Traceback: the last words", file=sys.stderr, flush=True); sys.exit(1)
    if do == "segv": os.kill(os.getpid(), signal.SIGSEGV)
    if do == "flood":
        for stream in (sys.stdout, sys.stderr):
            for n in range(20000): print("x" * 200, file=stream)
            stream.write("y" * 3000000 + "\n"); stream.flush()
    if do == "big": answer["result"] = "x" * 1050000
    if do == "huge": print("{" + "x" * 3000000, flush=True)
    if do == "hello": answer = {"hello": 1, "tasks": ["naughty"]}
    if do == "close": os.close(1); time.sleep(1000)
    if do == "fields": answer["result"] = {k: task[k] for k in ("task", "queue", "attempt", "fence")}
    if do == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "1000"])
        with open("pids", "w") as f: f.write(f"{os.getpid()} {child.pid}\n")
        if not os.path.exists("go on"): time.sleep(1000)
        child.kill()
    print(json.dumps(answer), flush=True)
    if do == "twice": print(json.dumps(answer), flush=True)
"##;

fn naughty(more: &str) -> Place {
    let place = Place::with(&format!(
        "[tasks.naughty]\nprocess = [\"python3\", \"naughty.py\"]\nprocesses = 1\n{more}"
    ));
    place.write("naughty.py", NAUGHTY);
    place
}

fn payload(what: &str) -> String {
    serde_json::json!({ "do": what }).to_string()
}

#[test]
fn what_a_warm_handler_does_wrong_costs_its_own_task_alone() {
    let place = naughty("");
    let mut worker = place.worker(&[]);
    let cases = [
        ("brace", "a line that begins with a brace is no message of the protocol"),
        ("wrong id", "the handler spoke of another task than the one that it is to run: \"another\""),
        ("exit", "the handler's process crashed before it answered: exit code 3, peak memory "),
        ("words", "MiB: Traceback: the last words"),
        ("segv", "killed by signal 11 (SIGSEGV)"),
        ("big", "its result of 1050002 bytes cannot be kept"),
        ("huge", "is too long: a result has at most 1 MiB"),
        ("hello", "the handler said hello twice"),
        ("close", "the handler's process closed its input or output before it answered, and was killed"),
    ];
    for (what, why) in cases {
        let (code, said) = place.ask("naughty", &payload(what));
        assert!(code == Some(1) && said.contains(why), "{what}: {said}");
        // The next one finds a child that is well.
        assert_eq!(
            place.ask("naughty", &payload("well")),
            (Some(0), "\"well\"\n".to_owned()),
            "after {what}"
        );
    }
    for what in ["print", "flood", "twice", "well"] {
        assert_eq!(place.ask("naughty", &payload(what)), (Some(0), format!("\"{what}\"\n")));
    }
    let word = worker.says("just a word");
    assert!(word.contains("\\u{1b}[31m red") && word.contains("task=naughty"), "{word:?}");
    worker.says("lines are left out");
    let (code, fields) = place.ask("naughty", &payload("fields"));
    let fields: serde_json::Value = serde_json::from_str(&fields).unwrap();
    assert_eq!((code, &fields["task"], &fields["queue"]), (Some(0), &"naughty".into(), &"default".into()));
    assert!(fields["attempt"] == 1 && fields["fence"].is_u64(), "{fields}");
    assert_eq!(worker.stop().0, Some(0));
    place.fsck();
}

/// The pids that a handler wrote down: its own, and that of what it started.
fn pids(place: &Place) -> Vec<Watch> {
    let pids = place.told("pids");
    pids.split_whitespace().map(|pid| Watch::open(pid.parse().unwrap()).unwrap()).collect()
}

#[test]
fn a_run_limit_kills_the_group_and_is_a_failure() {
    let place = naughty("run_limit = \"1s\"\n");
    let worker = place.worker(&[]);
    let (code, why) = place.ask("naughty", &payload("hang"));
    assert!(code == Some(1) && why.contains("ran for longer than its limit of 1s"), "{why}");
    // They were dead before the task was settled.
    let pids = place.told("pids");
    for pid in pids.split_whitespace() {
        assert_eq!(kill::started(pid.parse().unwrap()), None, "{pid} lives");
    }
    assert_eq!(place.ask("naughty", &payload("well")).0, Some(0));
    assert_eq!(worker.stop().0, Some(0));
}

#[test]
fn a_child_that_has_had_its_tasks_is_replaced() {
    let place = naughty("max_tasks_per_child = 2\n");
    let worker = place.worker(&[]);
    let pids: Vec<_> = (0..5).map(|_| place.ask("naughty", &payload("pid"))).collect();
    assert!(pids.iter().all(|(code, _)| *code == Some(0)), "{pids:?}");
    let changes: Vec<_> = pids.windows(2).map(|two| two[0] != two[1]).collect();
    assert_eq!(changes, [false, true, false, true], "{pids:?}");
    let (code, said) = worker.stop();
    assert!(code == Some(0) && !said.contains("started again"), "it is no failure: {said}");
}

/// Who sends a task may know better than who wrote the configuration.
#[test]
fn the_run_limit_of_a_task_kills_where_it_is_shorter() {
    let waits = "[tasks.waits]\ncommand = [\"sleep\", \"1000\"]\nrun_limit = \"1h\"\n";
    let place = naughty(&format!("run_limit = \"1h\"\n{waits}"));
    let worker = place.worker(&[]);
    let hang = payload("hang");
    for (task, payload) in [("naughty", &*hang), ("waits", "1")] {
        let wait = ["--wait", "50s", "--max-attempts", "1", "--run-limit", "1s"];
        let (code, _, why) = place.run("producer", &[&["send", task, payload], &wait[..]].concat());
        assert!(code == Some(1) && why.contains("ran for longer than its limit of 1s"), "{task}: {why}");
    }
    let pids = place.told("pids");
    for pid in pids.split_whitespace() {
        assert_eq!(kill::started(pid.parse().unwrap()), None, "{pid} lives");
    }
    assert_eq!(worker.stop().0, Some(0));
    place.fsck();
}

/// SIGKILL of the worker alone: the guard and the kernel see to the rest, and the task is run again.
#[test]
fn a_killed_worker_leaves_nobody_behind_and_loses_nothing() {
    let place = naughty("[tasks.waits]\ncommand = [\"sh\", \"-c\", \"sleep 1000 & sleep 1000\"]\n");
    let worker = place.worker(&[]);
    place.run("producer", &["send", "naughty", &payload("hang"), "--id", "a", "--keep-result", "1h"]);
    place.run("producer", &["send", "waits", "1", "--id", "b"]);
    let hanging = pids(&place);
    let family = loop {
        // The child, what it started; the shell and what it started; the guard.
        let family = worker.family();
        if family.len() >= 6 {
            break family;
        }
        std::thread::yield_now();
    };
    kill::kill(worker.pid()).unwrap();
    all_end(hanging);
    all_end(family);
    place.write("go on", "");
    let worker = place.worker(&[]);
    let again = place.run("producer", &["send", "naughty", "1", "--id", "a", "--wait", "50s"]);
    assert_eq!((again.0, again.1.as_str()), (Some(0), "\"hang\"\n"), "{}", again.2);
    kill::kill(worker.pid()).unwrap();
    place.fsck();
}

/// The guard's end is noticed when the next child is started.
#[test]
fn a_guard_that_was_killed_is_replaced() {
    let place = naughty("");
    let worker = place.worker(&[]);
    assert_eq!(place.ask("naughty", &payload("well")).0, Some(0));
    let is_guard = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"manyhands-guard"))
    };
    let guard = kill::descendants(worker.pid()).into_iter().find(is_guard).unwrap();
    kill::kill(guard).unwrap();
    place.ask("naughty", &payload("exit"));
    place.run("producer", &["send", "naughty", &payload("hang"), "--id", "a"]);
    let hanging = pids(&place);
    kill::kill(worker.pid()).unwrap();
    all_end(hanging);
}

#[test]
fn the_end_of_grace_gives_tasks_back_uncharged() {
    for signals in [&[Signal::TERM][..], &[Signal::TERM, Signal::INT]] {
        let place = naughty("[worker]\ngrace = \"300ms\"\n");
        if signals.len() > 1 {
            place.write("manyhands.toml", "[tasks.naughty]\nprocess = [\"python3\", \"naughty.py\"]\n");
        }
        let worker = place.worker(&[]);
        place.run("producer", &["send", "naughty", &payload("hang"), "--id", "a"]);
        let hanging = pids(&place);
        signals.iter().for_each(|signal| worker.signal(*signal));
        let (code, said) = worker.end();
        assert_eq!(code, Some(if signals.len() > 1 { 130 } else { 0 }), "{said}");
        all_end(hanging);
        let status = place.status("default");
        assert_eq!((status.ready, status.leased, status.scheduled, status.dead), (1, 0, 0, 0), "{said}");
    }
}

#[test]
fn a_cancelled_task_is_killed() {
    let place = naughty("[worker]\nlease = \"1s\"\n");
    let worker = place.worker(&[]);
    place.run("producer", &["send", "naughty", &payload("hang"), "--id", "a"]);
    let hanging = pids(&place);
    let (queue, id) = (QueueName::new("default").unwrap(), TaskId::new("a").unwrap());
    place.look(|broker| async move { broker.cancel(&queue, &[id]).await.unwrap() });
    all_end(hanging);
    assert_eq!(place.ask("naughty", &payload("well")).0, Some(0));
    assert_eq!(place.status("default").unsettled(), 0);
    assert_eq!(worker.stop().0, Some(0));
}

/// Nobody's tasks are taken for a program that cannot start, and the others go on.
#[test]
fn children_that_die_at_start_take_no_tasks() {
    let place = naughty(
        "[tasks.dies]\nprocess = [\"sh\", \"-c\", \"echo no licence >&2; exit 9\"]\nqueue = \"dying\"\n\
         [tasks.mute]\nprocess = [\"cat\"]\nqueue = \"dying\"\n\
         [tasks.other]\nprocess = [\"python3\", \"naughty.py\"]\nqueue = \"dying\"\n",
    );
    place.run("producer", &["send", "dies", "1", "--id", "a"]);
    let mut worker = place.worker(&[]);
    worker.says("it ended before it said hello: exit code 9: no licence");
    worker.says("it handles naughty, not \"other\"");
    assert_eq!(place.ask("naughty", &payload("well")).0, Some(0));
    let status = place.status("dying");
    assert_eq!((status.ready, status.leased), (1, 0));
    let family = worker.family();
    assert_eq!(worker.stop().0, Some(0));
    all_end(family);
}

/// Nothing of it depends on the broker.
#[test]
fn handlers_run_over_servers_too() {
    let (redis, rabbitmq) = (Redis::start().unwrap(), RabbitMq::start().unwrap());
    for url in [redis.url(), rabbitmq.url()] {
        let place = naughty("[tasks.note]\ncommand = [\"sh\", \"-c\", \"cat >note\"]\n");
        let worker = place.worker(&["--broker", &url]);
        place.run("producer", &["send", "naughty", &payload("hang"), "--broker", &url]);
        let hanging = pids(&place);
        let (code, _, err) = place.run("producer", &["send", "note", "[1]", "--broker", &url]);
        assert_eq!(code, Some(0), "{err}");
        assert_eq!(place.told("note"), "[1]\n");
        kill::kill(worker.pid()).unwrap();
        all_end(hanging);
    }
}
