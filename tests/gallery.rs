//! The examples of processes and pools, run as their documentation says.

#![cfg(feature = "multiprocessing")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

#[path = "programs/mod.rs"]
mod programs;

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use manyhands_test_support::{
    example,
    kill::{self, Watch},
};

use self::programs::{PATIENCE, repository, told};

/// An example, on its own.
fn command(name: &str) -> Command {
    let mut command = Command::new(example(name));
    command.stdin(Stdio::null()).env_remove("MANYHANDS_BROKER");
    command
}

/// The lines of an example that ends well, its numbers of processes replaced by `#`.
fn lines(name: &str) -> Vec<String> {
    let (code, out, err) = told(command(name).output().unwrap());
    assert_eq!(code, Some(0), "{name}: {out}{err}");
    out.lines().map(ToOwned::to_owned).collect()
}

/// The numbers in a line.
fn numbers(line: &str) -> Vec<u64> {
    line.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[test]
fn processes_by_function_and_by_type() {
    let lines = lines("process_start");
    let main = numbers(&lines[0])[0];
    let find =
        |what: &str| lines.iter().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{lines:?}"));
    let first = numbers(find("Process-1: hello, Ada"));
    let second = numbers(find("greeter: hello, Grace"));
    assert_eq!((first[2], second[1]), (main, main), "{lines:?}");
    assert!(first[1] != main && second[0] != main && first[1] != second[0], "{lines:?}");
    assert_eq!(numbers(find("main: started")), [first[1], second[0]]);
    assert_eq!(lines.last().unwrap(), "main: both have ended");
}

#[test]
fn processes_that_are_joined() {
    let lines = lines("process_join");
    // How long it takes is not asserted: that they take as long as they wait is.
    assert!(lines[0].starts_with("together: ") && numbers(&lines[0])[0] >= 300, "{lines:?}");
    assert!(lines[1].starts_with("one by one: ") && numbers(&lines[1])[0] >= 600, "{lines:?}");
    assert_eq!(lines[2..], ["after 50 ms: None, alive: true", "killed: killed by signal 9 (SIGKILL)"]);
}

#[test]
fn ends_of_processes() {
    let lines = lines("process_end");
    assert_eq!(
        lines,
        [
            "one that returns: exit code 0",
            "one that panics: exit code 1",
            "one that exits: exit code 3",
            "one that aborts: killed by signal 6 (SIGABRT)",
            "alive: true, exit code: None",
            "terminate: killed by signal 15 (SIGTERM) (Some(\"SIGTERM\")), alive: false",
            "alive: true, exit code: None",
            "kill: killed by signal 9 (SIGKILL) (Some(\"SIGKILL\")), alive: false",
        ]
    );
}

#[test]
fn a_daemon_ends_with_its_parent() {
    let lines = lines("process_daemon");
    assert!(
        lines[0].starts_with("a daemon starts a process: a daemon may not have processes of its own"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("daemon background is "), "{lines:?}");
    let pid = u32::try_from(numbers(&lines[1])[0]).unwrap();
    assert!(Watch::open(pid).is_err(), "the daemon lives");

    let mut parent = command("process_daemon").arg("wait").stdout(Stdio::piped()).spawn().unwrap();
    let said: Vec<String> =
        BufReader::new(parent.stdout.take().unwrap()).lines().take(2).collect::<Result<_, _>>().unwrap();
    let daemon = Watch::open(u32::try_from(numbers(&said[1])[0]).unwrap()).unwrap();
    kill::kill(parent.id()).unwrap();
    parent.wait().unwrap();
    daemon.end(PATIENCE).unwrap();
}

#[test]
fn no_zombies() {
    assert_eq!(lines("process_zombies"), ["1000 processes have ended, 0 zombies are left"]);
}

#[test]
fn isolation() {
    assert_eq!(
        lines("process_isolation"),
        ["in the process: 0", "here: 100", "one ended so: killed by signal 6 (SIGABRT); this one goes on"]
    );
}

#[test]
fn calls_in_a_pool() {
    let lines = lines("pool_apply");
    assert_eq!(lines[..5], ["soup, cooked", "rice, cooked", "fish, cooked", "beans, cooked", "cake, cooked"]);
    assert!(
        lines[5].starts_with("four dishes by three cooks: ") && *numbers(&lines[5]).last().unwrap() >= 2,
        "{lines:?}"
    );
    assert_eq!(
        lines[6..],
        [
            "after close: Err(\"the pool was closed, and takes no more calls\")",
            "tea, cooked",
            "after terminate: the pool was terminated before the call ended",
        ]
    );
}

#[test]
fn results_of_a_pool() {
    let lines = lines("pool_results");
    let unlucky = "the function panicked: 13 is unlucky (examples/multiprocessing/pool_results.rs:";
    assert_eq!(lines[..2], ["map: [0, 1, 8, 27, 64, 125]", "starmap: [8, 1024, 27]"]);
    assert!(lines[2].starts_with(&format!("map of 12 to 14: {unlucky}")), "{lines:?}");
    assert_eq!((&*lines[3], &*lines[5]), ("imap: 1728", "imap: 2744"));
    assert!(lines[4].starts_with(&format!("imap: {unlucky}")), "{lines:?}");
    assert_eq!(lines[6], "the first above a milliard: Some(1003003001)");
    assert_eq!(lines[7], "imap_unordered, sorted: [0, 1, 8, 27, 64, 125]");
    assert_eq!(lines[8], "callback: result 27");
    assert!(lines[9].starts_with(&format!("callback: error: {unlucky}")), "{lines:?}");
}

#[test]
fn futures_of_a_pool() {
    let lines = lines("pool_submit");
    assert!(
        lines[0].starts_with("20 results by ") && lines[0].ends_with("the callbacks' sum is 2470"),
        "{lines:?}"
    );
    assert!((1..=5).contains(&numbers(&lines[0])[1]), "{lines:?}");
}

#[test]
fn a_pool_that_loses_a_process() {
    let lines = lines("pool_map");
    let before = numbers(&lines[0]);
    assert!(before.len() == 3 && !before[1..].contains(&before[0]), "{lines:?}");
    assert_eq!(numbers(&lines[1])[0], before[1], "{lines:?}");
    assert!(lines[2].starts_with("100000 results, complete and in order"), "{lines:?}");
    let after = numbers(&lines[2]);
    assert!(!after.contains(&before[1]) && after.contains(&before[2]), "{lines:?}");
}

#[test]
fn mails() {
    let lines = lines("mails");
    assert_eq!(lines.len(), 1);
    let numbers = numbers(&lines[0]);
    assert_eq!(numbers[..3], [5000, 10, 50], "{lines:?}");
    let (count, ids) = (numbers[3], &numbers[4..]);
    assert!(count <= 50 && ids.len() as u64 == count, "{lines:?}");
    assert!(ids.iter().all(|id| id % 100 == 37), "{lines:?}");
}

#[test]
fn squares() {
    assert_eq!(lines("squares"), ["[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]"]);
    // It is what the documentation shows.
    let source = std::fs::read_to_string(repository("examples/squares.rs")).unwrap();
    let code = &source[source.find("use std::process::ExitCode;").unwrap()..];
    for file in ["README.md", "docs/from-multiprocessing.md"] {
        assert!(
            std::fs::read_to_string(repository(file)).unwrap().contains(code),
            "{file} shows something else"
        );
    }
}

/// Each call of the guide is there under that name.
#[test]
fn the_guide_names_these_examples() {
    let guide = std::fs::read_to_string(repository("docs/from-multiprocessing.md")).unwrap();
    let folder = std::fs::read_dir(repository("examples/multiprocessing")).unwrap();
    let mut files: Vec<_> =
        folder.map(|file| format!("multiprocessing/{}", file.unwrap().file_name().display())).collect();
    files.extend(
        ["pool_map.rs", "mails.rs", "coroutines.rs", "layers.rs", "remote_commands"].map(ToOwned::to_owned),
    );
    for file in files {
        assert!(guide.contains(&format!("../examples/{file}")), "{file} is not in the guide");
    }
}
