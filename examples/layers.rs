//! Processes, threads and coroutines together: two worker processes, in each an async handler and a blocking one.
//!
//! ```text
//! cargo run --release --example layers
//! ```
//!
//! Without arguments this program starts itself as the worker, sends it tasks of both kinds over a store in a temporary folder, and tells
//! what ran where. With arguments it is the worker, which `--processes 2` makes a supervisor of two: `layers --processes 2 --broker
//! redis://host`.
//!
//! Each process runs four tasks of a kind at a time (`--concurrency`), and eight of each are sent. A task goes to a gate and waits there; when
//! all sixteen have come, it is opened. So they all run at a time, and each process has four of each kind: the async ones as coroutines
//! of a few threads, the blocking ones on a thread each.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "it is a program")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    net::SocketAddr,
    process::{Child, Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::try_join_all;
use manyhands::{App, Client, Context, Task, TaskError};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt, net::TcpListener};

const PROCESSES: usize = 2;

/// How many tasks of a kind a process runs at a time.
const TOGETHER: usize = 4;

/// How many tasks of each kind are sent.
const EACH: usize = PROCESSES * TOGETHER;

/// How long all of it may take. Only what is broken takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits at the gate, and needs no thread for it.
#[derive(Deserialize, Serialize)]
struct Wait {
    gate: SocketAddr,
}

impl Task for Wait {
    const NAME: &'static str = "wait";
    const QUEUE: &'static str = "waits";
    type Output = Place;
}

/// Waits there as something does that computes: its thread does nothing else.
#[derive(Deserialize, Serialize)]
struct Compute {
    gate: SocketAddr,
}

impl Task for Compute {
    const NAME: &'static str = "compute";
    const QUEUE: &'static str = "computations";
    type Output = Place;
}

/// Where a task ran.
#[derive(Deserialize, Serialize)]
struct Place {
    pid: u32,
    thread: String,
}

impl Place {
    fn here() -> Self {
        Self { pid: std::process::id(), thread: format!("{:?}", std::thread::current().id()) }
    }
}

async fn wait(task: Wait, _ctx: Context) -> Result<Place, TaskError> {
    let place = Place::here();
    tokio::net::TcpStream::connect(task.gate).await?.read_to_end(&mut Vec::new()).await?;
    Ok(place)
}

fn compute(task: Compute, _ctx: &Context) -> Result<Place, TaskError> {
    std::net::TcpStream::connect(task.gate)?.read_to_end(&mut Vec::new())?;
    Ok(Place::here())
}

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        return manyhands::main(|app: App| app.handle(wait).handle_blocking(compute));
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let url = format!("local:{}", folder.path().display());
    let client = Client::connect(&url.parse()?).await?;
    let mut supervisor = start(&url)?;
    let told = tokio::select! {
        told = tell(&client) => told,
        () = ended(&mut supervisor) => bail!("the worker ended: it says why above"),
    };
    stop(&mut supervisor)?;
    let (waits, computations) = told?;
    let pids = waits.keys().collect::<BTreeSet<_>>();
    ensure!(pids == computations.keys().collect(), "other processes ran the one kind than the other");
    ensure!(pids.len() == PROCESSES && !pids.contains(&supervisor.id()), "processes {pids:?} ran them");
    say("async", &waits);
    say("blocking", &computations);
    Ok(())
}

fn start(url: &str) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--broker", url, "--processes", &PROCESSES.to_string()]);
    command.args(["--concurrency", &TOGETHER.to_string()]);
    command.spawn().context("the worker cannot be started")
}

/// The threads of each process.
type Threads = BTreeMap<u32, Vec<String>>;

/// Sends tasks of both kinds, as many as all processes run at a time.
async fn tell(client: &Client) -> Result<(Threads, Threads)> {
    let gate = TcpListener::bind("127.0.0.1:0").await?;
    let address = gate.local_addr()?;
    let waits = (0..EACH).map(|_| client.send(Wait { gate: address }).wait(PATIENCE));
    let computations = (0..EACH).map(|_| client.send(Compute { gate: address }).wait(PATIENCE));
    let (waits, computations, ()) =
        tokio::try_join!(results(waits), results(computations), open_when_all_are_there(gate))?;
    Ok((by_process(waits)?, by_process(computations)?))
}

async fn results(
    tasks: impl Iterator<Item = impl Future<Output = manyhands::Result<Place>>>,
) -> Result<Vec<Place>> {
    Ok(try_join_all(tasks).await?)
}

async fn open_when_all_are_there(gate: TcpListener) -> Result<()> {
    let mut waiting = Vec::new();
    while waiting.len() < 2 * EACH {
        waiting.push(gate.accept().await?);
    }
    Ok(())
}

fn by_process(places: Vec<Place>) -> Result<Threads> {
    let mut threads = Threads::new();
    for Place { pid, thread } in places {
        threads.entry(pid).or_default().push(thread);
    }
    let each: Vec<_> = threads.values().map(Vec::len).collect();
    ensure!(each == [TOGETHER; PROCESSES], "the processes ran {each:?} tasks of a kind");
    Ok(threads)
}

fn say(kind: &str, threads: &Threads) {
    let distinct = |threads: &Vec<String>| threads.iter().collect::<BTreeSet<_>>().len().to_string();
    let each: Vec<_> = threads.values().map(distinct).collect();
    let (processes, each) = (threads.len(), each.join(" and "));
    println!(
        "{kind}: {EACH} tasks in {processes} processes, {TOGETHER} at a time in each, on {each} threads"
    );
}

async fn ended(worker: &mut Child) {
    while matches!(worker.try_wait(), Ok(None)) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Lets the supervisor end, which it does when its processes have.
fn stop(supervisor: &mut Child) -> Result<()> {
    let pid = i32::try_from(supervisor.id()).ok().and_then(Pid::from_raw).context("a pid")?;
    kill_process(pid, Signal::TERM)?;
    let status = supervisor.wait()?;
    ensure!(status.success(), "the worker ended with {status}");
    Ok(())
}
