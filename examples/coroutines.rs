//! Async handlers: what waits costs neither a thread nor a process. All of this is one worker on one thread.
//!
//! ```text
//! cargo run --release --example coroutines
//! ```
//!
//! First three tasks that wait for 2, 3 and 5 units: together they take as long as the longest, not as all of them. Then ten thousand
//! that wait for each other: none goes on before all have begun, so all of them are in memory at once. Were they run one after the
//! other, the first would wait for ever.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "it is a program")]

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use manyhands::{
    App, BrokerExt, Client, Context, NewTask, QueueName, Shutdown, Task, TaskError, Worker, connect,
};
use serde::{Deserialize, Serialize};
use tokio::{sync::Barrier, try_join};

/// How many tasks are to wait at a time: the most that a worker runs.
const MANY: usize = 10_000;

/// What all of them may take of memory, in MiB, with the worker and a broker that keeps its tasks in memory, too.
const MEMORY: u64 = 256;

const UNIT: Duration = Duration::from_millis(100);

/// How long each part may take. Only what is broken takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for so many units, from when all three have begun.
#[derive(Deserialize, Serialize)]
struct Wait {
    units: u32,
}

impl Task for Wait {
    const NAME: &'static str = "wait";
    type Output = u32;
}

/// Waits until all of them have begun.
#[derive(Deserialize, Serialize)]
struct Meet;

impl Task for Meet {
    const NAME: &'static str = "meet";
    type Output = ();
}

/// Where tasks wait for each other.
struct Places {
    three: Barrier,
    many: Barrier,
    begun: AtomicUsize,
    ended: AtomicUsize,
    /// What this process had in memory when all had begun and none had ended, in KiB.
    memory: AtomicU64,
}

impl Places {
    async fn wait(&self, task: Wait) -> u32 {
        self.three.wait().await;
        tokio::time::sleep(UNIT * task.units).await;
        task.units
    }

    async fn meet(&self) -> Result<(), TaskError> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        // One is told that it came last; the others wait.
        if self.many.wait().await.is_leader() {
            self.memory.store(resident()?, Ordering::Relaxed);
        }
        self.ended.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// What this process has in memory, in KiB.
fn resident() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().map_err(std::io::Error::other)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let broker = connect(&"memory:".parse()?).await?;
    let places = Arc::new(Places {
        three: Barrier::new(3),
        many: Barrier::new(MANY),
        begun: AtomicUsize::new(0),
        ended: AtomicUsize::new(0),
        memory: AtomicU64::new(0),
    });
    let (wait, meet) = (Arc::clone(&places), Arc::clone(&places));
    let app = App::new()
        .handle(move |task: Wait, _ctx: Context| {
            let places = Arc::clone(&wait);
            async move { Ok(places.wait(task).await) }
        })
        .handle(move |_: Meet, _ctx: Context| {
            let places = Arc::clone(&meet);
            async move { places.meet().await }
        });
    let worker = Worker::builder(Arc::clone(&broker)).app(app).concurrency(MANY).build()?;
    let client = Client::new(broker);
    let shutdown = Shutdown::new();
    // Side by side, on this one thread.
    let work = async { worker.run(&shutdown).await.map(drop).context("the worker") };
    let send = async {
        let sent = async {
            three(&client).await?;
            many(&client, &places).await
        };
        let sent = sent.await;
        if sent.is_ok() {
            shutdown.stop();
        } else {
            shutdown.abort();
        }
        sent
    };
    try_join!(work, send).map(drop)
}

async fn three(client: &Client) -> Result<()> {
    let start = Instant::now();
    let wait = |units| client.send(Wait { units }).wait(PATIENCE);
    let waited = try_join!(wait(2), wait(3), wait(5))?;
    ensure!(waited == (2, 3, 5), "they waited {waited:?} units");
    let units = start.elapsed().as_secs_f64() / UNIT.as_secs_f64();
    println!("waits of 2, 3 and 5 units, all of them begun before one ended: {units:.1} units in all");
    Ok(())
}

async fn many(client: &Client, places: &Places) -> Result<()> {
    let tasks = (0..MANY).map(|_| NewTask::of(&Meet)).collect::<manyhands::Result<Vec<_>>>()?;
    client.send_all(&tasks).await?;
    let status = client.broker().join(&QueueName::new(Meet::QUEUE)?, Some(PATIENCE)).await?;
    let dead = status.map_or(0, |status| status.dead);
    let (begun, ended) = (places.begun.load(Ordering::Relaxed), places.ended.load(Ordering::Relaxed));
    let memory = places.memory.load(Ordering::Relaxed) / 1024;
    ensure!((begun, ended, dead) == (MANY, MANY, 0), "{begun} began, {ended} ended, {dead} are dead");
    ensure!(memory <= MEMORY, "{MANY} tasks that wait take {memory} MiB");
    println!("{begun} tasks waited at a time in one process, which had {memory} MiB; all of them ended");
    Ok(())
}
