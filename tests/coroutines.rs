//! `examples/coroutines.rs`, run as its documentation says.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::process::{Command, Stdio};

use manyhands_test_support::example;

/// That they overlap is what the example itself cannot end without; how long they took is not looked at.
#[test]
fn ten_thousand_tasks_wait_at_a_time() {
    let output = Command::new(example("coroutines")).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
    let printed = String::from_utf8(output.stdout).unwrap();
    let (three, many) = printed.trim_end().split_once('\n').expect(&printed);
    let units = three.strip_prefix("waits of 2, 3 and 5 units, all of them begun before one ended: ");
    let units: f64 = units.and_then(|units| units.strip_suffix(" units in all")).unwrap().parse().unwrap();
    assert!(units >= 5.0, "a wait is no shorter than asked: {printed}");
    let memory = many.strip_prefix("10000 tasks waited at a time in one process, which had ").expect(many);
    let memory = memory.strip_suffix(" MiB; all of them ended").expect(many);
    assert!((1..=256).contains(&memory.parse::<u64>().unwrap()), "{printed}");
}
