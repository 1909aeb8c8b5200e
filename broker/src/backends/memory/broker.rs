//! The contract, by calling the machine.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::MemoryBroker;
use crate::{
    BatchName, BatchStatus, Beat, Beaten, Broker, Cancel, Capabilities, Claim, ClaimReply, DeadLetters,
    DeadTask, Doctor, Enqueued, Fsck, Holder, Incarnation, Interest, Lookup, Mark, NewTask, Outcome,
    QueueName, QueueOptions, QueueStatus, Result, Revived, Settled, Settlement, State, TaskDetail, TaskId,
    TaskPage, Token, Waiter, Why, Workers,
};

#[async_trait]
impl Broker for MemoryBroker {
    fn backend(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::FULL
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn declare(&self, queue: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        self.shared.lock().declare(queue, options)
    }

    async fn enqueue(&self, tasks: &[NewTask], token: Option<Token>) -> Result<Vec<Enqueued>> {
        let answers = self.shared.lock().enqueue(tasks, token, self.shared.now());
        self.shared.ring();
        answers
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReply> {
        Ok(self.shared.lock().claim(claim, self.incarnation, self.shared.now()))
    }

    async fn beat(&self, beats: &[Beat], lease: Duration) -> Result<Vec<Beaten>> {
        Ok(self.shared.lock().beat(beats, lease, self.shared.now()))
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let answers = self.shared.lock().settle(settlements, self.shared.now());
        self.shared.ring();
        answers
    }

    async fn close(&self, queue: &QueueName) -> Result<()> {
        self.shared.lock().close(queue);
        self.shared.ring();
        Ok(())
    }

    async fn queues(&self, after: Option<&QueueName>, max: usize) -> Result<Vec<QueueName>> {
        Ok(self.shared.lock().names(after, max))
    }

    async fn status(&self, queue: &QueueName) -> Result<Option<QueueStatus>> {
        Ok(self.shared.lock().status(queue))
    }

    fn doctor(&self) -> Option<&dyn Doctor> {
        Some(self)
    }

    fn fsck(&self) -> Option<&dyn Fsck> {
        Some(self)
    }

    async fn pause(&self, queue: &QueueName, by: &str) -> Result<()> {
        self.shared.lock().pause(queue, by, self.shared.now());
        self.shared.ring();
        Ok(())
    }

    async fn resume(&self, queue: &QueueName) -> Result<()> {
        self.shared.lock().resume(queue);
        self.shared.ring();
        Ok(())
    }

    async fn cancel(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Cancel>> {
        let answers = self.shared.lock().cancel(queue, ids, self.shared.now());
        self.shared.ring();
        Ok(answers)
    }

    async fn outcomes(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Outcome>> {
        Ok(self.shared.lock().outcomes(queue, ids, self.shared.now()))
    }

    async fn batch(&self, batch: &BatchName) -> Result<Option<BatchStatus>> {
        Ok(self.shared.lock().batch(batch, self.shared.now()))
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        Some(self)
    }

    fn lookup(&self) -> Option<&dyn Lookup> {
        Some(self)
    }

    fn workers(&self) -> Option<&dyn Workers> {
        Some(self)
    }

    fn wait_for(&self, _interest: Interest, _queues: &[QueueName]) -> Waiter {
        let shared = Arc::clone(&self.shared);
        // Subscribed now, not when the future is first polled: changes from here on count.
        let mut changes = shared.changes();
        Box::pin(async move {
            // An error means that the broker is gone, which is worth waking up for too.
            let _ = changes.changed().await;
        })
    }
}

#[async_trait]
impl DeadLetters for MemoryBroker {
    async fn list(&self, queue: &QueueName, after: Option<u64>, max: usize) -> Result<Vec<DeadTask>> {
        Ok(self.shared.lock().dead(queue, after, max))
    }

    async fn revive(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Revived>> {
        let answers = self.shared.lock().revive(queue, ids, self.shared.now());
        self.shared.ring();
        Ok(answers)
    }

    async fn purge(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<bool>> {
        Ok(self.shared.lock().purge(queue, ids))
    }
}

#[async_trait]
impl Lookup for MemoryBroker {
    async fn get(&self, queue: &QueueName, id: &TaskId) -> Result<Option<TaskDetail>> {
        Ok(self.shared.lock().get(queue, id, self.shared.now()))
    }

    async fn list(
        &self,
        queue: &QueueName,
        state: State,
        after: Option<&Mark>,
        max: usize,
    ) -> Result<TaskPage> {
        Ok(self.shared.lock().list(queue, state, after, max, self.shared.now()))
    }

    async fn why(&self, queue: &QueueName, id: &TaskId) -> Result<Why> {
        Ok(self.shared.lock().why(queue, id, self.shared.now()))
    }

    async fn holders(&self, incarnations: &[Incarnation]) -> Result<Vec<Option<Holder>>> {
        let known = |incarnation| self.shared.sessions().contains(incarnation).then(Holder::here);
        Ok(incarnations.iter().map(known).collect())
    }

    async fn set(&self, queue: &QueueName, options: &QueueOptions, revision: u64) -> Result<QueueStatus> {
        let answer = self.shared.lock().set(queue, options, revision, self.shared.now());
        self.shared.ring();
        answer
    }

    async fn purge(&self, queue: &QueueName, states: &[State], max: usize) -> Result<u64> {
        let answer = self.shared.lock().purge_waiting(queue, states, max, self.shared.now());
        self.shared.ring();
        answer
    }
}
