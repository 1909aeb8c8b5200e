//! What a pool is told before it is started.

use std::{
    num::NonZeroUsize,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use manyhands_broker::{BrokerUrl, Error, ErrorKind, QueueName, Result, limits};
use manyhands_worker::function::{self, Function, name_of};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

use super::{Line, Pool, Shared, place, workers};
use crate::{
    home::{home, home_of_any, registered},
    serve::Call,
    wire,
};

/// The most processes of a pool.
const MOST: usize = 1024;

/// How long calls wait for a broker, or a worker.
const PATIENCE: Duration = Duration::from_secs(30);

/// What becomes of a call whose process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnCrash {
    /// It is given to another process; when so many have died of it, its result is [`CallError::Crashed`](crate::CallError::Crashed). It
    /// runs more than once then. Of a chunk, each call is given to another process by itself.
    Rerun {
        /// After how many crashes it is given up; at least 1.
        max_crashes: u32,
    },
    /// Its result is [`CallError::Crashed`](crate::CallError::Crashed) at once: no call runs twice. All calls of a chunk have the same
    /// end.
    Fail,
}

/// Describes a pool before it is started.
#[derive(Debug)]
#[must_use = "a pool is started by build()"]
pub struct PoolBuilder {
    processes: Option<usize>,
    pub(super) on_crash: OnCrash,
    pub(super) most_tasks: Option<u32>,
    pub(super) run_limit: Option<Duration>,
    initializer: Result<Option<Call>>,
    queue: Option<String>,
    patience: Option<Duration>,
}

/// What the places of a pool are to know.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) on_crash: OnCrash,
    pub(super) most_tasks: Option<u32>,
    pub(super) run_limit: Option<Duration>,
    pub(super) initializer: Option<Call>,
}

impl PoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            processes: None,
            on_crash: OnCrash::Rerun { max_crashes: 3 },
            most_tasks: None,
            run_limit: None,
            initializer: Ok(None),
            queue: None,
            patience: None,
        }
    }

    /// Sets how many processes of this box it has, 1 to 1024; one a core unless this says otherwise.
    pub fn processes(mut self, processes: usize) -> Self {
        self.processes = Some(processes);
        self
    }

    /// Lets every process call a function before all else. If that panics, the pool is of no use, and all calls say so.
    pub fn initializer<A, F>(mut self, function: F, args: A) -> Self
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<A>,
    {
        let name = registered(name_of(&function), std::any::type_name::<F>(), "function({})");
        self.initializer = name.and_then(|name| {
            let calls = serde_json::value::to_raw_value(&[args])
                .map_err(|e| Error::invalid("start", "the arguments cannot be written as JSON").because(e))?;
            Ok(Some(Call { function: name.as_str().to_owned(), calls }))
        });
        self
    }

    /// Replaces a process after so many chunks: Python's `maxtasksperchild`. They are not replaced unless this is said.
    pub fn max_tasks_per_child(mut self, chunks: u32) -> Self {
        self.most_tasks = Some(chunks);
        self
    }

    /// Says what becomes of a call whose process dies; it is given to another process, three times, unless this says otherwise.
    pub fn on_crash(mut self, on_crash: OnCrash) -> Self {
        self.on_crash = on_crash;
        self
    }

    /// Kills a process that runs a chunk for longer than this; all of its calls are [`CallError::RanTooLong`](crate::CallError::RanTooLong). There is no limit unless this is said.
    pub fn run_limit(mut self, run_limit: Duration) -> Self {
        self.run_limit = Some(run_limit);
        self
    }

    /// Sets the queue of a pool over workers; `pool` unless this says otherwise.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Sets how long calls of a pool over workers wait for a broker that cannot be reached, and for a worker where none is alive, before they
    /// fail; 30 s unless this says otherwise.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Opens a pool over the workers of a broker; returns when it is connected. What is said of processes is not for such a pool, and refused:
    /// an initializer, how many tasks they do, [`OnCrash::Fail`]. A run limit ends a call whose worker has the function in a process of its own; of others it
    /// is told when they return.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for what such a pool cannot have; what [`connect`](manyhands_broker::connect) says.
    pub fn connect(self, url: &BrokerUrl) -> Result<Pool> {
        let unsupported = |what: &str, advice: &str| {
            let message = format!("a pool over workers has no {what}");
            Err(Error::new(ErrorKind::Unsupported, "connect", message).advise(advice))
        };
        if self.processes.is_some() {
            return unsupported(
                "number of processes",
                "start as many workers as are wanted, or give worker --processes",
            );
        }
        if self.initializer?.is_some() {
            return unsupported(
                "initializer",
                "let the worker's program do it before it calls manyhands::main",
            );
        }
        if self.most_tasks.is_some() {
            return unsupported(
                "number of tasks a process does",
                "configure it in the workers: max_tasks_per_child",
            );
        }
        let OnCrash::Rerun { max_crashes } = self.on_crash else {
            return unsupported(
                "OnCrash::Fail",
                "make the function safe to be called twice, and use OnCrash::Rerun",
            );
        };
        checked(self.on_crash, None, self.run_limit)?;
        let queue = QueueName::new(self.queue.as_deref().unwrap_or(function::QUEUE))?;
        let home = home_of_any()?;
        let (url, of) = (url.clone(), queue.clone());
        let (broker, slots) = home.wait(workers::open(url, of))??;
        let (line, killing) = (Arc::new(Line::new(1)), CancellationToken::new());
        let terms = workers::Terms {
            max_crashes,
            run_limit: self.run_limit,
            patience: self.patience.unwrap_or(PATIENCE),
        };
        let workers = workers::Workers::new(broker, queue, Arc::clone(&line), terms, killing.clone());
        home.note(&line);
        home.runtime.spawn(workers.work());
        Ok(Pool { shared: Arc::new(Shared { line, hands: slots, most: limits::MAX_PAYLOAD, killing }) })
    }

    /// Starts the pool: returns at once, while its processes start.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when a number is out of range, the initializer is not registered, the
    /// program does not begin with [`main`](crate::main), or this process is a daemon.
    pub fn build(self) -> Result<Pool> {
        let one_a_core = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let processes = self.processes.unwrap_or_else(one_a_core);
        if !(1..=MOST).contains(&processes) {
            return Err(Error::invalid(
                "start",
                format!("a pool has 1 to {MOST} processes, not {processes}"),
            ));
        }
        checked(self.on_crash, self.most_tasks, self.run_limit)?;
        if self.queue.is_some() || self.patience.is_some() {
            let error = Error::invalid(
                "start",
                "a pool of processes of this box has no queue, and waits for no workers",
            );
            return Err(
                error.advise("leave queue() and patience() out, or use connect(url) instead of build()")
            );
        }
        let terms = Terms {
            on_crash: self.on_crash,
            most_tasks: self.most_tasks,
            run_limit: self.run_limit,
            initializer: self.initializer?,
        };
        let home = home()?;
        let (line, killing) = (Arc::new(Line::new(processes)), CancellationToken::new());
        home.note(&line);
        let ready = Arc::new(AtomicUsize::new(0));
        for number in 1..=processes {
            let place = place::Place::new(
                home,
                number,
                Arc::clone(&line),
                terms.clone(),
                killing.clone(),
                Arc::clone(&ready),
            );
            home.runtime.spawn(place.keep());
        }
        Ok(Pool { shared: Arc::new(Shared { line, hands: processes, most: wire::MOST, killing }) })
    }
}

/// Refuses numbers that let nothing run.
fn checked(on_crash: OnCrash, most_tasks: Option<u32>, run_limit: Option<Duration>) -> Result<()> {
    if most_tasks == Some(0) || on_crash == (OnCrash::Rerun { max_crashes: 0 }) {
        return Err(Error::invalid("start", "tasks per child, and crashes, are at least 1"));
    }
    if run_limit == Some(Duration::ZERO) {
        let error = Error::invalid("start", "a run limit of 0 lets nothing run");
        return Err(error.advise("leave it out, or give it a length"));
    }
    Ok(())
}
