//! The power is cut, and the local store keeps what it promised.
//!
//! Processes put a [`load`] on a store: a producer and two workers in one boot of the machine, and again in the next. The recorder
//! writes down every change of a file, every sync, and between them what the processes asked for and were told. Then the power
//! is cut at many places of this log. A disk keeps what was synced, and of the rest nothing, all, some, or half of it, torn at
//! sectors: see [`Loss`]. Each time the files are put into a folder, and the [`verdict`] opens them in another boot, whose wall
//! clock stands a day earlier, so that the generation cannot come from it.
//!
//! The [`image`] of the database after each commit is known from the log. So what is left must be, page for page, the store as it
//! was after one of the commits: what is lost is the last of them, and nothing is half there.
//!
//! `MANYHANDS_TEST_LONG` set: five times as many cuts. The folder of the store is there before; that its name survives is up to
//! whoever makes it.

#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]
#![allow(clippy::print_stdout, reason = "the figures")]

mod image;
mod load;
mod told;
mod verdict;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use manyhands_broker::{
    Broker, Guard, Namespace, QueueName,
    backends::local::{LocalBroker, LocalConfig},
    clock::{Clock, Now},
};
use manyhands_test_recorder::{Disk, Entry, Event, Loss, read};
use manyhands_test_support::ledger;
use serde::{Deserialize, Serialize};

use image::Images;
use load::{Part, Role};
use told::Told;
use verdict::Lost;

/// What makes this test a part of its load.
const PART: &str = "MANYHANDS_TEST_POWER_CUT";

/// A day, in milliseconds.
const DAY: u64 = 86_400_000;

/// The clocks of one boot of the machine.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Boot {
    name: String,
    /// How far the wall clock was set back, in milliseconds.
    back: u64,
}

impl Boot {
    fn new(name: &str, back: u64) -> Self {
        Self { name: name.to_owned(), back }
    }
}

impl Clock for Boot {
    fn now(&self) -> Now {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let wall = u64::try_from(wall.as_millis()).unwrap();
        Now { wall: wall - self.back, steady: ledger::now() / 1_000_000 }
    }

    fn boot(&self) -> String {
        self.name.clone()
    }
}

async fn session(store: &Path, boot: &Boot) -> Arc<dyn Broker> {
    let config = LocalConfig::new(store, Namespace::default()).with_clock(Arc::new(boot.clone()));
    Arc::new(Guard::new(LocalBroker::open(config).await.unwrap()))
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A process of the load; killed with the test if it fails.
struct Process(Child);

impl Process {
    fn start(part: &Part) -> Self {
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_power_cut_keeps_what_was_promised", "--nocapture"])
            .env(PART, serde_json::to_string(part).unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self(process.unwrap())
    }

    fn end(mut self) {
        let status = self.0.wait().unwrap();
        assert!(status.success(), "a part of the load failed: {status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the store lies in the folder that is recorded, and in what is left of it.
const STORE: &str = "mh";

/// Records the load; returns the log, and where in it the second boot begins.
fn recorded(folder: &Path) -> (Vec<Entry>, usize) {
    let (store, log) = (folder.join("store"), folder.join("log"));
    fs::create_dir_all(store.join(STORE)).unwrap();
    let mut begins = Vec::new();
    for boot in [Boot::new("first", 0), Boot::new("second", DAY)] {
        begins.push(if log.exists() { read(&log).unwrap().len() } else { 0 });
        let part = |role| Part { role, boot: boot.clone(), store: store.clone(), log: log.clone() };
        let parts = [Role::Producer, Role::Worker(1), Role::Worker(2)].map(part);
        let running = parts.each_ref().map(Process::start);
        running.into_iter().for_each(Process::end);
    }
    let entries = read(&log).unwrap();
    let mut disk = Disk::default();
    entries.iter().for_each(|entry| disk.apply(entry).unwrap());
    assert_eq!(names(&disk.whole()), names(&there(&store.join(STORE))), "the recorder sees all files");
    for (path, data) in disk.whole() {
        let same = fs::read(store.join(STORE).join(&path)).unwrap() == data;
        assert!(same || is_shared_memory(&path), "the recorder sees all changes of {}", path.display());
    }
    (entries, begins[1])
}

fn names(files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<&PathBuf> {
    files.keys().filter(|path| !is_shared_memory(path)).collect()
}

/// What all processes of a boot share; SQLite makes it anew.
fn is_shared_memory(path: &Path) -> bool {
    path.to_string_lossy().ends_with("-shm")
}

/// The files of a folder and of those in it.
fn there(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Where the power is cut: everywhere evenly, and often at the begin of each boot, when much happens once.
fn places(entries: &[Entry], second: usize, cuts: usize) -> Vec<usize> {
    let first_note = |from: usize| {
        let note = |entry: &Entry| matches!(entry.event, Event::Note { .. });
        from + entries[from..].iter().position(note).unwrap()
    };
    let (made, again) = (first_note(0), first_note(second) + EARLY);
    let early = cuts / 5;
    let even =
        |from: usize, to: usize, count: usize| (1..=count).map(move |n| from + (to - from) * n / count);
    let rest = even(made, entries.len(), cuts - 2 * early);
    let mut places: Vec<_> = even(0, made, early).chain(even(second, again, early)).chain(rest).collect();
    places.sort_unstable();
    places
}

/// How much of a boot is its begin, once somebody was told something.
const EARLY: usize = 100;

#[test]
fn a_power_cut_keeps_what_was_promised() {
    if let Ok(part) = std::env::var(PART) {
        let part: Part = serde_json::from_str(&part).unwrap();
        return runtime().block_on(load::run(&part));
    }
    let folder = tempfile::tempdir().unwrap();
    let (entries, second) = recorded(folder.path());
    let cuts = if std::env::var_os("MANYHANDS_TEST_LONG").is_some() { 300 } else { 60 };
    let (mut disk, mut images, mut told) = (Disk::default(), Images::default(), Told::default());
    let (mut done, mut lost) = (0, Lost::default());
    for (number, place) in places(&entries, second, cuts).into_iter().enumerate() {
        for entry in &entries[done..place] {
            images.see(&disk, entry);
            disk.apply(entry).unwrap();
            told.see(entry);
        }
        done = place;
        let loss = Loss::ALL[number % Loss::ALL.len()];
        println!("cut {number} of {cuts}: after {place} of {} entries, {loss:?}", entries.len());
        let seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1);
        // One to look at as a file, and one for the broker to open, of the same seed and so the same.
        let left = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for left in &left {
            let store = left.path().join(STORE);
            fs::create_dir(&store).unwrap();
            disk.cut(loss, seed, &store).unwrap();
            let _ = fs::remove_file(store.join("tasks.db-shm"));
        }
        lost.commits += images.must_know(&left[0].path().join(STORE));
        runtime().block_on(verdict::judge(left[1].path(), &told, &mut lost));
    }
    println!("{cuts} cuts in {} entries and {} commits: {lost:?}", entries.len(), images.commits());
    // Otherwise nothing was tried.
    assert!(lost.commits > 0 && lost.claims > 0 && lost.settlements > 0, "{lost:?}");
}
