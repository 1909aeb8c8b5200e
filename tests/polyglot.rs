//! `examples/polyglot`, run as its documentation says, with the real interpreters; and its handlers one by one.

#![cfg(all(feature = "cli", feature = "local"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

#[path = "programs/mod.rs"]
mod programs;

use std::process::{Command, Stdio};

use manyhands_test_support::example;

use self::programs::{Place, repository, told};

fn polyglot() -> Command {
    let mut command = Command::new(example("polyglot"));
    command.stdin(Stdio::null()).env_remove("MANYHANDS_BROKER");
    command
}

#[test]
fn three_hundred_results_are_right() {
    let (code, out, err) = told(polyglot().output().unwrap());
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out, "words.py 100, slug.js 100, square.sh 100: 300 results, all as they should be\n");
}

#[test]
fn an_interpreter_that_is_missing_is_named() {
    let empty = Place::new();
    // Only what the example itself calls.
    for program in ["kill", "sh"] {
        std::os::unix::fs::symlink(format!("/bin/{program}"), empty.path(program)).unwrap();
    }
    let (code, _, err) = told(polyglot().env("PATH", empty.path("")).output().unwrap());
    assert!(code == Some(1) && err.contains("there is no program \"node\" on PATH"), "{err}");
}

#[test]
fn each_handler_buries_what_it_can_never_do() {
    let place = Place::new();
    let config = repository("examples/polyglot/manyhands.toml");
    let worker = place.worker(&["--config", config.to_str().unwrap()]);
    for (task, good, result, bad, why) in [
        ("words", r#"{"text": "b a B"}"#, "[\"a\", \"b\"]", "{}", "missing 'text'"),
        ("slug", r#"{"title": " A b! "}"#, "\"a-b-\"", "{}", "TypeError"),
        ("square", "12", "144", "\"x\"", "the payload is no number"),
    ] {
        assert_eq!(place.ask(task, good), (Some(0), format!("{result}\n")), "{task}");
        let (code, said) = place.ask(task, bad);
        assert!(code == Some(1) && said.contains("is dead: ") && said.contains(why), "{task}: {said}");
    }
    assert_eq!(worker.stop().0, Some(0));
}

/// What the documentation shows is what runs, and each is as short as it says.
#[test]
fn the_documentation_shows_these_handlers() {
    let page = std::fs::read_to_string(repository("docs/handler-protocol.md")).unwrap();
    for handler in ["words.py", "slug.js", "square.sh"] {
        let text = std::fs::read_to_string(repository(&format!("examples/polyglot/{handler}"))).unwrap();
        assert!(
            handler == "words.py" || page.contains(&text),
            "docs/handler-protocol.md must show {handler}"
        );
        assert!(text.lines().count() <= 12, "{handler} is to be about ten lines");
    }
}
