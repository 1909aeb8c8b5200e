//! `examples/layers.rs`, run as its documentation says.

#![cfg(all(feature = "cli", feature = "local"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::process::{Command, Stdio};

use manyhands_test_support::example;

#[test]
fn both_kinds_run_in_both_processes() {
    let mut command = Command::new(example("layers"));
    let output = command.stdin(Stdio::null()).env_remove("MANYHANDS_BROKER").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let (waits, computations) = printed.trim_end().split_once('\n').expect(&printed);
    let threads = waits.strip_prefix("async: 8 tasks in 2 processes, 4 at a time in each, on ").expect(waits);
    let (one, other) = threads.strip_suffix(" threads").and_then(|each| each.split_once(" and ")).unwrap();
    // As many as there are cores, at most: which of them is chance.
    for threads in [one, other] {
        assert!((1..=4).contains(&threads.parse::<usize>().unwrap()), "{printed}");
    }
    assert_eq!(computations, "blocking: 8 tasks in 2 processes, 4 at a time in each, on 4 and 4 threads");
}
