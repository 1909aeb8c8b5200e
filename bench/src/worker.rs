//! This program as a worker of users: with its flags, its configuration, and handlers in Rust.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use manyhands::{App, Broker, Context, Interest, QueueName, QueueStatus, Task, TaskError, connect};
use manyhands_test_support::{
    kill::{self, Signal, Watch},
    ledger::now,
};
use serde::{Deserialize, Serialize};

use crate::{
    figures::rate,
    work::{self, nothing},
};

/// Says that this process is a worker, or a child of one, and in which folder.
const FOLDER: &str = "MANYHANDS_BENCH_WORKER";

/// How long a worker may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A task that waits for longer than anybody looks.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Waits {
    /// What makes it as long as others.
    pub(crate) pad: String,
}

impl Task for Waits {
    const NAME: &'static str = "waits";
    // Handlers of other kinds have other slots.
    const QUEUE: &'static str = "waits";
    type Output = ();
}

/// A task that does its process harm, or none.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Harm {
    pub(crate) number: u64,
    pub(crate) way: Way,
}

/// The ways in which a process dies of its task.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    None,
    Abort,
    Kill,
    Eat,
}

impl Task for Harm {
    const NAME: &'static str = "harm";
    const QUEUE: &'static str = "harm";
    type Output = ();
}

/// Runs as a worker, if that is what this process was started for.
pub(crate) fn begin() -> Option<ExitCode> {
    let folder = PathBuf::from(std::env::var_os(FOLDER)?);
    Some(manyhands::main(|app: App| {
        app.handle(nothing)
            .handle(|_: Waits, _| async {
                std::future::pending::<()>().await;
                Ok(())
            })
            .handle_blocking(move |task: Harm, _: &Context| harm(&task, &folder))
    }))
}

fn harm(task: &Harm, folder: &Path) -> Result<(), TaskError> {
    let mut runs = fs::OpenOptions::new().create(true).append(true).open(folder.join("runs"))?;
    std::io::Write::write_all(&mut runs, format!("{}\n", task.number).as_bytes())?;
    match task.way {
        Way::None => {}
        Way::Abort => std::process::abort(),
        Way::Kill => kill::kill(std::process::id())?,
        Way::Eat => {
            let mut hog = Vec::new();
            loop {
                hog.push(vec![1_u8; 16 << 20]);
                std::hint::black_box(&hog);
            }
        }
    }
    Ok(())
}

/// A worker program that runs in a folder; killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Hired {
    child: Child,
    said: PathBuf,
}

impl Hired {
    /// Starts one with this configuration and these flags.
    pub(crate) fn start(folder: &Path, broker: &str, configuration: &str, flags: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--broker", broker]).args(flags).env(FOLDER, folder);
        Self::run(command, folder, configuration)
    }

    /// Starts the stock one, whose handlers are all programs.
    pub(crate) fn stock(
        manyhands: &Path,
        folder: &Path,
        broker: &str,
        configuration: &str,
        flags: &[&str],
    ) -> Result<Self> {
        let mut command = Command::new(manyhands);
        command.args(["worker", "--broker", broker]).args(flags);
        Self::run(command, folder, configuration)
    }

    fn run(mut command: Command, folder: &Path, configuration: &str) -> Result<Self> {
        let said = folder.join("said");
        fs::write(folder.join("manyhands.toml"), configuration)?;
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said)?);
        let child = command.spawn().context("a worker cannot be started")?;
        Ok(Self { child, said })
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Asks it to end, as often as is said, and waits until it has.
    pub(crate) fn stop(mut self, signals: u32) -> Result<()> {
        let watch = Watch::open(self.pid())?;
        for _ in 0..signals {
            kill::send(self.pid(), Signal::TERM)?;
        }
        watch.end(PATIENCE)?;
        self.child.wait()?;
        Ok(())
    }

    /// Fails with what it said, if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "a worker ended ({ended:?}): {}", self.said());
        Ok(())
    }
}

impl Drop for Hired {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A look at the queue from this process.
#[derive(Debug)]
pub(crate) struct Look {
    runtime: tokio::runtime::Runtime,
    broker: std::sync::Arc<dyn Broker>,
    queue: QueueName,
}

impl Look {
    /// Opens a session.
    pub(crate) fn at(broker: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let broker = runtime.block_on(connect(&broker.parse()?))?;
        Ok(Self { runtime, broker, queue: work::queue()? })
    }

    /// Looks at another queue.
    pub(crate) fn of(self, queue: &str) -> Result<Self> {
        Ok(Self { queue: QueueName::new(queue)?, ..self })
    }

    /// The session, and what to use it with.
    pub(crate) fn with<F: Future>(
        &self,
        look: impl FnOnce(std::sync::Arc<dyn Broker>, QueueName) -> F,
    ) -> F::Output {
        self.runtime.block_on(look(std::sync::Arc::clone(&self.broker), self.queue.clone()))
    }

    /// Enqueues tasks.
    pub(crate) fn send<T: Task>(&self, tasks: impl IntoIterator<Item = (T, u32)>) -> Result<()> {
        let tasks = tasks
            .into_iter()
            .map(|(task, max_crashes)| Ok(manyhands::NewTask::of(&task)?.with_max_crashes(max_crashes)));
        let tasks: Vec<_> = tasks.collect::<Result<_>>()?;
        for part in tasks.chunks(256) {
            self.with(|broker, _| async move { broker.enqueue(part, None).await })?;
        }
        Ok(())
    }

    /// The queue as it stands.
    pub(crate) fn status(&self) -> Result<QueueStatus> {
        let status = self.with(|broker, queue| async move { broker.status(&queue).await })?;
        status.context("there is no queue")
    }

    /// Waits until this holds; fails with the worker, or when it takes too long.
    pub(crate) fn until(
        &self,
        worker: &mut Hired,
        within: Duration,
        holds: impl Fn(&QueueStatus) -> bool,
    ) -> Result<u64> {
        let until = now() + u64::try_from(within.as_nanos())?;
        loop {
            let queue = &self.queue;
            let broker = &self.broker;
            let status = self.runtime.block_on(async {
                let hint = broker.wait_for(Interest::Any, std::slice::from_ref(queue));
                let status = broker.status(queue).await?;
                if !status.as_ref().is_some_and(&holds) {
                    // Nothing tells of each change: it is looked at again soon.
                    let _ = tokio::time::timeout(Duration::from_millis(5), hint).await;
                }
                Ok::<_, manyhands::Error>(status)
            })?;
            if status.as_ref().is_some_and(&holds) {
                return Ok(now());
            }
            worker.check()?;
            ensure!(
                now() < until,
                "after {within:?} the queue has {status:?}; the worker said: {}",
                worker.said()
            );
        }
    }

    /// The pace of a worker from when a tenth of its tasks is settled to the end, tasks a second.
    pub(crate) fn pace(&self, worker: &mut Hired, tasks: u64, within: Duration) -> Result<f64> {
        let after = |settled: u64| move |status: &QueueStatus| status.unsettled() <= tasks - settled;
        let began = self.until(worker, within, after(tasks / 10))?;
        let left = self.status()?.unsettled();
        let ended = self.until(worker, within, after(tasks))?;
        Ok(rate(left, ended - began))
    }
}
