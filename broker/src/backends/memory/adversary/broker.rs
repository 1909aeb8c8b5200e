//! The contract, as far as it goes.

use std::time::Duration;

use async_trait::async_trait;

use super::{Adversary, Call, Fault, Manners, Turn, lock, nothing};
use crate::{
    BatchName, BatchStatus, Beat, Beaten, Broker, Cancel, Capabilities, Claim, ClaimReply, DeadLetters,
    DeadTask, Doctor, End, Enqueued, Fsck, Incarnation, Interest, Lookup, NewTask, Order, Outcome,
    OutcomeWaiter, QueueName, QueueOptions, QueueStatus, Result, Revived, Settled, Settlement, TaskId, Token,
    Waiter, Workers, capabilities::Returns,
};

/// How long after a claim that got too little it is worth while to ask again.
const SOON: Duration = Duration::from_millis(5);

// A method that is forgotten here would silently go around the adversary.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Broker for Adversary {
    fn backend(&self) -> &'static str {
        self.0.inner.backend()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { returns: Returns::AsTheyCome, ..self.0.inner.capabilities() }
    }

    fn incarnation(&self) -> Incarnation {
        self.0.inner.incarnation()
    }

    async fn declare(&self, queue: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        self.make(Call::Declare, self.0.inner.declare(queue, options)).await
    }

    async fn enqueue(&self, tasks: &[NewTask], token: Option<Token>) -> Result<Vec<Enqueued>> {
        self.make(Call::Enqueue, self.0.inner.enqueue(tasks, token)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReply> {
        let mut turn = self.turn(Call::Claim);
        turn.begin().await?;
        self.lose_one(&mut turn).await?;
        let reply = self.claim_some(claim, &mut turn).await?;
        let leases = || reply.tasks.iter().map(|task| task.lease.clone());
        if turn.fault == Some(Fault::Unanswered) {
            // Nobody knows of them, so nobody renews them.
            self.forget(leases().collect()).await?;
        } else {
            lock(&self.0.held).extend(leases());
        }
        turn.end().await?;
        Ok(reply)
    }

    async fn beat(&self, beats: &[Beat], lease: Duration) -> Result<Vec<Beaten>> {
        let mut turn = self.turn(Call::Beat);
        turn.begin().await?;
        self.lose_one(&mut turn).await?;
        let answers = self.0.inner.beat(beats, lease).await?;
        let lost = || beats.iter().zip(&answers).filter(|(_, answer)| **answer == Beaten::Lost);
        lock(&self.0.held).retain(|held| lost().all(|(beat, _)| beat.lease != *held));
        turn.end().await?;
        Ok(answers)
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut turn = self.turn(Call::Settle);
        turn.begin().await?;
        self.lose_one(&mut turn).await?;
        let answers = self.0.inner.settle(settlements).await?;
        lock(&self.0.held).retain(|held| settlements.iter().all(|settlement| settlement.lease != *held));
        turn.end().await?;
        Ok(answers)
    }

    async fn close(&self, queue: &QueueName) -> Result<()> {
        self.make(Call::Close, self.0.inner.close(queue)).await
    }

    async fn status(&self, queue: &QueueName) -> Result<Option<QueueStatus>> {
        self.make(Call::Status, self.0.inner.status(queue)).await
    }

    async fn pause(&self, queue: &QueueName, by: &str) -> Result<()> {
        self.make(Call::Pause, self.0.inner.pause(queue, by)).await
    }

    async fn resume(&self, queue: &QueueName) -> Result<()> {
        self.make(Call::Pause, self.0.inner.resume(queue)).await
    }

    async fn cancel(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Cancel>> {
        self.make(Call::Cancel, self.0.inner.cancel(queue, ids)).await
    }

    async fn outcomes(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Outcome>> {
        self.make(Call::Outcomes, self.0.inner.outcomes(queue, ids)).await
    }

    async fn batch(&self, batch: &BatchName) -> Result<Option<BatchStatus>> {
        self.make(Call::Batch, self.0.inner.batch(batch)).await
    }

    async fn queues(&self, after: Option<&QueueName>, max: usize) -> Result<Vec<QueueName>> {
        self.make(Call::Status, self.0.inner.queues(after, max)).await
    }

    /// What operators do is no part of what workers see, so nothing happens to it.
    fn lookup(&self) -> Option<&dyn Lookup> {
        Some(&self.0.inner)
    }

    /// It is asked once, so nothing happens to it.
    async fn max_run(&self) -> Result<Option<Duration>> {
        self.0.inner.max_run().await
    }

    /// A look is no part of what workers see, so nothing happens to it.
    fn doctor(&self) -> Option<&dyn Doctor> {
        self.0.inner.doctor()
    }

    fn fsck(&self) -> Option<&dyn Fsck> {
        Some(&self.0.inner)
    }

    /// Nothing depends on what workers tell of themselves.
    fn workers(&self) -> Option<&dyn Workers> {
        Some(&self.0.inner)
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        Some(self)
    }

    fn wait(&self, queues: &[QueueName]) -> Waiter {
        self.wait_for(Interest::Any, queues)
    }

    fn wait_for(&self, interest: Interest, queues: &[QueueName]) -> Waiter {
        let hint = self.0.inner.wait_for(interest, queues);
        let Manners { lost_hints, invented_hints, .. } = self.manners();
        let mut dice = lock(&self.0.hints);
        if dice.happens(lost_hints) {
            return Box::pin(async move {
                // The interest lives on, what it hears of is lost.
                let _interest = hint;
                std::future::pending::<()>().await;
            });
        }
        if dice.happens(invented_hints) {
            return Box::pin(async move {
                let _ = tokio::time::timeout(SOON, hint).await;
            });
        }
        hint
    }

    fn wait_for_outcome(&self, task: &NewTask) -> Option<OutcomeWaiter> {
        self.0.inner.wait_for_outcome(task)
    }

    async fn withdraw(&self) -> Result<()> {
        self.0.inner.withdraw().await
    }

    async fn rebuild(&self) {
        self.0.inner.rebuild().await;
    }
}

#[async_trait]
impl DeadLetters for Adversary {
    async fn list(&self, queue: &QueueName, after: Option<u64>, max: usize) -> Result<Vec<DeadTask>> {
        self.make(Call::List, DeadLetters::list(&self.0.inner, queue, after, max)).await
    }

    async fn revive(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Revived>> {
        self.make(Call::Revive, self.0.inner.revive(queue, ids)).await
    }

    async fn purge(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<bool>> {
        self.make(Call::Purge, DeadLetters::purge(&self.0.inner, queue, ids)).await
    }
}

impl Adversary {
    /// A call to which nothing happens but a fault or a delay.
    async fn make<T>(&self, call: Call, done: impl Future<Output = Result<T>>) -> Result<T> {
        let turn = self.turn(call);
        turn.begin().await?;
        let answer = done.await?;
        turn.end().await?;
        Ok(answer)
    }

    /// Claims what the turn leaves of it.
    async fn claim_some(&self, claim: &Claim, turn: &mut Turn<'_>) -> Result<ClaimReply> {
        if turn.gets_nothing() {
            let reply = self.0.inner.claim(&nothing(claim)).await?;
            return Ok(ClaimReply { next: Some(SOON), ..reply });
        }
        let mut some = claim.clone();
        if turn.gets_fewer() {
            some.max = 1 + turn.below(claim.max.saturating_sub(1));
        }
        let mut reply = self.0.inner.claim(&some).await?;
        if some.max < claim.max {
            reply.next = Some(SOON);
        }
        let status = self.0.inner.status(&claim.queue).await?;
        // Where there are priorities, a task that was given back goes before those of its own priority only.
        let has_priorities = status.is_some_and(|status| status.options.order == Order::Priority);
        if turn.is_reordered() && !has_priorities {
            self.reorder(&mut reply, turn).await?;
        }
        Ok(reply)
    }

    /// Changes the order of tasks that were lost; gives some of them back if it got no others. Only those in front of all
    /// others change places: a task that was never claimed, or was put off, keeps its place behind them.
    async fn reorder(&self, reply: &mut ClaimReply, turn: &mut Turn<'_>) -> Result<()> {
        let lost = reply.tasks.iter().take_while(|task| task.deaths > 0 && !task.alone).count();
        turn.shuffle(&mut reply.tasks[..lost]);
        if lost < 2 || lost < reply.tasks.len() {
            return Ok(());
        }
        let given_back = reply.tasks.split_off(1 + turn.below(lost));
        let give_back: Vec<_> =
            given_back.into_iter().map(|task| Settlement::new(task.lease, End::Release)).collect();
        self.0.inner.settle(&give_back).await?;
        reply.next = Some(SOON);
        Ok(())
    }
}
