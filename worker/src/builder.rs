//! What a worker is told before it is built.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use manyhands_broker::{Broker, Error, ErrorKind, QueueName, Result, limits};

use crate::{App, Observer, Worker, observer::Nobody, turns::Served, worker::Settings};

/// How many async tasks run at a time in a process unless told otherwise.
const CONCURRENCY: usize = 100;

/// The most async tasks at a time.
const MAX_SLOTS: usize = 10_000;

/// How long running tasks get after the order to stop.
const GRACE: Duration = Duration::from_secs(30);

/// The most blocking tasks at a time: as many threads as the runtime gives unless told otherwise.
pub(crate) const MAX_THREADS: usize = 512;

/// Describes a worker before it is built.
#[derive(Debug)]
#[must_use = "a worker does nothing before it is built and run"]
pub struct WorkerBuilder {
    broker: Arc<dyn Broker>,
    app: App,
    queues: Vec<(QueueName, u32)>,
    settings: Settings,
}

impl Worker {
    /// Begins to describe a worker on a session with a broker.
    pub fn builder(broker: Arc<dyn Broker>) -> WorkerBuilder {
        WorkerBuilder {
            broker,
            app: App::new(),
            queues: Vec::new(),
            settings: Settings {
                strict: false,
                concurrency: CONCURRENCY,
                threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
                processes: usize::MAX,
                lease: limits::LEASE,
                grace: GRACE,
                until_ended: false,
                observer: Arc::new(Nobody),
                supervisor: None,
                begun: Arc::default(),
            },
        }
    }
}

impl WorkerBuilder {
    /// Sets the handlers.
    pub fn app(mut self, app: App) -> Self {
        self.app = app;
        self
    }

    /// Serves these queues, each with a weight, instead of those that its handlers name.
    pub fn queues(mut self, queues: Vec<(QueueName, u32)>) -> Self {
        self.queues = queues;
        self
    }

    /// Serves the queues strictly in their order: from a later one only what all before it leave.
    pub fn strict(mut self, strict: bool) -> Self {
        self.settings.strict = strict;
        self
    }

    /// Sets how many async tasks run at a time; 100 unless told otherwise, at most 10 000.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.settings.concurrency = concurrency;
        self
    }

    /// Sets how many blocking tasks run at a time; one a core unless told otherwise, at most 512.
    pub fn threads(mut self, threads: usize) -> Self {
        self.settings.threads = threads;
        self
    }

    /// Sets how many tasks run in processes at a time, all handlers together; as many as they have processes unless told otherwise.
    #[cfg(feature = "cli")]
    pub(crate) fn processes(mut self, processes: usize) -> Self {
        self.settings.processes = processes;
        self
    }

    /// Sets how long leases last, 30 s unless told otherwise: how long it takes at most until the others notice that this
    /// process is stopped, or its host is gone. It never bounds how long a task may run.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// Sets how long running tasks get after the order to stop; 30 s unless told otherwise.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// Ends the worker when all its queues are closed and joined.
    pub fn until_ended(mut self, until_ended: bool) -> Self {
        self.settings.until_ended = until_ended;
        self
    }

    /// Notes that it was started by a supervisor, whose pid this is, and lets that know when it has begun to claim.
    #[cfg(feature = "cli")]
    pub(crate) fn supervised(mut self, supervisor: u32, begun: Arc<tokio::sync::SetOnce<()>>) -> Self {
        (self.settings.supervisor, self.settings.begun) = (Some(supervisor), begun);
        self
    }

    /// Lets somebody watch.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.settings.observer = observer;
        self
    }

    /// Builds the worker.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when there is no handler, or two of one name, or a name or a number is out of range;
    /// [`ErrorKind::Unsupported`] when the broker cannot have leases as long.
    pub fn build(self) -> Result<Worker> {
        let app = self.app.checked()?;
        for (what, slots) in [("async", self.settings.concurrency), ("blocking", self.settings.threads)] {
            let most = if what == "async" { MAX_SLOTS } else { MAX_THREADS };
            if !(1..=most).contains(&slots) {
                let message = format!("a worker runs 1 to {most} {what} tasks at a time, not {slots}");
                return Err(Error::invalid("build", message));
            }
        }
        if !(limits::MIN_LEASE..=limits::MAX_LEASE).contains(&self.settings.lease) {
            return Err(Error::invalid("build", "a lease lasts 100 ms to 24 h"));
        }
        let (lease, longest) = (self.settings.lease, self.broker.capabilities().max_lease());
        if lease > longest {
            let message =
                format!("a lease of {} s is too long for {}", lease.as_secs(), self.broker.backend());
            return Err(Error::new(ErrorKind::Unsupported, "build", message).advise(format!(
                "a lease of {} s at most; it never bounds how long a task may run",
                longest.as_secs()
            )));
        }
        app.crew.set_threads(self.settings.threads);
        let named = app.queues().into_iter().map(|queue| (queue, 1));
        let queues: Vec<_> = if self.queues.is_empty() { named.collect() } else { self.queues };
        if let Some((queue, _)) = queues.iter().find(|(_, weight)| *weight == 0) {
            return Err(Error::invalid(
                "build",
                format!("queue \"{queue}\" has weight 0, so it would never be served"),
            ));
        }
        let served = queues.into_iter().map(|(queue, weight)| Served {
            weight,
            mode: app.mode_of(&queue),
            feeds: app.feeds_of(&queue),
            queue,
        });
        Ok(Worker {
            broker: self.broker,
            served: served.collect(),
            app: Arc::new(app),
            settings: self.settings,
        })
    }
}
