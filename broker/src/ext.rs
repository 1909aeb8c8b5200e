//! What users call on a broker besides the contract: written once, on top of it.

use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::{
    BatchName, BatchStatus, Broker, Enqueued, Error, ErrorKind, Interest, NewTask, Outcome, OutcomeWaiter,
    QueueName, QueueStatus, Result, TaskId, Token,
    capabilities::{Ids, Results},
};

/// How long a hint is waited for before the broker is asked again.
const POLL: Duration = Duration::from_millis(500);

/// How long after a call that failed it is made again at first; then twice as long each time, up to [`POLL`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Conveniences over [`Broker`], with one implementation for all of them.
#[async_trait]
pub trait BrokerExt {
    /// Waits until nothing on the queue is ready, scheduled or leased, and returns how it stands then.
    /// A queue that does not exist has nothing to wait for.
    ///
    /// The queue may fill again; together with [`Broker::close`] this is the end of a stage of a pipeline.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] after `timeout`, if one is given; what [`Broker::status`] fails with.
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    async fn join(&self, queue: &QueueName, timeout: Option<Duration>) -> Result<Option<QueueStatus>>;

    /// Waits until a batch has ended, and returns how. A batch that does not exist, or ended long ago, is nothing to wait for.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] after `timeout`, if one is given; what [`Broker::batch`] fails with.
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    async fn join_batch(&self, batch: &BatchName, timeout: Option<Duration>) -> Result<Option<BatchStatus>>;

    /// Enqueues tasks in one call, and makes the call again while the broker cannot be reached: no more once `patience` is over. It is
    /// the same call by its [`Token`]: nothing is doubled. Where no call is remembered ([`Ids::Unknown`]), what it may have doubled is marked as
    /// repeated.
    ///
    /// # Errors
    /// What [`Broker::enqueue`] fails with. After [`ErrorKind::Unavailable`] the tasks may be enqueued.
    ///
    /// # Cancel safety
    /// The tasks may be enqueued.
    async fn enqueue_repeatedly(&self, tasks: &[NewTask], patience: Duration) -> Result<Vec<Enqueued>>;

    /// Waits until a task is settled, and tells what became of it. Subscribes, then reads, then polls, so that a lost hint
    /// costs time only.
    ///
    /// [`Outcome::Unknown`] is an answer like the others: no such task, a result that was not to be kept, or was kept no longer. Where
    /// results are only sent to the waiting sender, it is also the answer after `timeout` if one may have been lost on its way.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when it is not settled after `timeout`; what [`Broker::outcomes`] fails with.
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    async fn outcome(&self, queue: &QueueName, id: &TaskId, timeout: Duration) -> Result<Outcome>;

    /// Registers interest in what becomes of a task that this session is about to enqueue, before it returns: what [`Broker::wait_for_outcome`] has, and else a hint
    /// of its queue.
    fn outcome_waiter(&self, task: &NewTask) -> OutcomeWaiter;

    /// As [`BrokerExt::outcome`], of a task that was enqueued while this waiter of [`BrokerExt::outcome_waiter`] was registered: the broker is not asked before
    /// there may be something to be told, and not at all where the waiter tells it.
    ///
    /// # Errors
    /// As [`BrokerExt::outcome`].
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    async fn outcome_after(
        &self,
        told: OutcomeWaiter,
        queue: &QueueName,
        id: &TaskId,
        timeout: Duration,
    ) -> Result<Outcome>;

    /// Enqueues one task, and waits for room in its queue where there is none. While the broker cannot be reached, it tries again
    /// for `patience`, as [`BrokerExt::enqueue_repeatedly`].
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when the queue is still full after `timeout`: the task is not enqueued then. What
    /// [`Broker::enqueue`] fails with.
    ///
    /// # Cancel safety
    /// The task may be enqueued. With an id of your own, enqueueing it again is harmless.
    async fn enqueue_when_room(
        &self,
        task: &NewTask,
        timeout: Duration,
        patience: Duration,
    ) -> Result<Enqueued>;
}

#[async_trait]
impl<B: Broker + ?Sized> BrokerExt for B {
    async fn join(&self, queue: &QueueName, timeout: Option<Duration>) -> Result<Option<QueueStatus>> {
        let start = Instant::now();
        loop {
            let changed = self.wait_for(Interest::Settled, std::slice::from_ref(queue));
            let status = self.status(queue).await?;
            let Some(open) = status.as_ref().map(QueueStatus::unsettled).filter(|unsettled| *unsettled > 0)
            else {
                return Ok(status);
            };
            let left = timeout.map_or(POLL, |timeout| timeout.saturating_sub(start.elapsed()).min(POLL));
            if left.is_zero() {
                let message = format!("queue \"{queue}\" still has {open} unsettled tasks");
                return Err(Error::new(ErrorKind::Timeout, "join", message));
            }
            // Whether it was the hint or the poll does not matter: both ask again.
            let _ = tokio::time::timeout(left, changed).await;
        }
    }

    async fn join_batch(&self, batch: &BatchName, timeout: Option<Duration>) -> Result<Option<BatchStatus>> {
        let start = Instant::now();
        loop {
            // It may be on any queues, and who waits for none in particular hears of all.
            let changed = self.wait(&[]);
            let status = self.batch(batch).await?;
            let Some(open) = status.map(|status| status.unsettled).filter(|unsettled| *unsettled > 0) else {
                return Ok(status);
            };
            let left = timeout.map_or(POLL, |timeout| timeout.saturating_sub(start.elapsed()).min(POLL));
            if left.is_zero() {
                let message = format!("batch \"{batch}\" still has {open} unsettled tasks");
                return Err(Error::new(ErrorKind::Timeout, "join", message));
            }
            // Whether it was the hint or the poll does not matter: both ask again.
            let _ = tokio::time::timeout(left, changed).await;
        }
    }

    async fn enqueue_repeatedly(&self, tasks: &[NewTask], patience: Duration) -> Result<Vec<Enqueued>> {
        let start = Instant::now();
        let token = (self.capabilities().ids == Ids::Remembered).then(|| Token::next(self.incarnation()));
        let mut pause = FIRST_PAUSE;
        loop {
            match self.enqueue(tasks, token).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    let left = patience.saturating_sub(start.elapsed());
                    if left.is_zero() {
                        return Err(error);
                    }
                    tokio::time::sleep(pause.min(left)).await;
                    pause = (pause * 2).min(POLL);
                }
                answer => return answer,
            }
        }
    }

    async fn outcome(&self, queue: &QueueName, id: &TaskId, timeout: Duration) -> Result<Outcome> {
        self.outcome_after(Box::pin(std::future::ready(None)), queue, id, timeout).await
    }

    fn outcome_waiter(&self, task: &NewTask) -> OutcomeWaiter {
        self.wait_for_outcome(task).unwrap_or_else(|| {
            let hint = self.wait_for(Interest::Settled, std::slice::from_ref(&task.queue));
            Box::pin(async move {
                hint.await;
                None
            })
        })
    }

    async fn outcome_after(
        &self,
        told: OutcomeWaiter,
        queue: &QueueName,
        id: &TaskId,
        timeout: Duration,
    ) -> Result<Outcome> {
        let start = Instant::now();
        let only_sent = self.capabilities().results == Results::ToSender;
        let (mut told, mut hint) = (Some(told), None);
        let (mut pending, mut missed) = (false, false);
        loop {
            let wait = timeout.saturating_sub(start.elapsed()).min(POLL);
            // Whether it was a hint or the poll does not matter: both ask.
            if let Some(waiter) = &mut told {
                match tokio::time::timeout(wait, waiter).await {
                    Ok(Some(outcome)) => return Ok(outcome),
                    Ok(None) => told = None,
                    Err(_) => {}
                }
            } else if let Some(changed) = hint.take() {
                let _: Result<(), _> = tokio::time::timeout(wait, changed).await;
            }
            if told.is_none() {
                // Before it is asked, so that nothing is missed in between.
                hint = Some(self.wait_for(Interest::Settled, std::slice::from_ref(queue)));
            }
            match self.outcomes(queue, std::slice::from_ref(id)).await?.pop() {
                Some(Outcome::Pending { .. }) => pending = true,
                // It was to come, and may still.
                Some(Outcome::Unknown) if only_sent && pending => missed = true,
                outcome => return Ok(outcome.unwrap_or(Outcome::Unknown)),
            }
            if start.elapsed() >= timeout && missed {
                return Ok(Outcome::Unknown);
            }
            if start.elapsed() >= timeout {
                let message = format!("task {id} of queue \"{queue}\" is not settled after {timeout:?}");
                return Err(Error::new(ErrorKind::Timeout, "outcome", message)
                    .advise("ask again later: the task goes on"));
            }
        }
    }

    async fn enqueue_when_room(
        &self,
        task: &NewTask,
        timeout: Duration,
        patience: Duration,
    ) -> Result<Enqueued> {
        let start = Instant::now();
        let queue = &task.queue;
        loop {
            let changed = self.wait_for(Interest::Settled, std::slice::from_ref(queue));
            let patience = timeout.saturating_sub(start.elapsed()).min(patience);
            match self.enqueue_repeatedly(std::slice::from_ref(task), patience).await?.pop() {
                Some(Enqueued::Full) => {}
                Some(answer) => return Ok(answer),
                None => {
                    let message = format!("no answer for task {} of queue \"{queue}\"", task.id);
                    return Err(Error::new(ErrorKind::Internal, "enqueue", message));
                }
            }
            let left = timeout.saturating_sub(start.elapsed()).min(POLL);
            if left.is_zero() {
                let message = format!("queue \"{queue}\" is still full after {timeout:?}");
                return Err(Error::new(ErrorKind::Timeout, "enqueue", message)
                    .advise("start more workers, or raise the queue's capacity"));
            }
            // Whether it was the hint or the poll does not matter: both ask again.
            let _ = tokio::time::timeout(left, changed).await;
        }
    }
}
