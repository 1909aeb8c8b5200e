//! Children that behave as badly as they can, one by one: each costs its own task, and nobody waits for ever.

use manyhands_test_support::kill::{self, Signal, Watch};
use serde_json::json;

use super::programs::{PATIENCE, Place, all_end};

/// One program for each way to misbehave; `well` is a task that must go on beside it.
const FAULTS: &str = r##"
import json, os, signal, subprocess, sys, time
print(json.dumps({"hello": 1, "tasks": ["faulty"]}), flush=True)
for line in sys.stdin:
    task = json.loads(line)
    do = task["payload"]["do"]
    answer = json.dumps({"id": task["id"], "result": do})
    if do == "half a line":
        os.write(1, answer[:10].encode()); os._exit(1)
    if do == "half a line and lives":
        os.write(1, answer[:10].encode()); time.sleep(1000)
    if do == "a gibibyte":
        chunk = b"{" + b"x" * (1 << 20)
        for _ in range(1024): os.write(1, chunk)
        time.sleep(1000)
    if do == "closes stdin":
        os.close(0); print(answer, flush=True); time.sleep(1000)
    if do == "grandchild keeps the pipe":
        child = subprocess.Popen(["sleep", "1000"]); print(child.pid, file=open("left", "w")); os._exit(0)
    if do == "grandchild leaves the group":
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True); print(child.pid, file=open("left", "w")); os._exit(0)
    if do == "ignores SIGTERM":
        signal.signal(signal.SIGTERM, signal.SIG_IGN); print("deaf", file=open("pid", "w")); time.sleep(1000)
    if do == "talks":
        while True: os.write(1, (json.dumps({"id": task["id"], "progress": 1}) + "\n").encode() * 100)
    if do == "stops": os.kill(os.getpid(), signal.SIGSTOP)
    if do == "exits": sys.exit(0)
    print(answer, flush=True)
"##;

fn faulty(more: &str) -> Place {
    let place = Place::with(&format!(
        "[tasks.faulty]\nprocess = [\"python3\", \"faulty.py\"]\nprocesses = 1\nrun_limit = \"2s\"\n{more}"
    ));
    place.write("faulty.py", FAULTS);
    place
}

fn ask(place: &Place, what: &str) -> (Option<i32>, String) {
    place.ask("faulty", &json!({ "do": what }).to_string())
}

#[test]
fn each_fault_costs_its_own_task() {
    let place = faulty("");
    let worker = place.worker(&[]);
    for (what, why) in [
        ("half a line", "crash 1 of 1: the handler's process crashed before it answered: exit code 1"),
        ("half a line and lives", "ran for longer than its limit of 2s"),
        ("a gibibyte", "is too long: a result has at most 1 MiB"),
        ("stops", "ran for longer than its limit of 2s"),
        ("talks", "ran for longer than its limit of 2s"),
        ("exits", "crash 1 of 1: the handler's process crashed before it answered: exit code 0"),
        ("ignores SIGTERM", "ran for longer than its limit of 2s"),
    ] {
        let (code, said) = ask(&place, what);
        assert!(code == Some(1) && said.contains(why), "{what}: {said}");
        assert_eq!(ask(&place, "well").0, Some(0), "after: {what}");
    }
    // It did what it was asked, so it is done; the next task finds another.
    assert_eq!(ask(&place, "closes stdin").0, Some(0));
    assert_eq!(ask(&place, "well").0, Some(0));
    let family = worker.family();
    assert_eq!(family.len(), 2, "the child and the guard");
    assert_eq!(worker.stop().0, Some(0));
    all_end(family);
    place.fsck();
}

/// What a child leaves behind in its group dies with it; what made itself a session of its own keeps nobody waiting.
#[test]
fn what_a_child_leaves_behind_holds_nobody() {
    let place = faulty("");
    let worker = place.worker(&[]);
    for (what, lives) in [("grandchild keeps the pipe", false), ("grandchild leaves the group", true)] {
        let (code, said) = ask(&place, what);
        let left: u32 = place.told("left").trim().parse().unwrap();
        std::fs::remove_file(place.path("left")).unwrap();
        let crashed = said.contains("crash 1 of 1") && said.contains("exit code 0");
        assert!(code == Some(1) && (crashed || lives), "{what}: {said}");
        match (Watch::open(left), lives) {
            (Ok(watch), true) => {
                kill::kill(left).unwrap();
                assert!(watch.ended(PATIENCE).unwrap());
            }
            (Ok(watch), false) => assert!(watch.ended(PATIENCE).unwrap(), "{left} lives"),
            (Err(_), lives) => assert!(!lives, "it was not to be killed"),
        }
        assert_eq!(ask(&place, "well").0, Some(0), "after: {what}");
    }
    assert_eq!(worker.stop().0, Some(0));
}

/// A child that never reads has its task in the pipe, and one that is too long for that in part.
#[test]
fn a_child_that_never_reads_is_killed_at_the_limit() {
    let place = Place::with(
        "[tasks.blind]\nprocess = [\"sh\", \"-c\", \"echo '{\\\"hello\\\": 1, \\\"tasks\\\": [\\\"blind\\\"]}'; exec sleep 1000\"]\nrun_limit = \"1s\"\n",
    );
    let worker = place.worker(&[]);
    for payload in ["1".to_owned(), json!("x".repeat(900_000)).to_string()] {
        place.write("payload", &payload);
        let mut send = place.program("producer");
        send.args(["send", "blind", "-", "--wait", "50s", "--max-attempts", "1"]);
        send.stdin(std::fs::File::open(place.path("payload")).unwrap());
        let (code, _, said) = super::programs::told(send.output().unwrap());
        assert!(code == Some(1) && said.contains("ran for longer than its limit of 1s"), "{said}");
    }
    assert_eq!(worker.stop().0, Some(0));
}

/// Children that cannot be started at all: the worker says so, takes nothing for them, and does not start them over and over.
#[test]
fn a_program_that_goes_missing_is_no_storm() {
    let place = Place::with("[tasks.gone]\nprocess = [\"./gone\"]\nprocesses = 8\n");
    place.script("gone", "#!/bin/sh\necho start >>starts\nrm -f gone\nexit 1\n");
    let mut worker = place.worker(&[]);
    worker.says("exit code 127: cannot run ./gone: No such file or directory");
    place.run("producer", &["send", "gone", "1", "--id", "a"]);
    for pause in ["100ms", "200ms", "400ms", "800ms"] {
        // The pause grows for all of them together.
        worker.says(&format!("pause={pause}"));
    }
    let status = place.status("default");
    assert_eq!((status.ready, status.leased), (1, 0), "nothing is taken for it");
    place.script("gone", "#!/bin/sh\necho '{\"hello\": 1, \"tasks\": [\"gone\"]}'\nwhile read line; do id=${line#'{\"id\":\"'}\necho \"{\\\"id\\\": \\\"${id%%'\"'*}\\\", \\\"result\\\": 7}\"; done\n");
    let sent = place.run("producer", &["send", "gone", "1", "--wait", "50s"]);
    assert_eq!((sent.0, sent.1.as_str()), (Some(0), "7\n"), "it is there again: {}", sent.2);
    assert_eq!(worker.stop().0, Some(0));
}

/// A handler that dies of whatever it is given is not started again and again: the pause grows until one has answered.
#[test]
fn children_that_die_of_their_first_task_are_no_storm() {
    let place = faulty("");
    let mut worker = place.worker(&[]);
    for pause in ["0ns", "100ms", "200ms"] {
        assert_eq!(ask(&place, "exits").0, Some(1));
        let line = worker.says("it ended before it had answered anything (exit code 0");
        assert!(line.contains(&format!("pause={pause}")), "{line}");
    }
    assert_eq!(ask(&place, "well").0, Some(0));
    assert_eq!(ask(&place, "exits").0, Some(1));
    assert_eq!(ask(&place, "exits").0, Some(1), "one that had answered is no such failure");
    assert!(worker.says("it ended before it had answered anything").contains("pause=0ns"));
    assert_eq!(worker.stop().0, Some(0));
}

/// A signal while children start, and while they are being replaced.
#[test]
fn signals_at_any_time_end_all() {
    for sleep in ["0", "1000"] {
        let place = faulty(&format!(
            "[tasks.slow]\nprocess = [\"sh\", \"-c\", \"sleep {sleep}; exit 1\"]\nprocesses = 4\n"
        ));
        let mut worker = place.worker(&[]);
        worker.says("worker 0.1.0: broker");
        for _ in 0..3 {
            ask(&place, "exits");
        }
        let family = worker.family();
        worker.signal(Signal::TERM);
        let (code, said) = worker.end();
        assert_eq!(code, Some(0), "{said}");
        all_end(family);
    }
}

/// Each is waited for as it ends. Ten thousand of them with `MANYHANDS_TEST_LONG=1`.
#[test]
fn many_short_children_leave_no_zombie() {
    let many = if std::env::var_os("MANYHANDS_TEST_LONG").is_some() { 10_000 } else { 500 };
    let place = Place::with("[tasks.short]\ncommand = [\"true\"]\nprocesses = 8\n");
    place.write("payloads", "1\n".repeat(many));
    assert_eq!(place.run("producer", &["feed", "short", "payloads"]).0, Some(0));
    let worker = place.worker(&["--until-ended"]);
    let pid = worker.pid();
    let queue = manyhands::QueueName::new("default").unwrap();
    place.look(|broker| async move { broker.close(&queue).await.unwrap() });
    while place.status("default").unsettled() > 0 {
        let zombies = kill::descendants(pid).into_iter().filter(|pid| is_zombie(*pid)).count();
        assert!(zombies <= 16, "{zombies} zombies");
    }
    assert_eq!(worker.end().0, Some(0));
}

fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|state| state.starts_with('Z'))
}
