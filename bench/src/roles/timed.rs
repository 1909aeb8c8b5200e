//! A broker whose claims are timed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use manyhands_broker::{
    BatchName, BatchStatus, Beat, Beaten, Broker, Cancel, Capabilities, Claim, ClaimReply, DeadLetters,
    Doctor, Enqueued, Fsck, Incarnation, Interest, Lookup, NewTask, Outcome, OutcomeWaiter, QueueName,
    QueueOptions, QueueStatus, Result, Settled, Settlement, TaskId, Token, Waiter, Workers,
};

/// Hands every call on, and notes the longest claim.
#[derive(Debug)]
pub(super) struct Timed {
    inner: Arc<dyn Broker>,
    longest: AtomicU64,
}

impl Timed {
    pub(super) fn new(inner: Arc<dyn Broker>) -> Self {
        Self { inner, longest: AtomicU64::new(0) }
    }

    /// The longest time that a claim took, in nanoseconds.
    pub(super) fn longest(&self) -> u64 {
        self.longest.load(Ordering::Relaxed)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Broker for Timed {
    fn backend(&self) -> &'static str {
        self.inner.backend()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn incarnation(&self) -> Incarnation {
        self.inner.incarnation()
    }

    async fn declare(&self, queue: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        self.inner.declare(queue, options).await
    }

    async fn enqueue(&self, tasks: &[NewTask], token: Option<Token>) -> Result<Vec<Enqueued>> {
        self.inner.enqueue(tasks, token).await
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReply> {
        let began = Instant::now();
        let reply = self.inner.claim(claim).await;
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.longest.fetch_max(took, Ordering::Relaxed);
        reply
    }

    async fn beat(&self, beats: &[Beat], lease: Duration) -> Result<Vec<Beaten>> {
        self.inner.beat(beats, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.inner.settle(settlements).await
    }

    async fn close(&self, queue: &QueueName) -> Result<()> {
        self.inner.close(queue).await
    }

    async fn queues(&self, after: Option<&QueueName>, max: usize) -> Result<Vec<QueueName>> {
        self.inner.queues(after, max).await
    }

    async fn status(&self, queue: &QueueName) -> Result<Option<QueueStatus>> {
        self.inner.status(queue).await
    }

    async fn max_run(&self) -> Result<Option<Duration>> {
        self.inner.max_run().await
    }

    fn doctor(&self) -> Option<&dyn Doctor> {
        self.inner.doctor()
    }

    fn fsck(&self) -> Option<&dyn Fsck> {
        self.inner.fsck()
    }

    async fn pause(&self, queue: &QueueName, by: &str) -> Result<()> {
        self.inner.pause(queue, by).await
    }

    async fn resume(&self, queue: &QueueName) -> Result<()> {
        self.inner.resume(queue).await
    }

    async fn cancel(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Cancel>> {
        self.inner.cancel(queue, ids).await
    }

    async fn outcomes(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Outcome>> {
        self.inner.outcomes(queue, ids).await
    }

    async fn batch(&self, batch: &BatchName) -> Result<Option<BatchStatus>> {
        self.inner.batch(batch).await
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        self.inner.dead_letters()
    }

    fn lookup(&self) -> Option<&dyn Lookup> {
        self.inner.lookup()
    }

    fn wait(&self, queues: &[QueueName]) -> Waiter {
        self.inner.wait(queues)
    }

    fn workers(&self) -> Option<&dyn Workers> {
        self.inner.workers()
    }

    fn wait_for(&self, interest: Interest, queues: &[QueueName]) -> Waiter {
        self.inner.wait_for(interest, queues)
    }

    fn wait_for_outcome(&self, task: &NewTask) -> Option<OutcomeWaiter> {
        self.inner.wait_for_outcome(task)
    }

    async fn withdraw(&self) -> Result<()> {
        self.inner.withdraw().await
    }

    async fn rebuild(&self) {
        self.inner.rebuild().await;
    }
}
