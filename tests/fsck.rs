//! `manyhands fsck`, run as a process: what it prints, and its exit codes.

#![cfg(all(feature = "cli", feature = "local", feature = "rabbitmq", feature = "redis"))]
#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::process::{Command, Stdio};

use manyhands_test_support::servers::{RabbitMq, Redis};
use rusqlite::Connection;
use tempfile::TempDir;

/// Runs the command: its exit code, what it printed, and what it said.
fn manyhands(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manyhands"));
    command.args(args).env_remove("MANYHANDS_BROKER").stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn fsck(broker: &str, args: &[&str]) -> (Option<i32>, String, String) {
    manyhands(&[&["fsck", "--broker", broker], args].concat())
}

fn send(broker: &str, ids: &[&str]) {
    for id in ids {
        let sent = manyhands(&["send", "--broker", broker, "--id", id, "work"]);
        assert_eq!(sent, (Some(0), format!("{id}\n"), String::new()));
    }
}

struct Store(TempDir);

impl Store {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn url(&self) -> String {
        format!("local:{}", self.0.path().display())
    }

    fn sql(&self, sql: &str) {
        Connection::open(self.0.path().join("mh/tasks.db")).unwrap().execute_batch(sql).unwrap();
    }
}

const DAMAGE: &str = "UPDATE queues SET ready = 5; UPDATE tasks SET state = 1 WHERE id = 'b'";

#[test]
fn it_tells_what_is_wrong_and_mends_it() {
    let store = Store::new();
    let url = store.url();
    send(&url, &["a", "b"]);
    assert_eq!(fsck(&url, &[]), (Some(0), "2 tasks in 1 queues: all is well\n".to_owned(), String::new()));
    store.sql(DAMAGE);
    let wanted = "queue \"default\": task b: it is scheduled for no time; --repair: it becomes ready, uncharged\n\
        queue \"default\": the counter ready is 5, but there are 1; --repair: it is counted again\n\
        queue \"default\": the counter scheduled is 0, but there are 1; --repair: it is counted again\n\
        2 tasks in 1 queues: 3 findings, 3 not repaired\n";
    assert_eq!(fsck(&url, &[]), (Some(1), wanted.to_owned(), String::new()));
    let repaired = wanted.replace("--repair:", "repaired:").replace("3 not repaired", "all repaired");
    assert_eq!(fsck(&url, &["--repair"]), (Some(1), repaired, String::new()));
    assert_eq!(fsck(&url, &["--repair"]).0, Some(0), "nothing is left");
}

#[test]
fn it_tells_in_json() {
    let store = Store::new();
    let url = store.url();
    send(&url, &["a", "b"]);
    store.sql("UPDATE tasks SET payload = '{' WHERE id = 'b'");
    let (code, out, err) = fsck(&url, &["--json", "--repair"]);
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let wanted = [
        serde_json::json!({
            "queue": "default",
            "id": "b",
            "wrong": "its payload is not JSON: the handler will not get it",
            "repair": null,
            "repaired": false,
        }),
        serde_json::json!({ "queues": 1, "tasks": 2, "findings": 1, "unrepaired": 1, "not_listed": 0 }),
    ];
    assert_eq!((code, lines.as_slice(), err.as_str()), (Some(1), wanted.as_slice(), ""));
}

#[test]
fn it_looks_at_redis() {
    let server = Redis::options().append_only().start().unwrap();
    send(&server.url(), &["a"]);
    let wanted = (Some(0), "1 tasks in 1 queues: all is well\n".to_owned(), String::new());
    assert_eq!(fsck(&server.url(), &[]), wanted);
    assert_eq!(fsck(&server.url(), &["--repair"]), wanted);
}

#[test]
fn what_cannot_be_is_said_with_its_exit_code() {
    let store = Store::new();
    let damaged = store.0.path().join("mh");
    std::fs::create_dir_all(&damaged).unwrap();
    std::fs::write(damaged.join("tasks.db"), vec![7; 8192]).unwrap();
    let rabbitmq = RabbitMq::shared_url().unwrap();
    let cases = [
        (store.url(), 3, "is damaged: its last page"),
        (
            "local:/proc/nothing".to_owned(),
            3,
            "error: there is no store of namespace \"mh\" in /proc/nothing",
        ),
        ("redis://127.0.0.1:1".to_owned(), 3, "error: redis cannot be reached"),
        (rabbitmq, 4, "error: rabbitmq cannot do that: only the server itself sees its tasks"),
        ("nonsense".to_owned(), 2, "no known scheme"),
    ];
    for (url, code, why) in cases {
        let (found, out, err) = fsck(&url, &[]);
        assert_eq!((found, out.as_str(), err.contains(why)), (Some(code), "", true), "{url}: {err}");
    }
    assert_eq!(fsck(&store.url(), &["--nonsense"]).0, Some(2));
}
