//! `manyhands demo` as a process, for the tests that run it.
//!
//! The 250 films are computed here again, and compared with the file field for field.

#![allow(dead_code, reason = "each test uses what it needs")]
#![allow(clippy::panic, reason = "what a helper cannot do fails the test")]

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use manyhands_test_support::kill::{self, Signal, Watch};
use tempfile::TempDir;

#[path = "../../src/demo/films.rs"]
mod films;

/// The demo's command, in a folder.
pub(crate) fn demo(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manyhands"));
    command.arg("demo").current_dir(folder.path()).env_remove("MANYHANDS_BROKER");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the demo to its end.
pub(crate) fn run(folder: &TempDir, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    demo(folder).args(args).output().unwrap()
}

/// Runs the demo, which must succeed, and checks the films.
pub(crate) fn run_well(folder: &TempDir, args: &[&str]) -> String {
    let output = run(folder, args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{args:?}: {}\n{out}\n{err}", output.status);
    check_films(&folder.path().join("films.jsonl"));
    check_books(&out);
    out
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Where the demo says that its queues are left, and the broker keeps books, nothing is wrong with them.
fn check_books(out: &str) {
    let url = out.split_once("the queues are left in ").map(|(_, url)| url.trim());
    // RabbitMQ keeps none.
    let Some(url) = url.filter(|url| !url.starts_with("amqp")) else { return };
    let mut command = Command::new(env!("CARGO_BIN_EXE_manyhands"));
    let output = command.args(["fsck", "--broker", url]).stdin(Stdio::null()).output().unwrap();
    let (said, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && said.ends_with("all is well\n"), "{said}{err}");
    assert!(!said.contains(" in 0 queues"), "looked in the wrong place: {said}");
}

/// The file holds exactly the films, one whole line each, and nothing lies beside it.
pub(crate) fn check_films(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'), "the last line is whole");
    let read = |line: &str| serde_json::from_str::<films::Film>(line).unwrap();
    let saved: Vec<_> = text.lines().map(read).map(|film| (film.id, film)).collect();
    assert_eq!(saved.len(), 250);
    let made: BTreeMap<_, _> = films::films().into_iter().map(|film| (film.id, film)).collect();
    assert_eq!(saved.into_iter().collect::<BTreeMap<_, _>>(), made);
    let beside: Vec<_> =
        std::fs::read_dir(path.parent().unwrap()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(!beside.iter().any(|name| name.to_string_lossy().contains("part")), "{beside:?}");
}

/// A demo that was started, and the pids that it told of.
pub(crate) struct Running {
    /// Where the director makes its folder: a killed one cannot remove it.
    _temporary: TempDir,
    pub(crate) child: Child,
    pub(crate) lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    pub(crate) pids: Vec<(String, u32)>,
}

impl Running {
    pub(crate) fn start(folder: &TempDir, args: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = demo(folder).args(args).env("TMPDIR", temporary.path()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { _temporary: temporary, child, lines, pids: Vec::new() }
    }

    /// Reads until a line that has this in it.
    pub(crate) fn until(&mut self, what: &str) {
        self.until_line(|line| line.contains(what));
    }

    /// Reads until a line that will do.
    pub(crate) fn until_line(&mut self, will_do: impl Fn(&str) -> bool) {
        let mut seen = String::new();
        loop {
            let line =
                self.lines.next().unwrap_or_else(|| panic!("the demo ended too early:{seen}")).unwrap();
            if will_do(&line) {
                return;
            }
            seen.push_str(&format!("\n{line}"));
        }
    }

    /// Reads to the end, which must be a good one.
    pub(crate) fn ends_well(mut self, folder: &TempDir) {
        let rest: Vec<_> = self.lines.by_ref().map(Result::unwrap).collect();
        assert!(self.child.wait().unwrap().success(), "{}", rest.join("\n"));
        check_films(&folder.path().join("films.jsonl"));
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        check_books(&out);
    }

    /// Reads until a process of the role has started.
    pub(crate) fn until_started(&mut self, role: &str) -> u32 {
        loop {
            let line = self.lines.next().expect("the demo says that its processes start").unwrap();
            if let Some((name, pid)) = line.strip_suffix(" started").and_then(|line| line.split_once(' ')) {
                let pid = pid.parse().unwrap();
                self.pids.push((name.to_owned(), pid));
                if name == role {
                    return pid;
                }
            }
        }
    }
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill::send(self.child.id(), signal).unwrap();
    }

    /// Watches the processes, so that their end can be awaited though they are not ours.
    pub(crate) fn watch(&self) -> Vec<Watch> {
        self.pids.iter().map(|(_, pid)| Watch::open(*pid).unwrap()).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The pid in a line such as `killed fetcher 123, which was running page-0, page-25`, and the ids.
pub(crate) fn killed(out: &str) -> (u32, Vec<String>) {
    let line = out.lines().find(|line| line.starts_with("killed fetcher")).unwrap();
    let (head, ids) = line.split_once(", which was running ").unwrap();
    (head.rsplit_once(' ').unwrap().1.parse().unwrap(), list(ids))
}

/// The pid in a line such as `process 124 then ran page-0, page-25: 3 to 5 ms after the kill`, and the ids.
pub(crate) fn then_ran(out: &str) -> Vec<(u32, Vec<String>)> {
    let line = |line: &str| {
        let (pid, rest) = line.strip_prefix("process ")?.split_once(" then ran ")?;
        Some((pid.parse().ok()?, list(rest.split_once(": ")?.0)))
    };
    out.lines().filter_map(line).collect()
}

fn list(ids: &str) -> Vec<String> {
    let mut ids: Vec<_> = ids.split(", ").map(str::to_owned).collect();
    ids.sort();
    ids
}
