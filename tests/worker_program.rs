//! A worker program of one's own, as `README.md` shows it: `examples/count.rs`, run as a process.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Output, Stdio},
};

use manyhands_test_support::{
    example,
    kill::{self, Signal},
    servers::RabbitMq,
};
use tempfile::TempDir;

fn command(program: impl AsRef<std::ffi::OsStr>, folder: &TempDir) -> Command {
    let mut command = Command::new(program);
    // Neither the user's broker nor the user's folder.
    command.env_remove("MANYHANDS_BROKER").env("XDG_DATA_HOME", folder.path());
    command.env("XDG_CONFIG_HOME", folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn send(folder: &TempDir, args: &[&str]) -> Output {
    command(env!("CARGO_BIN_EXE_manyhands"), folder).arg("send").args(args).output().unwrap()
}

struct Worker(Child);

impl Worker {
    fn start(folder: &TempDir, args: &[&str]) -> Self {
        Self(command(example("count"), folder).args(args).spawn().unwrap())
    }

    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        kill::send(self.0.id(), signal).unwrap();
        let mut err = String::new();
        std::io::Read::read_to_string(&mut self.0.stderr.take().unwrap(), &mut err).unwrap();
        (self.0.wait().unwrap().code(), err)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_readme_shows_the_example() {
    let readme = include_str!("../README.md");
    let example = include_str!("../examples/count.rs");
    let program = &example[example.find("use std").unwrap()..];
    assert!(readme.contains(program), "README.md must show examples/count.rs from its first `use` on");
}

/// Both are started from different folders and meet in the user's data folder.
#[test]
fn a_task_that_is_sent_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, "many hands make\nlight work\n").unwrap();
    let mut worker = Worker::start(&folder, &[]);
    let payload = serde_json::json!({ "path": file }).to_string();
    let sent = send(&folder, &["count", &payload]);
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    assert_eq!(text(&sent.stdout).trim().len(), 36, "standard output is the id and nothing else");
    let mut lines = BufReader::new(worker.0.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), format!("{}: 5 words", file.display()));
    let (code, err) = worker.end(Signal::TERM);
    assert_eq!(code, Some(0), "{err}");
    let start = format!(
        "count 0.1.0: broker local:{}/manyhands; queues default; handlers count;",
        folder.path().display()
    );
    assert!(err.starts_with(&start), "{err}");
    let store = folder.path().join("manyhands");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(store).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700, "payloads are private");
}

#[test]
fn an_id_of_ones_own_is_run_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, "one two three").unwrap();
    let payload = serde_json::json!({ "path": file }).to_string();
    for _ in 0..2 {
        let sent = send(&folder, &["count", &payload, "--id", "text-1"]);
        assert_eq!((sent.status.code(), text(&sent.stdout)), (Some(0), "text-1\n"));
    }
    let mut worker = Worker::start(&folder, &[]);
    let mut lines = BufReader::new(worker.0.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), format!("{}: 3 words", file.display()));
    // Sent again after it was settled, and another one: only the other one is run.
    send(&folder, &["count", &payload, "--id", "text-1"]);
    let other = folder.path().join("other");
    std::fs::write(&other, "four").unwrap();
    send(&folder, &["count", &serde_json::json!({ "path": other }).to_string()]);
    assert_eq!(lines.next().unwrap().unwrap(), format!("{}: 1 words", other.display()));
}

#[test]
fn a_result_can_be_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, "one two three").unwrap();
    let payload = serde_json::json!({ "path": file }).to_string();
    let late = send(&folder, &["count", &payload, "--id", "late", "--wait", "10ms"]);
    assert_eq!((late.status.code(), text(&late.stdout)), (Some(5), ""), "{}", text(&late.stderr));
    assert!(text(&late.stderr).contains("task late of queue \"default\" is not settled"));
    let _worker = Worker::start(&folder, &[]);
    // The same task again: its id is known, and its result was to be kept.
    for args in [["--id", "late"], ["--id", "another"]] {
        let sent = send(&folder, &[&["count", &payload, "--wait", "20s"], &args[..]].concat());
        assert_eq!((sent.status.code(), text(&sent.stdout)), (Some(0), "3\n"), "{}", text(&sent.stderr));
    }
    let dead = send(&folder, &["count", "{\"path\":\"\"}", "--id", "dead", "--wait", "20s"]);
    assert_eq!((dead.status.code(), text(&dead.stdout)), (Some(1), ""));
    let why = "error: task dead of queue \"default\" is dead: no path given\n";
    assert!(text(&dead.stderr).starts_with(why), "{}", text(&dead.stderr));
}

/// There, nobody keeps it for others.
#[test]
fn over_rabbitmq_a_result_comes_to_who_waits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, "one two three").unwrap();
    let payload = serde_json::json!({ "path": file }).to_string();
    let namespace = format!("waiting-{}", std::process::id());
    let url = format!("{}?namespace={namespace}", RabbitMq::shared_url().unwrap());
    let send = |args: &[&str]| send(&folder, &[&["count", "--broker", &url][..], args].concat());
    let late = send(&[&payload, "--wait", "10ms"]);
    assert_eq!((late.status.code(), text(&late.stdout)), (Some(5), ""), "{}", text(&late.stderr));
    let _worker = Worker::start(&folder, &["--broker", &url]);
    let sent = send(&[&payload, "--wait", "20s"]);
    assert_eq!((sent.status.code(), text(&sent.stdout)), (Some(0), "3\n"), "{}", text(&sent.stderr));
    let dead = send(&["{\"path\":\"\"}", "--wait", "20s"]);
    assert_eq!((dead.status.code(), text(&dead.stdout)), (Some(1), ""));
    assert!(text(&dead.stderr).contains("is dead: no path given"), "{}", text(&dead.stderr));
    let kept = send(&[&payload, "--wait", "20s", "--keep-result", "1h"]);
    assert_eq!((kept.status.code(), text(&kept.stdout)), (Some(4), ""));
    assert!(text(&kept.stderr).contains("only sent to whoever waits"), "{}", text(&kept.stderr));
}

/// Nobody claims them: what was asked for shows in what can be claimed.
#[test]
fn a_task_is_sent_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[&str], i32, &str); 17] = [
        (&["--unique", "k"], 0, ""),
        (&["--unique", "k"], 4, "has the same unique key"),
        (&["--unique", "l", "--unique-for", "1h", "--expires", "1h", "--keep-result", "1h"], 0, ""),
        (&["--delay", "1h30m", "--run-limit", "30s"], 0, ""),
        (&["--run-limit", "30"], 2, "\"30\" is no duration"),
        (&["--run-limit", "0s"], 2, "a run_limit is at least 1 ms"),
        (&["--at", "2099-12-24T18:00:00+01:00"], 2, "is put off by more than ten years"),
        (&["--at", "1999-12-24T18:00:00Z"], 0, ""),
        (&["--delay", "90"], 2, "\"90\" is no duration"),
        (&["--at", "tomorrow"], 2, "\"tomorrow\" is no time"),
        (&["--priority", "-3"], 2, "the order of queue \"default\" is fifo"),
        (&["--key", "example.org"], 2, "queue \"default\" limits no keys"),
        (&["--batch", "b", "--unique", "m", "--unique-for", "batch"], 0, ""),
        (&["--batch", "b", "--unique", "m"], 4, "has the same unique key"),
        (&["--unique", "n", "--unique-for", "batch"], 2, "is in none"),
        (&["--batch", "a b"], 2, "a batch name may not contain ' '"),
        (&["--unique", "n", "--unique-for", "ever"], 2, "or batch"),
    ];
    for (args, code, why) in cases {
        let output = send(&folder, &[&["count", "1"], args].concat());
        let err = text(&output.stderr);
        assert_eq!((output.status.code(), err.contains(why)), (Some(code), true), "{args:?}: {err}");
    }
    let url = format!("local:{}", folder.path().join("manyhands").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = runtime.block_on(async {
        let broker = manyhands::connect(&url.parse().unwrap()).await.unwrap();
        broker.status(&manyhands::QueueName::new("default").unwrap()).await.unwrap().unwrap()
    });
    assert_eq!((status.ready, status.scheduled), (4, 1));
}

#[test]
fn a_payload_can_come_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let mut send = command(env!("CARGO_BIN_EXE_manyhands"), &folder);
    let mut child = send.args(["send", "count", "-", "--id", "a"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"path\": \"x\"}\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "a\n"), "{}", text(&output.stderr));
}

#[test]
fn what_is_wrong_is_said_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[&str], i32, &str); 7] = [
        (
            &["count", "{path}"],
            2,
            "error: the payload is not JSON: key must be a string at line 1 column 2\n",
        ),
        (&["a b"], 2, "a task name may not contain ' '"),
        (&["count", "1", "--queue", "../x"], 2, "may not begin with a dot"),
        (&["count", "1", "--id", "a b"], 2, "a task id may not contain ' '"),
        (&["count", "1", "--max-attempts", "0"], 2, "at least 1"),
        (&["count", "1", "--broker", "kafka://u:secret@h"], 2, "no known scheme"),
        (&["count", "1", "--broker", "local:/proc/nothing"], 3, "error: cannot use /proc/nothing"),
    ];
    for (args, code, why) in cases {
        let output = send(&folder, args);
        let err = text(&output.stderr);
        assert_eq!((output.status.code(), err.contains(why)), (Some(code), true), "{args:?}: {err}");
        assert!(!err.contains("secret"), "{err}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
    }
}

#[test]
fn a_worker_says_what_is_wrong_with_its_flags() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[&str], i32, &str); 5] = [
        (&["--queues", "a:x"], 2, "\"x\" is no weight"),
        (&["--queues", "a:0"], 2, "--queues a:0: \"0\" is no weight"),
        (&["--concurrency", "0"], 2, "1 to 10000 async tasks"),
        (&["--nonsense"], 2, "unexpected argument '--nonsense'"),
        (&["--broker", "nonsense"], 2, "no known scheme"),
    ];
    for (args, code, why) in cases {
        let output = command(example("count"), &folder).args(args).output().unwrap();
        let err = text(&output.stderr);
        assert_eq!((output.status.code(), err.contains(why)), (Some(code), true), "{args:?}: {err}");
    }
}

/// A worker of one's own also runs the programs that the configuration file names.
#[test]
fn the_configuration_is_for_ones_own_worker_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("manyhands.toml");
    std::fs::write(&file, "[tasks.echo]\ncommand = [\"cat\"]\nprocesses = 3\n").unwrap();
    let config = file.to_str().unwrap();
    let worker = Worker::start(&folder, &["--config", config]);
    let sent = send(&folder, &["echo", "[1, 2]", "--wait", "20s"]);
    assert_eq!((sent.status.code(), text(&sent.stdout)), (Some(0), "[1, 2]\n"), "{}", text(&sent.stderr));
    let (code, err) = worker.end(Signal::TERM);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("handlers count,echo; slots ") && err.contains(", 3 processes\n"), "{err}");
    std::fs::write(&file, "[tasks.count]\ncommand = [\"cat\"]\n").unwrap();
    let output = command(example("count"), &folder).args(["--config", config]).output().unwrap();
    let err = text(&output.stderr);
    let why = "two handlers are registered for tasks named \"count\"";
    assert_eq!((output.status.code(), err.contains(why)), (Some(2), true), "{err}");
}

/// A worker whose queue is closed and empty ends by itself if it was told to.
#[test]
fn a_worker_ends_with_its_queues() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("local:{}", folder.path().join("manyhands").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = manyhands::Client::connect(&url.parse().unwrap()).await.unwrap();
        client.close(&manyhands::QueueName::new("default").unwrap()).await.unwrap();
    });
    let output = command(example("count"), &folder).args(["--until-ended", "--quiet"]).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}
