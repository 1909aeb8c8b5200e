//! `manyhands demo`, as a user runs it: real processes over a real store, killed in all the places.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod demo_process;

use std::time::Duration;

use demo_process::{Running, killed, run, run_well, text, then_ran};
use manyhands_test_support::kill::{Signal, Watch};

#[test]
fn all_films_are_saved() {
    let folder = tempfile::tempdir().unwrap();
    let out = run_well(&folder, &[]);
    for role in ["site", "producer", "fetcher", "parser", "saver"] {
        assert!(out.contains(role), "the table names the {role}: {out}");
    }
    assert!(out.contains("Звёзды над Енисеем"), "the best film is shown: {out}");
    assert!(out.contains("250 films in films.jsonl"), "{out}");
}

/// Twenty times, at points of its work that differ each time.
#[test]
fn what_a_killed_fetcher_held_is_run_by_another() {
    for round in 0_u64..20 {
        let folder = tempfile::tempdir().unwrap();
        // Spread over the first 120 of the 300 ms that a page takes: 37 is prime to 120.
        let delay = (round * 37 + u64::from(std::process::id())) % 120;
        let out = run_well(&folder, &["--kill", "--kill-delay", &delay.to_string()]);
        let (pid, held) = killed(&out);
        assert!(held.len() >= 2, "round {round}: {out}");
        let reruns = then_ran(&out);
        assert!(reruns.iter().all(|(other, _)| *other != pid), "round {round}: {out}");
        let mut again: Vec<_> = reruns.into_iter().flat_map(|(_, ids)| ids).collect();
        again.sort();
        assert!(held.iter().all(|id| again.contains(id)), "round {round}: {out}");
        assert_eq!(
            out.lines().filter(|line| line.contains("fetcher") && line.contains("SIGKILL")).count(),
            1
        );
        assert_eq!(
            out.lines().filter(|line| line.starts_with("│ fetcher")).count(),
            2,
            "no replacement: {out}"
        );
    }
}

#[test]
fn a_killed_parser_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = run_well(&folder, &["--kill=parser"]);
    assert_eq!(out.lines().filter(|line| line.starts_with("│ parser")).count(), 2, "{out}");
}

#[test]
fn a_killed_saver_writes_nothing_twice() {
    for delay in ["0", "1", "3"] {
        let folder = tempfile::tempdir().unwrap();
        let out = run_well(&folder, &["--kill=saver", "--kill-delay", delay]);
        assert_eq!(out.lines().filter(|line| line.starts_with("│ saver")).count(), 2, "{out}");
    }
}

/// It is killed after four of the ten pages; the one after it sends all ten again.
#[test]
fn a_killed_producer_sends_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let out = run_well(&folder, &["--kill=producer"]);
    let sent: Vec<_> = out.lines().filter(|line| line.starts_with("│ producer")).collect();
    assert_eq!(sent.len(), 2, "{out}");
    let tasks = |line: &str| line.split_whitespace().nth(3).unwrap().parse::<u32>().unwrap();
    assert_eq!((tasks(sent[0]), tasks(sent[1])), (4, 10), "{out}");
    // Each page was fetched once: the fetchers' tasks add up to ten.
    let fetched: u32 = out.lines().filter(|line| line.starts_with("│ fetcher")).map(tasks).sum();
    assert_eq!(fetched, 10, "{out}");
}

/// Waits until all of them ended.
fn all_end(processes: &[Watch]) {
    for process in processes {
        process.end(Duration::from_secs(20)).unwrap();
    }
}

/// The pages that the dead site owed are fetched again from the one after it: handlers that fail are retried.
#[test]
fn what_a_killed_site_owed_is_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = run_well(&folder, &["--kill=site"]);
    assert_eq!(out.lines().filter(|line| line.starts_with("│ site")).count(), 2, "{out}");
    let retries = |line: &str| line.split_whitespace().nth(4).unwrap().parse::<u32>().unwrap();
    let retried: u32 = out.lines().filter(|line| line.starts_with("│ fetcher")).map(retries).sum();
    assert!(retried >= 2, "{out}");
}

#[test]
fn processes_end_with_a_killed_director() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(&folder, &[]);
    running.until_started("producer");
    let processes = running.watch();
    assert_eq!(processes.len(), 6);
    running.signal(Signal::KILL);
    all_end(&processes);
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(&folder, &[]);
    running.until_started("producer");
    let processes = running.watch();
    running.signal(Signal::INT);
    all_end(&processes);
    assert_eq!(running.child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn it_runs_again_on_the_same_broker() {
    let folder = tempfile::tempdir().unwrap();
    let store = tempfile::tempdir().unwrap();
    let broker = format!("local:{}", store.path().display());
    for _ in 0..2 {
        let out = run_well(&folder, &["--broker", &broker]);
        assert!(out.contains(&format!("left in {broker}?namespace=demo-")), "{out}");
    }
    assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 2, "a namespace a run");
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let below = format!("local:{}", file.join("below").display());
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--out", "missing/films.jsonl"], 1, "missing/films.jsonl: cannot write there"),
        (&["--out", "/"], 1, "no file's name"),
        (&["--broker", "memory:"], 1, "memory: is for one process"),
        (&["--broker", "kafka://user:secret@host"], 2, "no known scheme"),
        (&["--broker", &below], 1, "Not a directory"),
        (&["--kill=me"], 2, "invalid value 'me'"),
    ];
    for (args, code, why) in cases {
        let output = run(&folder, args);
        let err = text(&output.stderr);
        assert_eq!((output.status.code(), err.contains(why)), (Some(code), true), "{args:?}: {err}");
        assert!(!err.contains("secret"), "{err}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(left, ["file"], "nothing was started or left");
}
