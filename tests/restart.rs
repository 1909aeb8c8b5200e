//! A worker process is killed while another has free slots: how long until its tasks run there.
//!
//! The workers are this program, started again with the one test that is below. Where `MANYHANDS_TEST_RESTART_BROKER`
//! names a broker, that test is a worker of it until it is killed.
//!
//! `cargo test --test restart -- --nocapture` prints the times; the test itself asserts what ran where, never how fast.

#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]
#![allow(clippy::print_stdout, reason = "the child's words to its parent, and the figures")]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use manyhands::{App, Broker, Client, Context, Shutdown, Task, TaskError, Worker};
use serde::{Deserialize, Serialize};

/// What makes the test a worker.
const BROKER: &str = "MANYHANDS_TEST_RESTART_BROKER";

/// A task that never ends by itself.
#[derive(Serialize, Deserialize)]
struct Hold;

impl Task for Hold {
    const NAME: &'static str = "hold";
    type Output = ();
}

async fn hold(_task: Hold, ctx: Context) -> Result<(), TaskError> {
    println!("\n@{}", ctx.id());
    std::future::pending().await
}

/// What a process does that [`Process::start`] started.
fn work(url: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let broker: Arc<dyn Broker> = manyhands::connect(&url.parse().unwrap()).await.unwrap();
        let worker = Worker::builder(broker).app(App::new().handle(hold)).build().unwrap();
        worker.run(&Shutdown::new()).await.unwrap();
    });
}

struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(url: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tasks_of_a_killed_worker_start_again", "--nocapture"])
            .env(BROKER, url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits until handlers of so many tasks have started, and tells which.
    fn started(&mut self, tasks: usize) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        while ids.len() < tasks {
            let line = self.lines.next().expect("the worker goes on").unwrap();
            ids.extend(line.strip_prefix('@').map(str::to_owned));
        }
        ids
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn tasks_of_a_killed_worker_start_again() {
    const TASKS: usize = 10;
    if let Ok(url) = std::env::var(BROKER) {
        return work(&url);
    }
    let rounds = if std::env::var_os("MANYHANDS_TEST_LONG").is_some() { 200 } else { 20 };
    let mut times = Vec::new();
    for _ in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("local:{}", folder.path().display());
        let mut victim = Process::start(&url);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Before the survivor is there, so that the victim gets all of them.
        let ids = runtime.block_on(async {
            let client = Client::connect(&url.parse().unwrap()).await.unwrap();
            let mut ids = BTreeSet::new();
            for _ in 0..TASKS {
                ids.insert(client.send(Hold).await.unwrap().to_string());
            }
            ids
        });
        assert_eq!(victim.started(TASKS), ids);
        let mut survivor = Process::start(&url);
        until_sessions(&folder, 2);
        let killed = Instant::now();
        victim.child.kill().unwrap();
        assert_eq!(survivor.started(TASKS), ids, "what the survivor runs");
        times.push(killed.elapsed());
        let looked = runtime.block_on(async {
            let broker = manyhands::connect(&url.parse().unwrap()).await.unwrap();
            broker.fsck().unwrap().fsck(false).await.unwrap()
        });
        assert_eq!(looked.findings, [], "what is left while the survivor runs");
    }
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let (p50, most) = (ms(times[times.len() / 2]), ms(times[times.len() - 1]));
    println!(
        "{TASKS} tasks of a killed worker run elsewhere: p50 {p50:.1} ms, most {most:.1} ms of {rounds} kills"
    );
}

/// Waits until so many processes hold a session.
fn until_sessions(folder: &tempfile::TempDir, sessions: usize) {
    let incarnations = folder.path().join("mh/incarnations");
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let found = std::fs::read_dir(&incarnations).unwrap().map(|file| file.unwrap().file_name());
        if found.filter(|name| !name.to_string_lossy().starts_with('.')).count() >= sessions {
            return;
        }
        assert!(Instant::now() < patience, "no {sessions} sessions");
        std::thread::yield_now();
    }
}
