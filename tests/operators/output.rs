//! Where the answers go: narrow terminals, pipes that close, files that are full, colour, completions.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader},
    process::Stdio,
};

use super::support::*;

fn some_tasks(place: &Place, number: usize) {
    place.with(async |broker| {
        let many: Vec<_> = (0..number).map(|number| task("default", &format!("task-{number:06}"))).collect();
        enqueue(&*broker, &many).await;
    });
}

#[test]
fn a_narrow_terminal_gets_blocks_instead_of_rows() {
    let place = local();
    some_tasks(&place, 1);
    let narrow = |args: &[&str]| ended(place.command(args).env("COLUMNS", "40"));
    let wanted = "queue      default\nready      1\nscheduled  0\nheld       0\nleased     0\ndead       0\n\
        capacity   1000000\norder      fifo\n";
    assert_eq!(narrow(&["queues", "list"]), (Some(0), wanted.to_owned(), String::new()));
    let long = "x".repeat(100);
    let payload = format!("\"{long}\"");
    place.answer(&["send", "work", &payload, "--id", "long"]);
    let (_, out, _) = narrow(&["tasks", "show", "long"]);
    assert!(out.lines().all(|line| line.len() <= 40), "{out}");
    let joined: String =
        out.lines().skip_while(|line| !line.starts_with("payload")).map(|line| &line[10..]).collect();
    assert_eq!(joined, payload, "nothing is cut off");
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let place = local();
    some_tasks(&place, 5000);
    for json in [false, true] {
        let mut command = place.command(&["tasks", "list", "--limit", "5000"]);
        if json {
            command.arg("--json");
        }
        let mut lister = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(lister.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        drop(out);
        let output = lister.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_an_error() {
    let place = local();
    some_tasks(&place, 1);
    for args in [&["queues", "list"][..], &["tasks", "list", "--json"], &["completions", "bash"], &["man"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = place.command(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.starts_with("error: the answer cannot be printed: No space left on device"), "{said}");
    }
}

#[test]
fn colour_is_for_terminals_unless_it_is_asked_for() {
    let place = local();
    some_tasks(&place, 1);
    let coloured = |args: &[&str], no_color: bool| {
        let mut command = place.command(&[&["queues", "list"], args].concat());
        if no_color {
            command.env("NO_COLOR", "1");
        }
        ended(&mut command).1.contains('\u{1b}')
    };
    assert!(!coloured(&[], false), "a pipe");
    assert!(coloured(&["--color", "always"], false), "asked for");
    assert!(coloured(&["--color", "always"], true), "a flag goes before the environment");
    assert!(!coloured(&["--color", "never"], false) && !coloured(&[], true), "not wanted");
    assert!(!coloured(&["--color", "always", "--json"], false), "JSON has none");
}

#[test]
fn shells_and_man_know_the_commands() {
    let place = local();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.answer(&["completions", shell]);
        assert!(script.contains("key-interval") && script.contains("revive"), "{shell}");
    }
    let page = place.answer(&["man"]);
    assert!(page.contains(".TH manyhands 1"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    place.answer(&["man", folder.path().to_str().unwrap()]);
    let page = std::fs::read_to_string(folder.path().join("manyhands-queues-set.1")).unwrap();
    assert!(page.contains("remember"), "{page}");
    assert_eq!(place.run(&["man", "/proc/nothing"]).0, Some(1));
    assert_eq!(place.run(&["completions", "tcsh"]).0, Some(2));
}
