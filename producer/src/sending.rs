//! One task on its way.

use std::{
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    time::{Duration, SystemTime},
};

use manyhands_broker::{
    BatchName, BrokerExt, Enqueued, Error, ErrorKind, LimitKey, NewTask, Outcome, Payload, QueueName, Result,
    Start, Task, TaskId, Unique, Wanted,
    crash::{Point, at},
};

use crate::Client;

/// A task that is sent when this is awaited; nothing happens before.
///
/// # Errors
/// [`ErrorKind::Full`] when its queue has no room, [`ErrorKind::Closed`] when its queue is closed,
/// [`ErrorKind::Duplicate`] when another task has its unique key,
/// [`ErrorKind::Invalid`] when something about it is wrong, and what [`Broker::enqueue`] says.
///
/// # Cancel safety
/// The task may be enqueued. With an id of your own, sending it again is harmless.
///
/// [`Broker::enqueue`]: manyhands_broker::Broker::enqueue
#[derive(Debug)]
#[must_use = "a task is sent when this is awaited"]
pub struct Sending<'c, T> {
    client: &'c Client,
    task: Result<NewTask>,
    room: Option<Duration>,
    kind: PhantomData<fn() -> T>,
}

impl<'c, T: Task> Sending<'c, T> {
    pub(crate) fn new(client: &'c Client, task: Result<NewTask>) -> Self {
        Self { client, task, room: None, kind: PhantomData }
    }

    fn with(mut self, change: impl FnOnce(NewTask) -> Result<NewTask>) -> Self {
        self.task = self.task.and_then(change);
        self
    }

    /// Sends it to another queue than its type's.
    pub fn queue(self, queue: &str) -> Self {
        self.with(|task| Ok(task.on(QueueName::new(queue)?)))
    }

    /// Gives it an id. Sending the same id again, also for a while after the task was settled, changes nothing and
    /// returns the id.
    pub fn id(self, id: &str) -> Self {
        self.with(|task| Ok(task.with_id(TaskId::new(id)?)))
    }

    /// Sets how many failures of the handler make it dead.
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        self.with(|task| Ok(task.with_max_attempts(max_attempts)))
    }

    /// Sets how many processes may die while they run it alone before it is dead.
    pub fn max_crashes(self, max_crashes: u32) -> Self {
        self.with(|task| Ok(task.with_max_crashes(max_crashes)))
    }

    /// Sets how long one run of it may take before it is ended and counts as a failure, where the handler's own limit is not shorter.
    /// Refused when it is sent, if the broker takes a task away before ([`Broker::max_run`](manyhands_broker::Broker::max_run)).
    pub fn run_limit(self, run_limit: Duration) -> Self {
        self.with(|task| Ok(task.with_run_limit(run_limit)))
    }

    /// Lets it start so long after the broker accepted it.
    pub fn delay(self, delay: Duration) -> Self {
        self.with(|task| Ok(task.with_start(Start::After(delay))))
    }

    /// Lets it start when the broker's clock shows this time.
    pub fn at(self, time: SystemTime) -> Self {
        self.with(|task| Ok(task.with_start(Start::At(time))))
    }

    /// Sets its place in a queue whose order is by priority: the lowest first, within ±2^53.
    pub fn priority(self, priority: i64) -> Self {
        self.with(|task| Ok(task.with_priority(priority)))
    }

    /// Gives it up if nobody claims it for so long.
    pub fn expires(self, expires: Duration) -> Self {
        self.with(|task| Ok(task.with_expires(expires)))
    }

    /// Gives it a key that no other unsettled task of the queue may have.
    pub fn unique(self, key: &str) -> Self {
        self.with(|task| Ok(task.with_unique(Unique::until_settled(key)?)))
    }

    /// The same, and the key is held for so long after the task was settled: a set of what was seen.
    pub fn unique_for(self, key: &str, hold: Duration) -> Self {
        self.with(|task| Ok(task.with_unique(Unique::and_for(key, hold)?)))
    }

    /// Puts it into a batch, which begins with it if it is the first. [`Client::join_batch`] waits for its end.
    pub fn batch(self, batch: &str) -> Self {
        self.with(|task| Ok(task.in_batch(BatchName::new(batch)?)))
    }

    /// Gives it a key that is held until its batch has ended: a set of what the batch has seen.
    pub fn unique_in_batch(self, key: &str) -> Self {
        self.with(|task| Ok(task.with_unique(Unique::in_batch(key)?)))
    }

    /// Gives it a key of which its queue, by its `key_limit` and `key_interval`, runs only so many at a time.
    pub fn key(self, key: &str) -> Self {
        self.with(|task| Ok(task.with_key(LimitKey::new(key)?)))
    }

    /// Keeps the result for so long after the task was settled. [`Client::outcome`] asks for it.
    pub fn keep_result(self, time: Duration) -> Self {
        self.with(|task| Ok(task.with_result(Wanted::Keep(time))))
    }

    /// Waits for room in a full queue, at most so long.
    pub fn wait_for_room(mut self, timeout: Duration) -> Self {
        self.room = Some(timeout);
        self
    }

    /// Sends it, waits until it is settled, and returns the result of its handler. Where results are kept, this one is for an hour
    /// unless [`Sending::keep_result`] says otherwise; on RabbitMQ it comes to this session only.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when it is not settled in time: the task goes on; [`ErrorKind::Failed`] when it is dead, was
    /// cancelled, or was settled and its result is kept no longer or was lost with the connection; what sending it fails with.
    ///
    /// # Cancel safety
    /// The task may be enqueued, and goes on.
    pub async fn wait(self, timeout: Duration) -> Result<T::Output> {
        let sending = self
            .with(|task| Ok(if task.result == Wanted::No { task.with_result(Wanted::Reply) } else { task }));
        let (client, room, task) = (sending.client, sending.room, sending.task?);
        let queue = task.queue.clone();
        // Before the task is sent, so that what becomes of it is not missed, and need not be asked for in vain.
        let told = client.broker().outcome_waiter(&task);
        let id = client.put(task, room).await?;
        let outcome = client.broker().outcome_after(told, &queue, &id, timeout).await?;
        completed(&queue, &id, outcome)?.decode()
    }
}

impl Client {
    /// Sends a task that was built by hand and returns its id. The task is durable then.
    ///
    /// # Errors
    /// As awaiting a [`Sending`].
    ///
    /// # Cancel safety
    /// As a [`Sending`].
    pub async fn send_task(&self, task: NewTask) -> Result<TaskId> {
        self.put(task, None).await
    }

    /// As [`Client::send_task`], and waits for room in a full queue.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when there is none after `timeout`; what awaiting a [`Sending`] fails with.
    ///
    /// # Cancel safety
    /// As a [`Sending`].
    pub async fn send_when_room(&self, task: NewTask, timeout: Duration) -> Result<TaskId> {
        self.put(task, Some(timeout)).await
    }

    /// Tells what became of a task, once it is settled.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when it is not settled in time; what [`Broker::outcomes`](manyhands_broker::Broker::outcomes) fails with.
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    pub async fn outcome(&self, queue: &QueueName, id: &TaskId, timeout: Duration) -> Result<Outcome> {
        self.broker().outcome(queue, id, timeout).await
    }

    /// Returns the result of a task, once it completed.
    ///
    /// # Errors
    /// As [`Sending::wait`].
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    pub async fn result(&self, queue: &QueueName, id: &TaskId, timeout: Duration) -> Result<Payload> {
        completed(queue, id, self.outcome(queue, id, timeout).await?)
    }

    /// Sends a task, and waits for room for so long.
    pub(crate) async fn put(&self, task: NewTask, room: Option<Duration>) -> Result<TaskId> {
        at(Point::SendAsking);
        let answer = match room {
            Some(timeout) => Some(self.broker().enqueue_when_room(&task, timeout, self.patience()).await?),
            None => {
                self.broker().enqueue_repeatedly(std::slice::from_ref(&task), self.patience()).await?.pop()
            }
        };
        at(Point::SendAnswered);
        let queue = &task.queue;
        match answer {
            Some(Enqueued::Enqueued | Enqueued::Exists) => Ok(task.id),
            Some(Enqueued::Full) => {
                let status = self.broker().status(queue).await?;
                let (tasks, capacity) =
                    status.map_or((0, 0), |status| (status.unsettled(), status.options.capacity));
                // It may have got room since.
                let message =
                    format!("queue \"{queue}\" is full ({} of {capacity} tasks)", tasks.max(capacity));
                Err(Error::new(ErrorKind::Full, "send", message)
                    .advise("start more workers, or send it later"))
            }
            Some(Enqueued::Closed) => {
                let message = format!("queue \"{queue}\" is closed: somebody said that no more will come");
                Err(Error::new(ErrorKind::Closed, "send", message).advise("use another queue"))
            }
            Some(Enqueued::Duplicate(other)) => {
                let message = format!("task {other} of queue \"{queue}\" has the same unique key");
                Err(Error::new(ErrorKind::Duplicate, "send", message)
                    .advise("nothing, if one is enough; else leave the key out or wait until it is settled"))
            }
            None => Err(Error::new(
                ErrorKind::Internal,
                "send",
                format!("no answer for a task of queue \"{queue}\""),
            )),
        }
    }
}

impl<'c, T: Task> IntoFuture for Sending<'c, T> {
    type Output = Result<TaskId>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<TaskId>> + Send + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.client.put(self.task?, self.room).await })
    }
}

/// The result of a task that completed, or what else became of it.
fn completed(queue: &QueueName, id: &TaskId, outcome: Outcome) -> Result<Payload> {
    let failed = |what: String, advice: &str| {
        let message = format!("task {id} of queue \"{queue}\" {what}");
        Err(Error::new(ErrorKind::Failed, "wait", message).advise(advice))
    };
    match outcome {
        Outcome::Done(result) => Ok(result),
        Outcome::Dead(error) => failed(
            format!("is dead: {error}"),
            "mend the cause; the task is kept among the dead, and can be revived",
        ),
        Outcome::Cancelled => failed("was cancelled".to_owned(), "send it again if it is still wanted"),
        Outcome::Pending { .. } | Outcome::Unknown => failed(
            "is unknown, or its result is kept no longer or was lost with the connection".to_owned(),
            "look at the workers' logs; keep results for longer, where the broker does",
        ),
    }
}

#[cfg(test)]
mod tests;
