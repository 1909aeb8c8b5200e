//! What is called in other processes.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use manyhands::{
    App,
    multiprocessing::{Pool, Process, Run, current_process},
};
use serde::{Deserialize, Serialize};

use crate::programs::PATIENCE;

pub(crate) fn register(app: App) -> App {
    app.function(square)
        .function(area)
        .function(nothing)
        .function(describe)
        .function(divide)
        .function(picky)
        .function(meet)
        .function(wait_for)
        .function(exit_with)
        .function(abort)
        .function(add_one)
        .function(have_children)
        .function(pid)
        .function(note)
        .function(killed_by)
        .function(large)
        .function(refuse)
        .function(remember)
        .function(remembered)
        .function(crate::pools::large_text)
        .runs::<Greeter>()
}

pub(crate) fn square(n: u64) -> u64 {
    n * n
}

pub(crate) fn area(width: u64, height: u64) -> u64 {
    width * height
}

pub(crate) fn nothing() -> String {
    "nothing was given".to_owned()
}

pub(crate) fn not_registered(n: u64) -> u64 {
    n
}

/// What a process is, as a line of a file.
pub(crate) fn describe(file: PathBuf) {
    let here = current_process().unwrap();
    let parent = here.parent.unwrap();
    append(&file, &format!("{} {} {parent} {}", here.name, here.pid, here.daemon));
}

/// The same, as a value with a method.
#[derive(Deserialize, Serialize)]
pub(crate) struct Greeter {
    pub(crate) file: PathBuf,
}

impl Run for Greeter {
    fn run(self) {
        describe(self.file);
    }
}

/// A `Result` is a value as any other.
pub(crate) fn divide(of: i64, by: i64) -> Result<i64, String> {
    of.checked_div(by).ok_or_else(|| format!("{of} cannot be divided by {by}"))
}

pub(crate) fn picky(n: u64) -> u64 {
    assert!(n % 10 != 7, "{n} is not liked");
    n
}

/// Returns when so many have come here.
pub(crate) fn meet(folder: PathBuf, of: usize) {
    fs::write(folder.join(std::process::id().to_string()), "").unwrap();
    until(|| fs::read_dir(&folder).unwrap().count() >= of);
}

/// Returns when a file is there; the number, if one is to be waited for.
pub(crate) fn wait_for(n: u64, file: Option<PathBuf>) -> u64 {
    if let Some(file) = file {
        until(|| file.exists());
    }
    n
}

#[expect(clippy::disallowed_methods, clippy::exit, reason = "that is what it is for")]
pub(crate) fn exit_with(code: i32) {
    std::process::exit(code);
}

pub(crate) fn abort() {
    std::process::abort();
}

pub(crate) static SHARED: AtomicU64 = AtomicU64::new(10);

pub(crate) fn add_one() -> u64 {
    SHARED.fetch_add(1, Ordering::SeqCst) + 1
}

/// Starts a process and a pool, and notes what came of it.
pub(crate) fn have_children(file: PathBuf) {
    let process = Process::new(describe, (file.clone(),)).and_then(|process| {
        process.start()?;
        process.join()
    });
    match process {
        Ok(exit) => append(&file, &format!("process: {exit}")),
        Err(error) => append(&file, &format!("process refused: {error}")),
    }
    match Pool::new(1).map(|pool| pool.apply(square, (3,))) {
        Ok(result) => append(&file, &format!("pool: {result:?}")),
        Err(error) => append(&file, &format!("pool refused: {error}")),
    }
}

pub(crate) fn pid(_turn: u64) -> u32 {
    std::process::id()
}

/// Writes a line, and ends.
pub(crate) fn note(n: u64, file: PathBuf) -> u64 {
    append(&file, &n.to_string());
    n
}

/// Notes that it runs; the one number kills its process.
pub(crate) fn killed_by(n: u64, bad: u64, file: PathBuf) -> u64 {
    append(&file, &n.to_string());
    if n == bad {
        std::process::abort();
    }
    n
}

/// So many bytes.
pub(crate) fn large(n: usize) -> String {
    "x".repeat(n)
}

pub(crate) fn refuse(why: String) {
    panic!("{why}");
}

static REMEMBERED: AtomicU64 = AtomicU64::new(0);

/// Sets what the process remembers.
pub(crate) fn remember(n: u64) {
    REMEMBERED.store(n, Ordering::SeqCst);
}

pub(crate) fn remembered(n: u64) -> u64 {
    n + REMEMBERED.load(Ordering::SeqCst)
}

/// Adds a line to a file, in one write.
pub(crate) fn append(file: &Path, line: &str) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

pub(crate) fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

/// Waits for what nothing tells of: a file that another process writes, a process that is not a child.
#[expect(clippy::disallowed_methods, reason = "another process writes a file, of which nothing tells")]
pub(crate) fn until(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "what was waited for did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}
