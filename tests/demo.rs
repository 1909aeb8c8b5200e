//! `manyhands demo`, as a user runs it: real processes over a real store, killed in all the places.
//!
//! The 250 films are computed here again, and compared with the file field for field.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use manyhands_test_support::{
    kill::{self, Signal, Watch},
    servers::Redis,
};
use tempfile::TempDir;

#[allow(dead_code, reason = "the site's half of the file is not needed here")]
#[path = "../src/demo/films.rs"]
mod films;

fn demo(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manyhands"));
    command.arg("demo").current_dir(folder.path()).env_remove("MANYHANDS_BROKER");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &TempDir, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    demo(folder).args(args).output().unwrap()
}

/// Runs the demo, which must succeed, and checks the films.
fn run_well(folder: &TempDir, args: &[&str]) -> String {
    let output = run(folder, args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{args:?}: {}\n{out}\n{err}", output.status);
    check_films(&folder.path().join("films.jsonl"));
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The file holds exactly the films, one whole line each, and nothing lies beside it.
fn check_films(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'), "the last line is whole");
    let read = |line: &str| serde_json::from_str::<films::Film>(line).unwrap();
    let saved: Vec<_> = text.lines().map(read).map(|film| (film.id, film)).collect();
    assert_eq!(saved.len(), 250);
    let made: BTreeMap<_, _> = films::films().into_iter().map(|film| (film.id, film)).collect();
    assert_eq!(saved.into_iter().collect::<BTreeMap<_, _>>(), made);
    let beside: Vec<_> =
        std::fs::read_dir(path.parent().unwrap()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(!beside.iter().any(|name| name.to_string_lossy().contains("part")), "{beside:?}");
}

/// The pid in a line such as `killed fetcher 123, which was running page-0, page-25`, and the ids.
fn killed(out: &str) -> (u32, Vec<String>) {
    let line = out.lines().find(|line| line.starts_with("killed fetcher")).unwrap();
    let (head, ids) = line.split_once(", which was running ").unwrap();
    (head.rsplit_once(' ').unwrap().1.parse().unwrap(), list(ids))
}

/// The pid in a line such as `process 124 then ran page-0, page-25: 3 to 5 ms after the kill`, and the ids.
fn then_ran(out: &str) -> Vec<(u32, Vec<String>)> {
    let line = |line: &str| {
        let (pid, rest) = line.strip_prefix("process ")?.split_once(" then ran ")?;
        Some((pid.parse().ok()?, list(rest.split_once(": ")?.0)))
    };
    out.lines().filter_map(line).collect()
}

fn list(ids: &str) -> Vec<String> {
    let mut ids: Vec<_> = ids.split(", ").map(str::to_owned).collect();
    ids.sort();
    ids
}

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

/// A director that was started, and the pids that it told of.
struct Running {
    /// Where the director makes its folder: a killed one cannot remove it.
    _temporary: TempDir,
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    pids: Vec<(String, u32)>,
}

impl Running {
    fn start(folder: &TempDir, args: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = demo(folder).args(args).env("TMPDIR", temporary.path()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { _temporary: temporary, child, lines, pids: Vec::new() }
    }

    /// Reads until a process of the role has started.
    fn until_started(&mut self, role: &str) -> u32 {
        loop {
            let line = self.lines.next().expect("the demo says that its processes start").unwrap();
            if let Some((name, pid)) = line.strip_suffix(" started").and_then(|line| line.split_once(' ')) {
                let pid = pid.parse().unwrap();
                self.pids.push((name.to_owned(), pid));
                if name == role {
                    return pid;
                }
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill::send(self.child.id(), signal).unwrap();
    }

    /// Watches the processes, so that their end can be awaited though they are not ours.
    fn watch(&self) -> Vec<Watch> {
        self.pids.iter().map(|(_, pid)| Watch::open(*pid).unwrap()).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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

/// Killed in the middle of the work and started again: sessions are rebuilt, and what was sent is still there.
#[test]
fn it_outlives_a_restart_of_redis() {
    let (mut redis, folder) = (Redis::options().append_only().start().unwrap(), tempfile::tempdir().unwrap());
    let url = redis.url();
    let mut running = Running::start(&folder, &["--broker", &url]);
    running.until_started("producer");
    // The pages were sent, and fetching has begun.
    while !running.lines.next().expect("the demo goes on").unwrap().contains("fetched 1/10") {}
    redis.restart().unwrap();
    let rest: Vec<_> = running.lines.by_ref().map(Result::unwrap).collect();
    assert!(running.child.wait().unwrap().success(), "{rest:?}");
    check_films(&folder.path().join("films.jsonl"));
}

/// The same by one URL, on a server: here a death is noticed by the leases, which are 2 s in the demo.
#[test]
fn it_runs_on_redis_whoever_is_killed() {
    let redis = Redis::options().append_only().start().unwrap();
    let broker = redis.url();
    for kill in ["", "--kill", "--kill=site", "--kill=producer", "--kill=parser", "--kill=saver"] {
        let folder = tempfile::tempdir().unwrap();
        let args = ["--broker", &broker, kill];
        let out = run_well(&folder, if kill.is_empty() { &args[..2] } else { &args });
        if kill == "--kill" {
            let ((pid, held), reruns) = (killed(&out), then_ran(&out));
            assert!(held.len() >= 2 && reruns.iter().all(|(other, _)| *other != pid), "{out}");
        }
    }
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
        (&["--broker", "amqps://user:secret@host"], 2, "no amqps broker yet"),
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
