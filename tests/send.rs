//! `producer send`, run as a process: what it refuses, with which exit code, and how a wait ends.

#![cfg(all(feature = "cli", feature = "local"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod programs;

use std::{
    io::Write,
    process::{Child, Stdio},
};

use manyhands_test_support::kill::{self, Signal};

use self::programs::{PATIENCE, Place, told};

fn send(place: &Place, args: &[&str]) -> (Option<i32>, String, String) {
    place.run("producer", &[&["send"], args].concat())
}

/// Each says what is wrong and, where it is not plain from that, what to do; nothing is sent.
#[test]
fn wrong_usage_is_exit_code_2() {
    let place = Place::new();
    let json = "JSON in quotes of the shell";
    let cases: [(&[&str], &str, &str); 14] = [
        (&["work", "{\"width\": 640"], "the payload is not JSON: EOF while parsing", json),
        (&["work", "{width: 640}"], "the payload is not JSON: key must be a string", json),
        (&["work", ""], "the payload is not JSON", json),
        (&["a b"], "a task name may not contain ' '", ""),
        (&["work", "--queue", "a/b"], "a queue name may not contain '/'", ""),
        (&["work", "--delay", "5"], "\"5\" is no duration: write 150ms, 5s", "--help"),
        (&["work", "--run-limit", "1.5s"], "\"1.5s\" is no duration", "--help"),
        (&["work", "--at", "tomorrow"], "\"tomorrow\" is no time", "--help"),
        (&["work", "--unique-for", "5s"], "--unique <KEY>", "--help"),
        (&["work", "--priorty", "1"], "unexpected argument '--priorty' found", "'--priority'"),
        (&["work", "--priority", "1"], "the order of queue \"default\" is fifo", "leave the priority out"),
        (&["work", "--max-attempts", "0"], "max_attempts", ""),
        (&["work", "--id", ""], "a task id has 1 to 128 bytes", ""),
        (&["work", "--broker", "nonsense"], "it begins with no known scheme", "local:/path"),
    ];
    for (args, why, what) in cases {
        let (code, out, err) = send(&place, args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {err}");
        assert!(err.starts_with("error: ") && err.contains(why), "{args:?}: {err}");
        assert!(what.is_empty() || err.contains("\n  try     ") && err.contains(what), "{args:?}: {err}");
    }
    // No flag, but a payload.
    assert_eq!(send(&place, &["work", "-5", "--broker", "local:numbers"]).0, Some(0));
    let ready = place.look(|broker| async move { broker.queues(None, 9).await.unwrap().len() });
    assert_eq!(ready, 0, "nothing was sent");
}

fn from_stdin(place: &Place, payload: &[u8]) -> (Option<i32>, String, String) {
    let mut command = place.program("producer");
    let mut child = command.args(["send", "work", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(payload);
    told(child.wait_with_output().unwrap())
}

#[test]
fn a_payload_from_standard_input_has_its_limit() {
    let place = Place::new();
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let most = 1024 * 1024;
    for end in ["", "\n", "\r\n"] {
        assert_eq!(from_stdin(&place, (text(most) + end).as_bytes()).0, Some(0), "{end:?}");
    }
    for bytes in [most + 1, most + 2, 3 * most] {
        let (code, out, err) = from_stdin(&place, text(bytes).as_bytes());
        assert!(code == Some(2) && out.is_empty(), "{bytes}: {err}");
        let wanted = "error: the payload from standard input has more than 1048576 bytes\n";
        assert!(err.starts_with(wanted), "{bytes}: {err}");
    }
    assert_eq!(from_stdin(&place, b"\"\xff\"").0, Some(2), "what is no UTF-8");
    assert_eq!(place.status("default").ready, 3);
}

#[test]
fn what_is_refused_and_what_takes_too_long_have_their_exit_codes() {
    let place = Place::new();
    let (code, id, _) = send(&place, &["work", "--unique", "u"]);
    assert_eq!(code, Some(0));
    let (code, _, err) = send(&place, &["work", "--unique", "u"]);
    assert!(code == Some(4) && err.contains(&format!("task {} of queue", id.trim())), "{err}");
    let (code, out, err) = send(&place, &["work", "--id", "mine", "--wait", "1ms"]);
    assert_eq!((code, out.as_str()), (Some(5), ""), "{err}");
    let advice = "\n  try     manyhands tasks why mine --queue default; the task goes on\n";
    assert!(err.starts_with("error: task mine of queue \"default\" is not settled after 1ms\n"), "{err}");
    assert!(err.contains(advice), "{err}");
    assert_eq!(place.run("manyhands", &["queues", "set", "default", "--capacity", "1"]).0, Some(0));
    assert_eq!(send(&place, &["work"]).0, Some(4));
    let (code, _, err) = send(&place, &["work", "--wait-for-room", "1ms"]);
    assert!(code == Some(5) && err.contains("still full after 1ms"), "{err}");
    let (code, _, err) = send(&place, &["work", "--broker", "redis://u:secret@127.0.0.1:1"]);
    assert!(code == Some(3) && !err.contains("secret"), "{err}");
}

/// A wait that is interrupted tells the id, which nobody would know otherwise.
#[test]
fn an_interrupted_wait_says_what_was_sent() {
    for (signal, quiet) in [(Signal::INT, false), (Signal::TERM, false), (Signal::INT, true)] {
        let place = Place::new();
        let mut command = place.program("producer");
        command.args(["send", "work", "--id", "mine", "--wait", "1h"]);
        if quiet {
            command.arg("--quiet");
        }
        let child = command.spawn().unwrap();
        waits(&place, &child);
        kill::send(child.id(), signal).unwrap();
        let said = if quiet { "" } else { "interrupted: task mine is sent, and goes on\n" };
        assert_eq!(told(child.wait_with_output().unwrap()), (Some(130), String::new(), said.to_owned()));
    }
}

/// Waits until a process has sent its task and listens to signals.
fn waits(place: &Place, child: &Child) {
    let status = format!("/proc/{}/status", child.id());
    let patience = std::time::Instant::now() + PATIENCE;
    // SIGINT is the second bit of those that the process catches.
    let catches = |text: String| {
        let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim().to_owned();
        Some(u64::from_str_radix(&mask, 16).ok()? & 0b10 != 0)
    };
    while std::fs::read_to_string(&status).ok().and_then(catches) != Some(true) {
        assert!(std::time::Instant::now() < patience, "it does not wait");
        std::thread::yield_now();
    }
    assert_eq!(place.status("default").ready, 1);
}

#[test]
fn the_answer_goes_to_who_reads_it() {
    let place = Place::new();
    place.write("lines", "1\n");
    for args in [&["send", "work"][..], &["feed", "work", "lines"]] {
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        let output = place.program("producer").args(args).stdout(write).output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "{args:?}: nobody reads");
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = place.program("producer").args(args).stdout(full).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains("cannot be printed: No space left on device"), "{args:?}: {said}");
    }
}
