//! The contract, by handing calls to the writer.

use std::time::Duration;

use async_trait::async_trait;

use super::{LocalBroker, error::sqlite, writer::Call};
use crate::{
    BatchName, BatchStatus, Beat, Beaten, Broker, Cancel, Capabilities, Claim, ClaimReply, DeadLetters,
    DeadTask, Doctor,
    Durability::{Power, Process},
    Enqueued, Fsck, Incarnation, Interest, Lookup, NewTask, Outcome, QueueName, QueueOptions, QueueStatus,
    Result, Revived, Settled, Settlement, TaskId, Token, Waiter, Workers,
    sabotage::{Defect, planted},
};

// Who is told something about a queue from outside needs it to survive a power cut. Claims, beats and settlements
// (children included: they stand or fall with their parent) need not: a lost one is a redelivery.
#[async_trait]
impl Broker for LocalBroker {
    fn backend(&self) -> &'static str {
        "local"
    }

    fn capabilities(&self) -> Capabilities {
        Self::CAPABILITIES
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn declare(&self, queue: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        let (queue, options) = (queue.clone(), options.cloned());
        let (same_queue, same_options) = (queue.clone(), options.clone());
        let call = Call::write("declare", Power, move |steps| steps.declare(&queue, options.as_ref()))
            .or_read(move |steps| steps.declared(&same_queue, same_options.as_ref()));
        self.call("declare", call).await
    }

    async fn enqueue(&self, tasks: &[NewTask], token: Option<Token>) -> Result<Vec<Enqueued>> {
        let tasks = tasks.to_vec();
        let durability = if planted(Defect::PromisedUnsynced) { Process } else { Power };
        let call = Call::write("enqueue", durability, move |steps| steps.enqueue(&tasks, token));
        self.call("enqueue", call).await
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReply> {
        if claim.idle
            && let Some(reply) = self.direct.claim(claim, self.incarnation)
        {
            return Ok(reply);
        }
        let (claim, peek, incarnation) = (claim.clone(), claim.clone(), self.incarnation);
        let step = move |steps: &mut super::steps::Steps<'_, '_>| {
            steps.claim(&claim, incarnation).map_err(|e| sqlite("claim", e))
        };
        let call = Call::write("claim", Process, step)
            .or_read(move |steps| steps.peek(&peek).map_err(|e| sqlite("claim", e)));
        self.call("claim", call).await
    }

    async fn beat(&self, beats: &[Beat], lease: Duration) -> Result<Vec<Beaten>> {
        let beats = beats.to_vec();
        let call = Call::write("beat", Process, move |steps| {
            steps.beat(&beats, lease).map_err(|e| sqlite("beat", e))
        });
        self.call("beat", call).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let settlements = settlements.to_vec();
        let call = Call::write("settle", Process, move |steps| steps.settle(&settlements));
        self.call("settle", call).await
    }

    async fn close(&self, queue: &QueueName) -> Result<()> {
        let queue = queue.clone();
        let call =
            Call::write("close", Power, move |steps| steps.close(&queue).map_err(|e| sqlite("close", e)));
        self.call("close", call).await
    }

    async fn queues(&self, after: Option<&QueueName>, max: usize) -> Result<Vec<QueueName>> {
        let after = after.cloned();
        let call = Call::read("queues", move |steps| {
            steps.names(after.as_ref(), max).map_err(|e| sqlite("queues", e))
        });
        self.call("queues", call).await
    }

    async fn status(&self, queue: &QueueName) -> Result<Option<QueueStatus>> {
        let queue = queue.clone();
        let call = Call::read("status", move |steps| {
            let row = steps.peek_queue(&queue).map_err(|e| sqlite("status", e))?;
            Ok(row.map(|row| row.status()))
        });
        self.call("status", call).await
    }

    fn doctor(&self) -> Option<&dyn Doctor> {
        Some(self)
    }

    fn fsck(&self) -> Option<&dyn Fsck> {
        Some(self)
    }

    async fn pause(&self, queue: &QueueName, by: &str) -> Result<()> {
        let (queue, same_queue, by) = (queue.clone(), queue.clone(), by.to_owned());
        let call = Call::write("pause", Power, move |steps| {
            steps.pause(&queue, &by).map_err(|e| sqlite("pause", e))
        });
        let call = call.or_read(move |steps| steps.paused(&same_queue, true).map_err(|e| sqlite("pause", e)));
        self.call("pause", call).await
    }

    async fn resume(&self, queue: &QueueName) -> Result<()> {
        let (queue, same_queue) = (queue.clone(), queue.clone());
        let call =
            Call::write("resume", Power, move |steps| steps.resume(&queue).map_err(|e| sqlite("resume", e)));
        let call =
            call.or_read(move |steps| steps.paused(&same_queue, false).map_err(|e| sqlite("resume", e)));
        self.call("resume", call).await
    }

    async fn cancel(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Cancel>> {
        let (queue, ids) = (queue.clone(), ids.to_vec());
        let call = Call::write("cancel", Power, move |steps| {
            steps.cancel(&queue, &ids).map_err(|e| sqlite("cancel", e))
        });
        self.call("cancel", call).await
    }

    async fn outcomes(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Outcome>> {
        let (queue, ids) = (queue.clone(), ids.to_vec());
        let call = Call::read("outcomes", move |steps| {
            steps.outcomes(&queue, &ids).map_err(|e| sqlite("outcomes", e))
        });
        self.call("outcomes", call).await
    }

    async fn batch(&self, batch: &BatchName) -> Result<Option<BatchStatus>> {
        let batch = batch.clone();
        let call = Call::read("batch", move |steps| steps.batch(&batch).map_err(|e| sqlite("batch", e)));
        self.call("batch", call).await
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
        self.ears.listen();
        // Subscribed now, not when the future is first polled: changes from here on count.
        let mut changes = self.changes();
        Box::pin(async move {
            // An error means that the session is gone, which is worth waking up for too.
            let _ = changes.changed().await;
        })
    }
}

#[async_trait]
impl DeadLetters for LocalBroker {
    async fn list(&self, queue: &QueueName, after: Option<u64>, max: usize) -> Result<Vec<DeadTask>> {
        let queue = queue.clone();
        let call =
            Call::read("list", move |steps| steps.dead(&queue, after, max).map_err(|e| sqlite("list", e)));
        self.call("list", call).await
    }

    async fn revive(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Revived>> {
        let (queue, ids) = (queue.clone(), ids.to_vec());
        let call = Call::write("revive", Power, move |steps| {
            steps.revive(&queue, &ids).map_err(|e| sqlite("revive", e))
        });
        self.call("revive", call).await
    }

    async fn purge(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<bool>> {
        let (queue, ids) = (queue.clone(), ids.to_vec());
        let call = Call::write("purge", Power, move |steps| {
            steps.purge(&queue, &ids).map_err(|e| sqlite("purge", e))
        });
        self.call("purge", call).await
    }
}
