//! One measurement of apalis over a Redis server: `apalis-peer PEER CASE PORT N`
//!
//! - PEER: `apalis`, as it comes: each task is locked by a lease; or `apalis-unlocked`, without, which is quicker.
//! - CASE: `drain`: N tasks are queued, then a worker in a process of its own takes them. `both`: a producer and a worker in two
//!   processes at once, from before the first enqueue to the last task.
//!
//! Prints one line of JSON. Payloads are as long as ours, the handler does nothing. A worker runs 100 tasks at a time, and a call takes
//! 100, as ours does.
//!
//! A worker of version 1.0.0 ends when more than about 8000 tasks are due, as one of its scripts hands all of their ids to `unpack`. So no
//! more than 7000 are ever queued: a drain is made of rounds, and a producer waits while it is so far ahead.

use std::{
    env,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as Waking, Poll},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use apalis::prelude::*;
use apalis_core::backend::{
    TaskSink,
    ext::{
        BackendExt,
        poll_strategy::{PollSnapshot, PollStrategy},
    },
};
use apalis_redis::{Config, RedisStorage};
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

/// Tasks at a time, and tasks in a call.
const CONCURRENCY: usize = 100;
const BATCH: u64 = 100;

/// The most that may be queued.
const MOST: u64 = 7000;

/// How often a worker looks for tasks.
const POLL: Duration = Duration::from_millis(1);

/// A task is due in the second after it was sent.
const DUE: Duration = Duration::from_millis(1100);

/// A payload of 150 bytes.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Work {
    at: u64,
    pad: String,
}

impl Work {
    fn new(at: u64) -> Self {
        let rest = 150 - format!(r#"{{"at":{at},"pad":""}}"#).len();
        Self { at, pad: "x".repeat(rest) }
    }
}

/// What is measured.
#[derive(Clone, Debug)]
struct Peer {
    name: String,
    port: String,
}

impl Peer {
    fn locks(&self) -> Result<bool> {
        match self.name.as_str() {
            "apalis" => Ok(true),
            "apalis-unlocked" => Ok(false),
            other => bail!("there is no peer {other}"),
        }
    }

    async fn storage(&self, queue: &str) -> Result<RedisStorage<Work>> {
        let connection = apalis_redis::connect(format!("redis://127.0.0.1:{}", self.port)).await?;
        let config = Config::default().queue(queue).batch_size(CONCURRENCY).emit_events(false);
        Ok(RedisStorage::new(connection).with_config(config.lock_tasks(self.locks()?)))
    }

    /// N tasks, in rounds: seconds from the first to the last that began.
    async fn drain(&self, n: u64) -> Result<f64> {
        let mut seconds = 0.0;
        let mut left = n;
        while left > 0 {
            let size = left.min(MOST);
            let queue = format!("drain-{left}");
            let mut storage = self.storage(&queue).await?;
            send(&mut storage, size, |_| Ok(())).await?;
            sleep(DUE).await;
            let mut worker = Worker::start(self, &queue, size)?;
            worker.until(size)?;
            seconds += worker.seconds()?;
            left -= size;
        }
        Ok(seconds)
    }

    /// A producer and a worker at once: seconds from before the first call to the last task that began.
    async fn both(&self, n: u64) -> Result<f64> {
        let mut storage = self.storage("both").await?;
        let mut worker = Worker::start(self, "both", n + 1)?;
        // So that it is known to be there.
        send(&mut storage, 1, |_| Ok(())).await?;
        worker.until(1)?;
        let began = Instant::now();
        send(&mut storage, n, |sent| worker.until((1 + sent + BATCH).saturating_sub(MOST))).await?;
        worker.until(n + 1)?;
        Ok(began.elapsed().as_secs_f64())
    }
}

/// Sends so many tasks, a hundred in a call; before each it waits, with the number of those that were sent.
async fn send(
    storage: &mut RedisStorage<Work>,
    n: u64,
    mut wait: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    let mut sent = 0;
    while sent < n {
        wait(sent)?;
        let size = BATCH.min(n - sent);
        let tasks = (sent..sent + size).map(Work::new).collect();
        storage.push_bulk(tasks).await.map_err(|error| anyhow!("a call failed: {error}"))?;
        sent += size;
    }
    Ok(())
}

/// A worker process, which says how many tasks began there.
struct Worker {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    begun: u64,
}

impl Worker {
    fn start(peer: &Peer, queue: &str, n: u64) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args([&peer.name, "work", &peer.port, &n.to_string(), queue]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("a worker without a pipe")?).lines();
        Ok(Self { child, lines, begun: 0 })
    }

    fn word(&mut self) -> Result<String> {
        Ok(self.lines.next().context("the worker ended")??)
    }

    /// Waits until so many tasks have begun.
    fn until(&mut self, begun: u64) -> Result<()> {
        while self.begun < begun {
            self.begun = self.word()?.parse()?;
        }
        Ok(())
    }

    /// How long it took from the first to the last.
    fn seconds(&mut self) -> Result<f64> {
        Ok(self.word()?.parse()?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It goes on until it is killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts tasks that began, and says so after the first, each hundredth and the last, and then how long it took.
#[derive(Debug, Default)]
struct Counter {
    n: u64,
    begun: AtomicU64,
    first: OnceLock<Instant>,
}

impl Counter {
    fn count(&self) -> std::io::Result<()> {
        let first = self.first.get_or_init(Instant::now);
        let begun = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let mut output = std::io::stdout().lock();
        if begun == 1 || begun % BATCH == 0 || begun == self.n {
            writeln!(output, "{begun}")?;
        }
        if begun == self.n {
            writeln!(output, "{}", first.elapsed().as_secs_f64())?;
        }
        output.flush()
    }
}

async fn handle(_task: Work, counter: Data<Arc<Counter>>) -> Result<(), BoxDynError> {
    Ok(counter.count()?)
}

/// Looks at every tick. The strategy that comes with version 1.0.0 replaces a timer that is over without waiting for the next one, and so
/// may sleep until the next heartbeat, 30 s later.
struct Tick(Interval);

impl PollStrategy for Tick {
    fn poll_drive(&mut self, cx: &mut Waking<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut ticked = false;
        while self.0.poll_tick(cx).is_ready() {
            ticked = true;
        }
        if ticked { Poll::Ready(Some(())) } else { Poll::Pending }
    }
}

/// What the second process does.
async fn work(peer: &Peer, n: u64, queue: &str) -> Result<()> {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let backend = peer.storage(queue).await?.poll_with_strategy(Tick(ticks));
    let counter = Arc::new(Counter { n, ..Counter::default() });
    let worker = WorkerBuilder::new("bench").backend(backend).concurrency(CONCURRENCY).data(counter);
    worker.build(handle).run().await.map_err(|error| anyhow!("the worker ended: {error}"))
}

async fn run(arguments: &[String]) -> Result<()> {
    let [name, case, port, n, rest @ ..] = arguments else { bail!("apalis-peer PEER CASE PORT N") };
    let (peer, n) = (Peer { name: name.clone(), port: port.clone() }, n.parse()?);
    let seconds = match (case.as_str(), rest) {
        ("work", [queue]) => return work(&peer, n, queue).await,
        ("drain", []) => peer.drain(n).await?,
        ("both", []) => peer.both(n).await?,
        _ => bail!("there is no case {case}"),
    };
    ensure!(seconds > 0.0, "nothing was measured");
    let locks = if peer.locks()? { "each task locked, as it comes" } else { "without locks" };
    let about = format!(
        "{locks}, concurrency {CONCURRENCY}, batch_size {CONCURRENCY}, push_bulk of {BATCH}, polls each {POLL:?}, never more than {MOST} queued"
    );
    let name = if peer.locks()? { "apalis 1.0.0" } else { "apalis 1.0.0 without locks" };
    let told = serde_json::json!({ "name": name, "about": about, "n": n, "per_second": n as f64 / seconds });
    println!("{told}");
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&arguments))
}
