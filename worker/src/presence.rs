//! What a worker tells of itself, every other second: to who lists workers, and to health checks. Nothing here decides anything about a
//! task.
//!
//! Told from the thread that renews leases: a worker whose handlers block its runtime is still seen, with a last claim that is long ago.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use manyhands_broker::{
    Broker, Error, LastClaim, QueueName, Request, RunningTask, TaskName, WorkerReport, limits,
};

use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use crate::{Shutdown, leases::Leases, slots::Slots};

/// How often it tells. What somebody asks of it is heard so much later at most.
const EVERY: Duration = Duration::from_secs(2);

/// How long the broker may take to hear that a worker claims no more, or has ended; it falls silent anyway.
pub(crate) const LEAVING: Duration = Duration::from_secs(1);

/// The longest text of an error that is told, in bytes.
const MAX_ERROR: usize = 512;

/// What is known of a worker while it runs.
#[derive(Debug)]
pub(crate) struct Presence {
    began: Instant,
    queues: Vec<QueueName>,
    handlers: Vec<TaskName>,
    slots: usize,
    shutdown: Shutdown,
    supervisor: Option<u32>,
    /// Set when a claim was answered for the first time.
    begun: Arc<SetOnce<()>>,
    claims: Mutex<Claims>,
    /// The worker has ended, and so does what tells of it.
    ended: CancellationToken,
    /// The broker has forgotten the worker, as far as it answers.
    left: CancellationToken,
}

/// What became of its claims.
#[derive(Debug, Default)]
struct Claims {
    answered: Option<Instant>,
    error: Option<String>,
    held_back: bool,
}

impl Presence {
    /// A worker that begins now, serves these queues, has these handlers and so many slots, and ends by `shutdown`.
    pub(crate) fn new(
        queues: Vec<QueueName>,
        handlers: Vec<TaskName>,
        slots: usize,
        shutdown: Shutdown,
    ) -> Self {
        let (began, claims) = (Instant::now(), Mutex::default());
        let (ended, left) = (CancellationToken::new(), CancellationToken::new());
        let (supervisor, begun) = (None, Arc::default());
        Self { began, queues, handlers, slots, shutdown, supervisor, begun, claims, ended, left }
    }

    /// With the pid of its supervisor, if it has one, and what is to be set when it has begun to claim.
    pub(crate) fn with(self, supervisor: Option<u32>, begun: Arc<SetOnce<()>>) -> Self {
        Self { supervisor, begun, ..self }
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims were answered; or none was made, as nothing more can be run at present.
    pub(crate) fn claimed(&self, any: bool) {
        let mut claims = self.claims();
        claims.held_back = !any;
        if any {
            (claims.answered, claims.error) = (Some(Instant::now()), None);
            // Only the first time counts.
            let _ = self.begun.set(());
        }
    }

    /// A claim failed.
    pub(crate) fn failed(&self, error: &Error) {
        let mut text = error.report();
        text.truncate(text.floor_char_boundary(MAX_ERROR));
        let mut claims = self.claims();
        (claims.error, claims.held_back) = (Some(text), false);
    }

    /// Tells of the worker again and again until it has ended, and lets it drain when somebody asked for that.
    pub(crate) async fn tell(&self, broker: &dyn Broker, leases: &Leases, slots: &Slots) {
        let _left = self.left.clone().drop_guard();
        let Some(workers) = broker.workers() else { return };
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = true;
        loop {
            tokio::select! {
                biased;
                () = self.ended.cancelled() => break,
                _ = ticks.tick() => {}
                // Others should know soon that it drains.
                () = self.shutdown.stopping(), if told && !self.shutdown.is_stopping() => {}
            }
            // Driven to its end, whatever happens: one that comes after the worker has left would put it on the list again.
            match workers.report(&self.report(leases, slots)).await {
                Ok(request) => {
                    told = true;
                    if request == Request::Drain && !self.shutdown.is_stopping() {
                        tracing::info!(
                            running = slots.counts().running,
                            "somebody asked this worker to drain: it claims nothing more, and ends when what runs has ended"
                        );
                        self.shutdown.stop();
                    }
                }
                // Whatever is wrong with the broker, the claims say so.
                Err(error) => {
                    if std::mem::take(&mut told) {
                        tracing::debug!(error = %error.report(), "nobody can see this worker");
                    }
                }
            }
        }
        if let Err(error) = workers.leave().await {
            tracing::debug!(error = %error.report(), "this worker is listed until it has been silent for a while");
        }
    }

    /// Ends what tells of the worker, and waits until the broker has forgotten it, if that answers in time.
    pub(crate) async fn leave(&self) {
        self.ended.cancel();
        let _ = tokio::time::timeout(LEAVING, self.left.cancelled()).await;
    }

    fn report(&self, leases: &Leases, slots: &Slots) -> WorkerReport {
        let mut report = WorkerReport::here();
        report.up = self.began.elapsed();
        report.queues = self.queues.iter().take(limits::MAX_TOLD).cloned().collect();
        report.handlers = self.handlers.iter().take(limits::MAX_TOLD).cloned().collect();
        report.slots = self.slots;
        report.running = slots.counts().running;
        report.tasks = leases.longest(limits::MAX_TOLD);
        report.draining = self.shutdown.is_stopping();
        report.supervisor = self.supervisor;
        let claims = self.claims();
        let answered = claims.answered.map(|at| at.elapsed());
        report.last_claim =
            LastClaim::new(answered, claims.error.clone(), claims.held_back || report.draining);
        report
    }
}

impl Leases {
    /// The tasks that have been running for the longest time, those first, at most `max`.
    fn longest(&self, max: usize) -> Vec<RunningTask> {
        let mut running = self.running();
        running.sort_by_key(|(began, ..)| *began);
        let task = |(began, lease, name): (Instant, manyhands_broker::Lease, TaskName)| {
            RunningTask::new(lease.queue, lease.id, name, began.elapsed())
        };
        running.into_iter().take(max).map(task).collect()
    }
}

#[cfg(test)]
mod tests {
    use manyhands_broker::ErrorKind;

    use super::*;

    #[test]
    fn what_became_of_the_last_claim_is_told() {
        let presence = Presence::new(Vec::new(), Vec::new(), 3, Shutdown::new());
        let (leases, slots) = (Leases::default(), Slots::new(1, 1, 1));
        let told = || presence.report(&leases, &slots).last_claim;
        assert_eq!(told(), LastClaim::default());
        presence.failed(&Error::new(ErrorKind::Unavailable, "claim", "\u{e9}".repeat(MAX_ERROR)));
        let error = told().error.unwrap();
        assert!((MAX_ERROR - 1..=MAX_ERROR).contains(&error.len()), "{}", error.len());
        presence.claimed(false);
        assert!(
            told().held_back && told().error.is_some() && told().answered.is_none(),
            "none was made since"
        );
        presence.claimed(true);
        assert!(!told().held_back && told().error.is_none() && told().answered.is_some());
        presence.shutdown.stop();
        assert!(told().held_back, "no further claim is due");
    }
}
