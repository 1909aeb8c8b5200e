//! Children that make room for others before anything goes wrong, and what they may use.

use serde_json::json;

use super::programs::Place;

/// Says its pid, and does as it is told.
const GROWING: &str = r##"
import json, os, resource, sys, time
print(json.dumps({"hello": 1, "tasks": ["grow"]}), flush=True)
kept = []
for line in sys.stdin:
    task = json.loads(line)
    do = task["payload"]
    answer = {"id": task["id"], "result": os.getpid()}
    if do == "grow": kept.append(bytearray(150 * 1024 * 1024))
    if do == "limits": answer["result"] = [resource.getrlimit(n)[0] for n in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_AS, resource.RLIMIT_CPU)]
    if do == "open": answer["result"] = len([open("/dev/null") for _ in range(100)])
    if do == "write":
        with open("long", "wb") as f: f.write(b"x" * (3 << 20))
    if do == "compute":
        while True: pass
    print(json.dumps(answer), flush=True)
"##;

fn growing(more: &str) -> Place {
    let place =
        Place::with(&format!("[tasks.grow]\nprocess = [\"python3\", \"grow.py\"]\nprocesses = 1\n{more}"));
    place.write("grow.py", GROWING);
    place
}

fn ask(place: &Place, what: &str) -> (Option<i32>, String) {
    place.ask("grow", &json!(what).to_string())
}

#[test]
fn a_child_that_grew_is_replaced() {
    let place = growing("max_memory_per_child = \"100MiB\"\n");
    let worker = place.worker(&[]);
    let pids: Vec<_> =
        ["well", "well", "grow", "well", "well"].iter().map(|what| ask(&place, what)).collect();
    assert!(pids.iter().all(|(code, _)| *code == Some(0)), "{pids:?}");
    let changes: Vec<_> = pids.windows(2).map(|two| two[0] != two[1]).collect();
    assert_eq!(changes, [false, false, true, false], "{pids:?}");
    let (code, said) = worker.stop();
    assert!(code == Some(0) && !said.contains("started again"), "it is no failure: {said}");
}

/// The old one serves until the new one is there; all are told apart by what they ran, not by when.
#[test]
fn an_old_child_is_replaced() {
    let place = growing("max_age_per_child = \"200ms\"\n");
    let worker = place.worker(&[]);
    let mut pids = std::collections::BTreeSet::new();
    while pids.len() < 4 {
        let (code, pid) = ask(&place, "well");
        assert_eq!(code, Some(0), "{pid}");
        pids.insert(pid);
    }
    let (code, said) = worker.stop();
    assert!(code == Some(0) && !said.contains("started again"), "it is no failure: {said}");
}

/// A program that is broken meanwhile takes nobody's place.
#[test]
fn an_old_child_goes_on_where_the_next_cannot_start() {
    let place = growing("max_age_per_child = \"200ms\"\n");
    let mut worker = place.worker(&[]);
    assert_eq!(ask(&place, "well").0, Some(0));
    place.write("grow.py", "raise SystemExit(7)");
    worker.says("it ended before it said hello: exit code 7");
    let old = ask(&place, "well");
    assert_eq!(old.0, Some(0), "{}", old.1);
    worker.says("it ended before it said hello: exit code 7");
    assert_eq!(ask(&place, "well"), old, "the same child");
    place.write("grow.py", GROWING);
    while ask(&place, "well") == old {}
    assert_eq!(worker.stop().0, Some(0));
}

#[test]
fn the_system_keeps_the_limits() {
    let place = growing(
        "open_files_limit = 64\nfile_size_limit = \"1MiB\"\naddress_space_limit = \"4GiB\"\ncpu_limit = \"2s\"\n\
         [tasks.list]\ncommand = [\"sh\", \"-c\", \"ulimit -n\"]\nopen_files_limit = 32\n",
    );
    let worker = place.worker(&[]);
    assert_eq!(ask(&place, "limits").1, "[64, 1048576, 4294967296, 2]\n");
    assert_eq!(place.ask("list", "1"), (Some(0), "32\n".to_owned()));
    let (code, said) = ask(&place, "open");
    assert!(code == Some(1) && said.contains("Too many open files"), "{said}");
    let (code, said) = ask(&place, "write");
    assert!(code == Some(1) && said.contains("crash 1 of 1") && said.contains("File too large"), "{said}");
    let (code, said) = ask(&place, "compute");
    assert!(code == Some(1) && said.contains("crash 1 of 1") && said.contains("signal 9"), "{said}");
    assert_eq!(ask(&place, "well").0, Some(0));
    assert_eq!(worker.stop().0, Some(0));
}

#[test]
fn limits_are_checked_at_the_start() {
    for (more, why) in [
        ("memory_limit = \"0MiB\"", "is no size"),
        ("memory_limit = 5", "is no size"),
        ("cpu_limit = \"500ms\"", "whole seconds"),
        ("open_files_limit = 2", "no whole number from 8"),
        ("max_age_per_child = \"0s\"", "lets nothing run"),
    ] {
        let place = growing(more);
        let (code, _, said) = place.run("worker", &[]);
        assert!(code == Some(2) && said.contains(why), "{more}: {said}");
    }
    let place = Place::with("[tasks.a]\ncommand = [\"true\"]\nmax_age_per_child = \"1h\"\n");
    let (code, _, said) = place.run("worker", &[]);
    assert!(code == Some(2) && said.contains("it needs a process beside it"), "{said}");
    let place = Place::with("[tasks.a]\nprocess = true\n");
    let (code, _, said) = place.run("worker", &[]);
    assert!(code == Some(2) && said.contains("this program has no handler of that name"), "{said}");
}
