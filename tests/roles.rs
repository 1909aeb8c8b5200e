//! The roles of the demo without a director: started one by one, as on many hosts, stopped, and started again.

#![cfg(all(feature = "demo", feature = "local"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::{
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

#[cfg(feature = "redis")]
use manyhands_test_support::{relay::Relay, servers::Redis};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

#[allow(dead_code, reason = "the site's half of the file is not needed here")]
#[path = "../src/demo/films.rs"]
mod films;

/// How long may pass until what must come has come. Only a broken machine takes that long.
#[cfg(feature = "redis")]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// A folder with a store in it, where roles work.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn broker(&self) -> String {
        format!("local:{}", self.0.path().join("store").display())
    }

    fn films(&self) -> std::path::PathBuf {
        self.0.path().join("films.jsonl")
    }

    /// A role with its standard input closed, as in a container.
    fn role(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manyhands"));
        command.arg("demo").args(args).current_dir(self.0.path()).env("MANYHANDS_BROKER", self.broker());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, args: &[&str]) -> Role {
        let mut child = self.role(args).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Role { child, lines }
    }
}

/// A process that runs, and is gone with the test.
struct Role {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Role {
    /// Reads until a line that begins so, and returns what follows.
    fn until(&mut self, start: &str) -> String {
        loop {
            let line =
                self.lines.next().unwrap_or_else(|| panic!("it ended before it said {start}")).unwrap();
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }

    /// Waits for its end, which must be a good one, and returns what else it said.
    fn end(self) -> Vec<String> {
        self.end_with(0)
    }

    /// Waits for its end with this exit code and no error, and returns what else it said.
    fn end_with(mut self, code: i32) -> Vec<String> {
        let rest = self.lines.by_ref().map(Result::unwrap).collect();
        let status = self.child.wait().unwrap();
        let errors = std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap();
        assert_eq!((status.code(), errors.as_str()), (Some(code), ""), "{rest:?}");
        rest
    }

    /// Tells it to end, as `docker stop` does.
    fn stop(&self) {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn check_films(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut saved: Vec<films::Film> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut made = films::films();
    saved.sort_by_key(|film| film.id);
    made.sort_by_key(|film| film.id);
    assert_eq!(saved, made);
}

fn fetched(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.starts_with("fetched page-")).count()
}

#[test]
fn they_do_the_work_and_a_second_time_find_it_done() {
    let place = Place::new();
    let mut site = place.start(&["site"]);
    let url = site.until("listens on ");
    // In an order that nobody would choose: each waits for what it needs.
    let saver = place.start(&["saver"]);
    let parser = place.start(&["parser"]);
    let fetchers = [place.start(&["fetcher"]), place.start(&["fetcher", "--slots", "2"])];
    let producer = place.start(&["producer", "--site", &url]);
    assert_eq!(producer.end().iter().filter(|line| line.starts_with("sent page-")).count(), 10);
    assert_eq!(fetchers.map(|fetcher| fetched(&fetcher.end())).iter().sum::<usize>(), 10);
    assert_eq!(parser.end().iter().filter(|line| line.starts_with("parsed page-")).count(), 10);
    let said = saver.end();
    assert_eq!(said.last().unwrap(), "250 films in films.jsonl, equal to what the site made");
    check_films(&place.films());

    let again: [&[&str]; 4] = [&["saver"], &["producer", "--site", &url], &["fetcher"], &["parser"]];
    for role in again.map(|args| place.start(args)) {
        role.end();
    }
    check_films(&place.films());
    let mut left: Vec<_> =
        std::fs::read_dir(place.0.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["films.jsonl", "store"], "no unfinished file");
    site.stop();
    site.end();
}

#[test]
fn what_a_stopped_one_left_the_next_one_does() {
    let place = Place::new();
    let mut site = place.start(&["site"]);
    let url = site.until("listens on ");
    place.start(&["producer", "--site", &url]).end();
    // In the middle of the work it finishes what it has begun, and takes no more.
    let mut fetcher = place.start(&["fetcher", "--slots", "2"]);
    // Whichever page is first: `until` drops what comes before, and all of them are counted.
    fetcher.until("fetched page-");
    fetcher.stop();
    let rest = fetcher.end();
    assert!(rest.last().unwrap().ends_with("start it again, and it goes on"), "{rest:?}");
    let before = 1 + fetched(&rest);
    assert!(before < 10, "{rest:?}");
    // While it waits for work, with a file that is not finished.
    let mut saver = place.start(&["saver"]);
    saver.until("saver started");
    saver.stop();
    // Its exit code says whether all films are there.
    let said = saver.end_with(130);
    assert!(said.last().unwrap().ends_with("start it again, and it goes on"), "{said:?}");
    let others = [["parser"], ["saver"]].map(|args| place.start(&args));
    assert_eq!(before + fetched(&place.start(&["fetcher"]).end()), 10);
    for role in others {
        role.end();
    }
    check_films(&place.films());
}

#[test]
fn those_that_are_to_stay_end_when_they_are_told_to() {
    let place = Place::new();
    let mut site = place.start(&["site"]);
    let url = site.until("listens on ");
    let roles: [&[&str]; 3] =
        [&["producer", "--stay", "--site", &url], &["fetcher", "--stay"], &["parser", "--stay"]];
    let roles = roles.map(|args| place.start(args));
    place.start(&["saver"]).end();
    check_films(&place.films());
    for mut role in roles {
        role.until("all is ");
        assert!(role.child.try_wait().unwrap().is_none());
        role.stop();
        assert_eq!(role.end(), Vec::<String>::new());
    }
    site.stop();
    site.end();
}

#[test]
fn the_site_is_healthy_while_it_serves() {
    let place = Place::new();
    // Pages take longer than any check may.
    let mut site = place.start(&["site", "--delay", "1h"]);
    let url = site.until("listens on ");
    place.start(&["site", "--check", &url]).end();
    site.stop();
    site.end();
    let Output { status, stderr, .. } = place.role(&["site", "--check", &url]).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(said.starts_with(&format!("site: no answer from {url}/health: ")), "{said}");
}

/// Long after the pages were sent, their ids are forgotten, and the queue refuses them.
#[test]
fn a_producer_that_comes_late_has_nothing_to_send() {
    let place = Place::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let broker = manyhands::connect(&place.broker().parse().unwrap()).await.unwrap();
        broker.close(&manyhands::QueueName::new("fetch").unwrap()).await.unwrap();
    });
    let said = place.start(&["producer", "--site", "http://nowhere"]).end();
    assert_eq!(said.last().unwrap(), "all pages were sent before");
}

/// As of a container that is started at the same time as its broker's.
#[cfg(feature = "redis")]
#[test]
fn a_broker_that_is_not_there_yet_is_waited_for() {
    let mut redis = Redis::options().append_only().start().unwrap();
    redis.kill().unwrap();
    let relay = Relay::start(redis.port()).unwrap();
    let place = Place::new();
    let broker = relay.url(&redis.url());
    let mut parser = place.start(&["parser", "--broker", &broker, "--wait-for-broker", "1m"]);
    relay.wait(PATIENCE, |stats| stats.accepted >= 2).unwrap();
    redis.restart().unwrap();
    parser.until("parser started");
    parser.stop();
    parser.end();
}

#[test]
fn what_cannot_work_is_said() {
    let place = Place::new();
    let cases: [(&[&str], &str); 5] = [
        (&["fetcher", "--broker", "memory:"], "fetcher: memory: is for one process"),
        (&["saver", "--out", "missing/films.jsonl"], "saver: --out missing/films.jsonl: cannot write there"),
        (&["saver", "--out", "/"], "saver: --out /: this is no file's name"),
        (&["site", "--listen", "192.0.2.1:1"], "site: cannot listen on 192.0.2.1:1: "),
        (&["parser", "--broker", "redis://127.0.0.1:1"], "parser: "),
    ];
    for (args, why) in cases {
        let Output { status, stderr, .. } = place.role(args).output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!((status.code(), said.starts_with(why)), (Some(1), true), "{args:?}: {said}");
    }
}
