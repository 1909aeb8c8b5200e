//! A worker: run, ended.

use std::{sync::Arc, time::Duration};

use manyhands_broker::{Broker, Error, ErrorKind, QueueName, Result, write_duration};
use tokio::{
    sync::{SetOnce, mpsc},
    task::JoinError,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    App, Observer, Shutdown,
    beats::Beats,
    claims::{Claims, PAUSES, Solitude},
    handler::Mode,
    leases::Leases,
    presence::{LEAVING, Presence},
    run_time,
    settler::{self, Settler},
    slots::Slots,
    turns::{Served, Turns},
    watchdog::{Reports, Watchdog},
};

/// How long stopped handlers get to be given back.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// What is left as it is told.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) strict: bool,
    pub(crate) concurrency: usize,
    pub(crate) threads: usize,
    /// The most processes at a time, of all handlers together.
    pub(crate) processes: usize,
    pub(crate) lease: Duration,
    pub(crate) grace: Duration,
    pub(crate) until_ended: bool,
    pub(crate) observer: Arc<dyn Observer>,
    /// The pid of its supervisor.
    pub(crate) supervisor: Option<u32>,
    /// Set when it has begun to claim.
    pub(crate) begun: Arc<SetOnce<()>>,
}

/// Takes tasks, runs their handlers, settles them.
#[derive(Debug)]
pub struct Worker {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) app: Arc<App>,
    pub(crate) served: Vec<Served>,
    pub(crate) settings: Settings,
}

/// What is left when a worker ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Blocking handlers that were told to stop and still run. Their tasks are taken back when the process ends.
    pub strays: usize,
}

impl Worker {
    /// The queues, handlers and slots, in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        let queue = |served: &Served| match served.weight {
            1 => served.queue.to_string(),
            weight => format!("{}:{weight}", served.queue),
        };
        let queues: Vec<_> = self.served.iter().map(queue).collect();
        let handlers: Vec<_> = self.app.handlers.keys().map(ToString::to_string).collect();
        let Settings { concurrency, threads, .. } = &self.settings;
        let (queues, handlers) = (queues.join(","), handlers.join(","));
        let processes = match self.processes() {
            0 => String::new(),
            processes => format!(", {processes} processes"),
        };
        format!(
            "queues {queues}; handlers {handlers}; slots {concurrency} async, {threads} blocking{processes}"
        )
    }

    /// Runs until told to end by `shutdown`, or until its queues ended if it was built so.
    ///
    /// # Errors
    /// What declaring the configured queues, or claiming, fails with, where trying again does not help. [`ErrorKind::Unsupported`] when a handler's own
    /// limit is longer than the broker lets a task run ([`Broker::max_run`]). [`ErrorKind::Unavailable`]
    /// when tasks are ready and slots are free, but nothing comes for about a minute and a half, in which the session was rebuilt three
    /// times: then only another process may help. Tasks that run then get the same grace as after an order to stop.
    ///
    /// # Cancel safety
    /// Not cancel safe: handlers would go on without anybody to settle them. Use `shutdown`.
    pub async fn run(self, shutdown: &Shutdown) -> Result<Summary> {
        // Somebody may ask this worker alone to drain.
        let shutdown = &shutdown.child();
        if !self.declare(shutdown).await? {
            return Ok(Summary::default());
        }
        let max_run = tokio::select! {
            max_run = self.max_run() => max_run?,
            // The broker may not answer at all.
            () = shutdown.aborting() => return Ok(Summary::default()),
        };
        let processes = self.app.process_slots().min(self.settings.processes);
        let presence = Arc::new(self.presence(shutdown));
        let Settings { strict, concurrency, threads, lease, grace, until_ended, observer, .. } =
            self.settings;
        let slots = Slots::new(concurrency, threads, processes);
        let leases = Arc::new(Leases::default());
        let (broker, told) = (Arc::clone(&self.broker), Arc::clone(&presence));
        let _beats =
            Beats::start(broker, Arc::clone(&leases), lease, told, Arc::clone(&slots)).map_err(|e| {
                Error::new(ErrorKind::Unavailable, "run", "no thread can be started for renewing leases")
                    .because(e)
            })?;
        let (settler, ended) = mpsc::unbounded_channel();
        let settling = Settler {
            broker: Arc::clone(&self.broker),
            observer: Arc::clone(&observer),
            slots: concurrency.max(threads),
            // What is claimed while the next queue is full must have seen what was settled before.
            early: self.served.iter().all(|served| served.feeds.is_empty()),
        };
        let settling = settler::settle_for_ever(settling, ended);
        let settling = tokio::spawn(settling);
        let reports = Arc::new(Reports::new(self.served.len()));
        let queues = self.served.iter().map(|served| served.queue.clone()).collect();
        let watchdog = Watchdog::new(Arc::clone(&self.broker), queues, Arc::clone(&reports));
        let broker = Arc::clone(&self.broker);
        let mut claims = Claims {
            broker: self.broker,
            app: self.app,
            turns: Turns::new(self.served, strict),
            lease,
            max_run,
            slots: Arc::clone(&slots),
            leases: Arc::clone(&leases),
            observer,
            settler,
            solitude: Solitude::default(),
            reports,
            presence: Arc::clone(&presence),
        };
        // A task of the runtime's own, like those that it starts: they begin on its thread, without another one being woken. A worker
        // is often awaited by a thread that runs no tasks.
        let told = shutdown.clone();
        let mut claiming =
            AbortOnDropHandle::new(tokio::spawn(async move { claims.run(&told, until_ended).await }));
        let result = tokio::select! {
            result = &mut claiming => result.unwrap_or_else(rethrow),
            // In the middle of a claim that is not answered: what it still gets is taken back with this session.
            () = shutdown.aborting() => {
                claiming.abort();
                claiming.await.unwrap_or_else(rethrow)
            }
            stalled = watchdog.watch() => {
                claiming.abort();
                claiming.await.unwrap_or_else(rethrow).and(Err(stalled))
            }
        };
        let withdraw = async {
            const WAITS: &str = "what was sent ahead to this worker may wait until its leases run out";
            tokio::select! {
                () = shutdown.aborting() => {}
                withdrawn = tokio::time::timeout(LEAVING, broker.withdraw()) => match withdrawn {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(error = %error.report(), "{WAITS}"),
                    Err(_) => tracing::warn!("the broker did not answer in time: {WAITS}"),
                }
            }
        };
        let (strays, ()) = tokio::join!(finish(&slots, &leases, shutdown, grace), withdraw);
        settling.abort();
        presence.leave().await;
        result.map(|()| Summary { strays })
    }
}

impl Worker {
    /// How long running tasks get after the order to stop.
    #[cfg(feature = "cli")]
    pub(crate) fn grace(&self) -> Duration {
        self.settings.grace
    }

    /// The queues that it serves.
    pub(crate) fn queues(&self) -> Vec<QueueName> {
        self.served.iter().map(|served| served.queue.clone()).collect()
    }

    /// How many tasks it can run at a time: the slots that its handlers use.
    pub(crate) fn slots(&self) -> usize {
        let uses = |mode| self.app.handlers.values().any(|registered| registered.handler.mode() == mode);
        let Settings { concurrency, threads, .. } = self.settings;
        let all = [
            (Mode::Async, concurrency),
            (Mode::Blocking, threads),
            (Mode::Function, threads),
            (Mode::Process, self.processes()),
        ];
        all.iter().filter(|(mode, _)| uses(*mode)).map(|(_, slots)| slots).sum()
    }

    /// How many processes run handlers at a time.
    fn processes(&self) -> usize {
        self.app.processes().min(self.settings.processes)
    }

    /// What it tells of itself when it begins.
    fn presence(&self, shutdown: &Shutdown) -> Presence {
        let Settings { supervisor, begun, .. } = &self.settings;
        let handlers = self.app.handlers.keys().cloned().collect();
        let presence = Presence::new(self.queues(), handlers, self.slots(), shutdown.clone());
        presence.with(*supervisor, Arc::clone(begun))
    }

    /// Asks how long a run may take, says so, and refuses handlers that are to take longer.
    async fn max_run(&self) -> Result<Option<Duration>> {
        let Some(longest) = self.broker.max_run().await? else { return Ok(None) };
        for (name, registered) in &self.app.handlers {
            let what = || format!("task \"{name}\"");
            run_time::fits("run", what, registered.handler.run_limit(), longest, self.broker.backend())?;
        }
        let (written, backend) = (write_duration(longest), self.broker.backend());
        tracing::warn!(
            "{backend} takes a task away that runs for too long, so each run is stopped after {written}"
        );
        Ok(Some(longest))
    }

    /// Declares the queues that the app configures, for as long as it takes; tells whether it did so before it was told to
    /// end.
    async fn declare(&self, shutdown: &Shutdown) -> Result<bool> {
        let mut pause = PAUSES.0;
        for (queue, options) in &self.app.options {
            loop {
                let declared = tokio::select! {
                    declared = self.broker.declare(queue, Some(options)) => declared,
                    // The broker may not answer at all.
                    () = shutdown.aborting() => return Ok(false),
                };
                match declared {
                    Ok(_) => break,
                    Err(error) if error.is_retryable() => {
                        tracing::warn!(%queue, error = %error.report(), "the queue is not declared; trying again");
                    }
                    Err(error) => return Err(error),
                }
                tokio::select! {
                    () = shutdown.stopping() => return Ok(false),
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSES.1),
                }
            }
        }
        Ok(true)
    }
}

/// A panic of the claim loop goes on where the worker is awaited; nobody else ends it before it has ended.
fn rethrow(error: JoinError) -> Result<()> {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Ok(()),
    }
}

/// Lets running tasks end, then stops those that do not; tells how many went on all the same.
async fn finish(slots: &Slots, leases: &Leases, shutdown: &Shutdown, grace: Duration) -> usize {
    tokio::select! {
        () = slots.idle() => return 0,
        () = shutdown.aborting() => {}
        () = tokio::time::sleep(grace) => {}
    }
    leases.cancel_all();
    // What is still under way after that is a thread that does not listen, or a broker that does not answer.
    let _ = tokio::time::timeout(GIVE_BACK, slots.idle()).await;
    slots.counts().running
}
