//! What is refused before any broker does I/O: what none accepts, and what this one does not claim to do.

mod checks;
mod claims;

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    BatchName, BatchStatus, Beat, Beaten, Broker, Cancel, Capabilities, Claim, ClaimReply, DeadLetters,
    DeadTask, Doctor, End, Enqueued, Error, Fsck, Holder, Incarnation, Interest, LiveWorker, Lookup, Mark,
    NewTask, Outcome, OutcomeWaiter, QueueName, QueueOptions, QueueStatus, Request, Result, Revived, Settled,
    Settlement, State, TaskDetail, TaskId, TaskPage, Token, Waiter, Why, WorkerReport, Workers, limits,
    machine::purged,
};
use checks::{check_batch, check_by, check_page, check_report, check_tasks};

/// Wraps a backend and refuses, before any I/O, what no broker accepts and what this one cannot do.
#[derive(Debug)]
pub struct Guard<B>(B);

impl<B: Broker> Guard<B> {
    /// Puts the guard around a backend.
    #[must_use]
    pub fn new(backend: B) -> Self {
        Self(backend)
    }
}

// A method that is forgotten here would silently go around the backend's own.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<B: Broker> Broker for Guard<B> {
    fn backend(&self) -> &'static str {
        self.0.backend()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn incarnation(&self) -> Incarnation {
        self.0.incarnation()
    }

    async fn declare(&self, queue: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        if let Some(options) = options {
            self.check_configuration("declare", queue, options)?;
        }
        self.0.declare(queue, options).await
    }

    async fn enqueue(&self, tasks: &[NewTask], token: Option<Token>) -> Result<Vec<Enqueued>> {
        check_batch("enqueue", tasks.len())?;
        check_tasks("enqueue", tasks.iter(), 0)?;
        self.check_supported("enqueue", tasks.iter())?;
        self.check_token(token)?;
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        self.0.enqueue(tasks, token).await
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReply> {
        if claim.max == 0 || claim.max > limits::MAX_BATCH {
            let max = limits::MAX_BATCH;
            return Err(Error::invalid(
                "claim",
                format!("a claim takes 1 to {max} tasks, not {}", claim.max),
            ));
        }
        self.check_lease("claim", claim.lease)?;
        self.0.claim(claim).await
    }

    async fn beat(&self, beats: &[Beat], lease: Duration) -> Result<Vec<Beaten>> {
        check_batch("beat", beats.len())?;
        self.check_lease("beat", lease)?;
        for beat in beats {
            self.check_progress(beat)?;
        }
        if beats.is_empty() {
            return Ok(Vec::new());
        }
        self.0.beat(beats, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        check_batch("settle", settlements.len())?;
        let completed = || {
            settlements.iter().filter_map(|settlement| match &settlement.end {
                End::Complete { children, result } => Some((settlement, children, result)),
                _ => None,
            })
        };
        let children = || completed().flat_map(|(_, children, _)| children);
        let results = completed().filter_map(|(settlement, _, result)| Some((settlement, result.as_ref()?)));
        let bytes = checks::check_results(results)?;
        check_tasks("settle", children(), bytes)?;
        self.check_supported("settle", children())?;
        for Settlement { lease, end } in settlements {
            if let End::Retry { delay, .. } | End::Crash { delay, .. } = end {
                self.check_delay(lease, *delay)?;
            }
        }
        if settlements.is_empty() {
            return Ok(Vec::new());
        }
        self.0.settle(settlements).await
    }

    async fn close(&self, queue: &QueueName) -> Result<()> {
        self.0.close(queue).await
    }

    async fn queues(&self, after: Option<&QueueName>, max: usize) -> Result<Vec<QueueName>> {
        check_page("queues", max)?;
        self.0.queues(after, max).await
    }

    async fn status(&self, queue: &QueueName) -> Result<Option<QueueStatus>> {
        self.0.status(queue).await
    }

    async fn pause(&self, queue: &QueueName, by: &str) -> Result<()> {
        check_by(by)?;
        self.check_control("pause", || format!("queue \"{queue}\" is to be paused"))?;
        self.0.pause(queue, by).await
    }

    async fn resume(&self, queue: &QueueName) -> Result<()> {
        self.check_control("resume", || format!("queue \"{queue}\" is to go on"))?;
        self.0.resume(queue).await
    }

    async fn cancel(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Cancel>> {
        check_batch("cancel", ids.len())?;
        self.check_control("cancel", || format!("tasks of queue \"{queue}\" are to be cancelled"))?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.0.cancel(queue, ids).await
    }

    async fn outcomes(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Outcome>> {
        check_batch("outcomes", ids.len())?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.0.outcomes(queue, ids).await
    }

    async fn batch(&self, batch: &BatchName) -> Result<Option<BatchStatus>> {
        self.check_control("batch", || format!("batch \"{batch}\" is asked about"))?;
        self.0.batch(batch).await
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        self.0.dead_letters().map(|_| self as &dyn DeadLetters)
    }

    fn lookup(&self) -> Option<&dyn Lookup> {
        self.0.lookup().map(|_| self as &dyn Lookup)
    }

    async fn max_run(&self) -> Result<Option<Duration>> {
        self.0.max_run().await
    }

    fn doctor(&self) -> Option<&dyn Doctor> {
        self.0.doctor()
    }

    fn fsck(&self) -> Option<&dyn Fsck> {
        self.0.fsck()
    }

    fn workers(&self) -> Option<&dyn Workers> {
        self.0.workers().map(|_| self as &dyn Workers)
    }

    fn wait(&self, queues: &[QueueName]) -> Waiter {
        self.wait_for(Interest::Any, queues)
    }

    fn wait_for(&self, interest: Interest, queues: &[QueueName]) -> Waiter {
        self.0.wait_for(interest, queues)
    }

    fn wait_for_outcome(&self, task: &NewTask) -> Option<OutcomeWaiter> {
        self.0.wait_for_outcome(task)
    }

    async fn withdraw(&self) -> Result<()> {
        self.0.withdraw().await
    }

    async fn rebuild(&self) {
        self.0.rebuild().await;
    }
}

#[async_trait]
impl<B: Broker> DeadLetters for Guard<B> {
    async fn list(&self, queue: &QueueName, after: Option<u64>, max: usize) -> Result<Vec<DeadTask>> {
        check_page("list", max)?;
        self.dead("list")?.list(queue, after, max).await
    }

    async fn revive(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Revived>> {
        check_batch("revive", ids.len())?;
        self.dead("revive")?.revive(queue, ids).await
    }

    async fn purge(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<bool>> {
        check_batch("purge", ids.len())?;
        self.dead("purge")?.purge(queue, ids).await
    }
}

#[async_trait]
impl<B: Broker> Lookup for Guard<B> {
    async fn get(&self, queue: &QueueName, id: &TaskId) -> Result<Option<TaskDetail>> {
        self.look("get")?.get(queue, id).await
    }

    async fn list(
        &self,
        queue: &QueueName,
        state: State,
        after: Option<&Mark>,
        max: usize,
    ) -> Result<TaskPage> {
        check_page("list", max)?;
        self.look("list")?.list(queue, state, after, max).await
    }

    async fn why(&self, queue: &QueueName, id: &TaskId) -> Result<Why> {
        self.look("why")?.why(queue, id).await
    }

    async fn holders(&self, incarnations: &[Incarnation]) -> Result<Vec<Option<Holder>>> {
        check_batch("holders", incarnations.len())?;
        if incarnations.is_empty() {
            return Ok(Vec::new());
        }
        self.look("holders")?.holders(incarnations).await
    }

    async fn set(&self, queue: &QueueName, options: &QueueOptions, revision: u64) -> Result<QueueStatus> {
        self.check_configuration("set", queue, options)?;
        self.look("set")?.set(queue, options, revision).await
    }

    async fn purge(&self, queue: &QueueName, states: &[State], max: usize) -> Result<u64> {
        check_page("purge", max)?;
        purged(states)?;
        self.look("purge")?.purge(queue, states, max).await
    }
}

#[async_trait]
impl<B: Broker> Workers for Guard<B> {
    async fn report(&self, report: &WorkerReport) -> Result<Request> {
        check_report(report)?;
        self.seen("report")?.report(report).await
    }

    async fn leave(&self) -> Result<()> {
        self.seen("leave")?.leave().await
    }

    async fn live(&self, after: Option<Incarnation>, max: usize) -> Result<Vec<LiveWorker>> {
        check_page("live", max)?;
        self.seen("live")?.live(after, max).await
    }

    async fn drain(&self, worker: Incarnation) -> Result<bool> {
        self.seen("drain")?.drain(worker).await
    }
}
