//! `manyhands doctor`, run as a process over servers that are set up well and badly: what it prints, and its exit codes.

#![cfg(all(feature = "cli", feature = "local", feature = "rabbitmq", feature = "redis"))]
#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod rabbitmq;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use manyhands_test_support::servers::Redis;
use serde_json::Value;

/// Its exit code, what it printed, and what it said.
fn doctor(broker: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manyhands"));
    command.args(["doctor", "--broker", broker]).args(args);
    let output = command.env_remove("MANYHANDS_BROKER").stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The verdict, what was found and the advice of each check.
type Checks = BTreeMap<String, (String, String, String)>;

fn examined(broker: &str) -> (Option<i32>, Checks) {
    let (code, out, said) = doctor(broker, &["--json"]);
    assert_eq!(said, "", "{out}");
    let checks = out.lines().map(|line| {
        let check: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| check[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(check.as_object().unwrap().len(), 4, "{line}");
        (field("check"), (field("verdict"), field("found"), field("advice")))
    });
    (code, checks.collect())
}

/// Says something to a server, and returns the first of its answer.
fn say(server: &Redis, words: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    stream.write_all(format!("{words}\r\nQUIT\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn used(server: &Redis) -> u64 {
    let memory = say(server, "INFO memory");
    memory.lines().find_map(|line| line.strip_prefix("used_memory:")?.parse().ok()).unwrap()
}

#[test]
fn a_server_that_is_set_up_badly_is_named_fault_by_fault() {
    let server = Redis::start().unwrap();
    say(&server, "CONFIG SET maxmemory-policy allkeys-lru");
    say(&server, &format!("CONFIG SET maxmemory {}", used(&server) * 100 / 97));
    let (code, checks) = examined(&server.url());
    assert_eq!(code, Some(1), "{checks:#?}");
    for (check, found, advice) in [
        ("eviction", "allkeys-lru", "noeviction"),
        ("persistence", "neither appendonly nor snapshots", "appendonly yes"),
        ("memory", "nearly all", "maxmemory"),
    ] {
        let (verdict, said, todo) = &checks[check];
        assert_eq!(verdict, "bad", "{checks:#?}");
        assert!(said.contains(found) && todo.contains(advice), "{check}: {said}, {todo}");
    }
    assert_eq!(checks["version"].0, "ok");
    let (code, out, said) = doctor(&server.url(), &[]);
    assert_eq!((code, said.as_str()), (Some(1), ""), "{out}");
    assert!(out.contains("bad   eviction     allkeys-lru: tasks are thrown away"), "{out}");
    assert!(out.contains("\n      try          redis-cli config set maxmemory-policy noeviction"), "{out}");
    let last = out.lines().last().unwrap();
    assert!(last.contains(" bad, ") && last.ends_with(" to look at"), "{last}");
}

#[test]
fn a_server_that_is_set_up_well_is_ok_and_nothing_is_left_on_it() {
    let options = Redis::options().append_only().with("appendfsync", "always").with("maxmemory", "256mb");
    let server = options.start().unwrap();
    let (code, mut checks) = examined(&server.url());
    assert_eq!(code, Some(0), "{checks:#?}");
    // How fast this machine is, is not what this is about; but all calls were made.
    let (_, calls, _) = checks.remove("calls").unwrap();
    assert!(calls.starts_with("ping ") && calls.contains(", settle "), "{calls}");
    let names: Vec<_> = checks.keys().map(String::as_str).collect();
    assert_eq!(names, ["clients", "clock", "eviction", "memory", "persistence", "replication", "version"]);
    assert!(checks.values().all(|(verdict, _, advice)| verdict == "ok" && advice.is_empty()), "{checks:#?}");
    assert_eq!(say(&server, "KEYS *doctor*"), "*0\r\n+OK\r\n");
}

/// What another command says of the server that it uses.
fn warned(broker: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manyhands"));
    let output = command.args(["queues", "list", "--broker", broker]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    said.lines().filter(|line| line.contains("WARN")).collect::<Vec<_>>().join("\n")
}

#[test]
fn whoever_connects_to_a_server_that_keeps_nothing_is_warned_once() {
    let server = Redis::start().unwrap();
    let said = warned(&server.url());
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("redis may lose what it is given: neither appendonly nor snapshots"), "{said}");
    assert!(said.contains("redis-cli config set appendonly yes"), "{said}");
    say(&server, "ACL SETUSER queues on >secret ~mh:* resetchannels &mh:* +@all -@dangerous +info");
    let said = warned(&format!("redis://queues:secret@127.0.0.1:{}", server.port()));
    assert!(said.lines().count() == 1 && said.contains("this user may not ask for snapshots"), "{said}");
    for kept in [Redis::options().append_only(), Redis::options().with("save", "3600 1")] {
        let said = warned(&kept.start().unwrap().url());
        assert_eq!(said, "", "it keeps what it is given, or some of it");
    }
}

/// Managed servers often forbid CONFIG.
#[test]
fn what_may_not_be_asked_is_said_and_the_rest_is_told() {
    let server = Redis::options().append_only().with("maxclients", "100").start().unwrap();
    say(&server, "ACL SETUSER queues on >secret ~mh:* resetchannels &mh:* +@all -@dangerous +info");
    let (code, checks) = examined(&format!("redis://queues:secret@127.0.0.1:{}", server.port()));
    assert_eq!(code, Some(0), "{checks:#?}");
    let (verdict, found, _) = &checks["persistence"];
    assert_eq!((verdict.as_str(), found.contains("may not ask for appendfsync")), ("warn", true), "{found}");
    assert!(checks["calls"].1.starts_with("ping "), "{checks:#?}");
}

#[test]
fn a_clock_that_is_wrong_is_bad() {
    let server = Redis::options().clock().start().unwrap();
    // The middle of the year that the server believes in is not now, or else its end is not.
    server.set_clock(Duration::from_secs(86_400 * 180)).unwrap();
    let (code, checks) = examined(&server.url());
    assert_eq!((code, checks["clock"].0.as_str()), (Some(1), "bad"), "{checks:#?}");
    assert!(checks["clock"].1.contains("the server's clock is "), "{checks:#?}");
}

#[test]
fn a_directory_is_examined_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("local:{}", folder.path().join("store").display());
    let (code, out, said) = doctor(&url, &[]);
    assert_eq!((code, out.as_str()), (Some(3), ""), "{said}");
    assert!(!folder.path().join("store").exists());
    let mut send = Command::new(env!("CARGO_BIN_EXE_manyhands"));
    assert!(send.args(["send", "work", "--broker", &url]).stdout(Stdio::null()).status().unwrap().success());
    let (code, checks) = examined(&url);
    let names: Vec<_> = checks.keys().map(String::as_str).collect();
    assert_eq!(names, ["clock", "disk", "durability", "file system"], "{checks:#?}");
    // Where this test runs, folders for tests may be in memory, or the disk full.
    let bad = checks.values().any(|(verdict, ..)| verdict == "bad");
    assert_eq!(code, Some(i32::from(bad)), "{checks:#?}");
    assert!(checks["durability"].1.starts_with("power:"), "{checks:#?}");
}

#[test]
fn a_broker_that_cannot_be_examined_is_refused() {
    assert_eq!(doctor("memory:", &[]).0, Some(2));
    let (code, _, said) = doctor("redis://user:secret@127.0.0.1:1", &[]);
    assert_eq!((code, said.contains("secret")), (Some(3), false), "{said}");
}
