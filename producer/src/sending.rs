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
    limits,
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

    /// Sends it, waits until it is settled, and returns the result of its handler. The result is kept for an hour unless
    /// [`Sending::keep_result`] says otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when it is not settled in time: the task goes on; [`ErrorKind::Failed`] when it is dead, was
    /// cancelled, or was settled and its result is kept no longer; what sending it fails with.
    ///
    /// # Cancel safety
    /// The task may be enqueued, and goes on.
    pub async fn wait(self, timeout: Duration) -> Result<T::Output> {
        let sending = self.with(|task| {
            Ok(if task.result == Wanted::No {
                task.with_result(Wanted::Keep(limits::KEEP_RESULT))
            } else {
                task
            })
        });
        let (client, room, task) = (sending.client, sending.room, sending.task?);
        let queue = task.queue.clone();
        let id = client.put(task, room).await?;
        client.result(&queue, &id, timeout).await?.decode()
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
        let failed = |what: String, advice: &str| {
            let message = format!("task {id} of queue \"{queue}\" {what}");
            Err(Error::new(ErrorKind::Failed, "wait", message).advise(advice))
        };
        match self.outcome(queue, id, timeout).await? {
            Outcome::Done(result) => Ok(result),
            Outcome::Dead(error) => failed(
                format!("is dead: {error}"),
                "mend the cause; the task is kept among the dead, and can be revived",
            ),
            Outcome::Cancelled => failed("was cancelled".to_owned(), "send it again if it is still wanted"),
            Outcome::Pending { .. } | Outcome::Unknown => failed(
                "is unknown, or its result is kept no longer".to_owned(),
                "keep results for longer, and look at the workers' logs",
            ),
        }
    }

    /// Sends a task, and waits for room for so long.
    pub(crate) async fn put(&self, task: NewTask, room: Option<Duration>) -> Result<TaskId> {
        at(Point::SendAsking);
        let answer = match room {
            Some(timeout) => Some(self.broker().enqueue_when_room(&task, timeout).await?),
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
                let capacity = status.map_or(0, |status| status.options.capacity);
                let message = format!("queue \"{queue}\" is full ({capacity} tasks are not settled)");
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use manyhands_broker::{
        Broker, Claim, End, Guard, Order, QueueOptions, Settlement, Task,
        backends::memory::{
            MemoryBroker,
            adversary::{Adversary, Call, Fault, Manners},
        },
    };
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Work(u32);

    impl Task for Work {
        const NAME: &'static str = "work";
        type Output = ();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn refusals_name_the_queue() {
        let client = Client::connect(&"memory:".parse().unwrap()).await.unwrap();
        let q = QueueName::new("q").unwrap();
        client.broker().declare(&q, Some(&QueueOptions::default().with_capacity(1))).await.unwrap();
        assert_eq!(client.send(Work(1)).queue("q").id("a").await.unwrap().to_string(), "a");
        assert_eq!(client.send(Work(1)).queue("q").id("a").await.unwrap().to_string(), "a");
        let full = client.send(Work(2)).queue("q").await.unwrap_err();
        assert_eq!(
            (full.kind(), full.to_string().as_str()),
            (ErrorKind::Full, "queue \"q\" is full (1 tasks are not settled)")
        );
        client.close(&q).await.unwrap();
        let closed = client.send(Work(3)).queue("q").await.unwrap_err();
        assert_eq!(closed.kind(), ErrorKind::Closed);
        assert_eq!(client.send(Work(4)).queue("no such name").await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(client.send(Work(5)).id("").await.unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[derive(Serialize, Deserialize)]
    struct Double(u32);

    impl Task for Double {
        const NAME: &'static str = "double";
        type Output = u32;
    }

    const SOON: Duration = Duration::from_secs(20);

    /// Ends the next task of the default queue as soon as there is one.
    async fn end_one(broker: &dyn Broker, end: End) {
        let queue = QueueName::new("default").unwrap();
        loop {
            let changed = broker.wait(std::slice::from_ref(&queue));
            let claim = Claim::new(queue.clone(), 1);
            if let Some(task) = broker.claim(&claim).await.unwrap().tasks.pop() {
                assert!(task.result_wanted);
                broker.settle(&[Settlement::new(task.lease, end)]).await.unwrap();
                return;
            }
            changed.await;
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_result_comes_back_as_its_type() {
        let client = Client::connect(&"memory:".parse().unwrap()).await.unwrap();
        let done = End::Complete { children: Vec::new(), result: Some(Payload::encode(&42).unwrap()) };
        let (result, ()) =
            tokio::join!(client.send(Double(21)).wait(SOON), end_one(&**client.broker(), done));
        assert_eq!(result.unwrap(), 42);
        let wrong = End::Complete { children: Vec::new(), result: Some(Payload::encode("x").unwrap()) };
        let (result, ()) =
            tokio::join!(client.send(Double(21)).wait(SOON), end_one(&**client.broker(), wrong));
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid, "not what the type says");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn other_ends_are_errors() {
        let client = Client::connect(&"memory:".parse().unwrap()).await.unwrap();
        let dead = End::Bury { error: "it is odd".to_owned() };
        let (result, ()) =
            tokio::join!(client.send(Double(1)).id("odd").wait(SOON), end_one(&**client.broker(), dead));
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert_eq!(error.to_string(), "task odd of queue \"default\" is dead: it is odd");
        let late = client.send(Double(2)).id("late").wait(Duration::from_millis(5)).await.unwrap_err();
        assert_eq!((late.kind(), late.to_string().contains("task late")), (ErrorKind::Timeout, true));
        let queue = QueueName::new("default").unwrap();
        client.broker().cancel(&queue, &[TaskId::new("late").unwrap()]).await.unwrap();
        let cancelled = client.result(&queue, &TaskId::new("late").unwrap(), SOON).await.unwrap_err();
        assert_eq!(cancelled.to_string(), "task late of queue \"default\" was cancelled");
        let unknown = client.result(&queue, &TaskId::new("never").unwrap(), SOON).await.unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::Failed);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_call_without_an_answer_is_made_again_and_nothing_doubled() {
        let memory = MemoryBroker::new();
        let adversary = Adversary::session_of(&memory, Manners::QUIET, 1);
        let client = Client::new(Arc::new(Guard::new(adversary.clone())));
        let queue = QueueName::new("default").unwrap();
        let ready = async || memory.status(&queue).await.unwrap().unwrap().ready;
        for fault in [Fault::Unanswered, Fault::Refused, Fault::Unanswered] {
            adversary.fail_next(Call::Enqueue, fault);
        }
        client.send(Work(1)).await.unwrap();
        assert_eq!(ready().await, 1, "done twice without an answer, and refused once");
        adversary.fail_next(Call::Enqueue, Fault::Unanswered);
        client.send(Work(2)).wait_for_room(SOON).await.unwrap();
        assert_eq!(ready().await, 2);
        adversary.fail_next(Call::Enqueue, Fault::Unanswered);
        let tasks = [NewTask::of(&Work(3)).unwrap(), NewTask::of(&Work(4)).unwrap()];
        assert_eq!(client.send_all(&tasks).await.unwrap(), [Enqueued::Enqueued, Enqueued::Enqueued]);
        assert_eq!(ready().await, 4);
        adversary.fail_next(Call::Enqueue, Fault::Refused);
        let impatient = client.clone().with_patience(Duration::ZERO);
        assert_eq!(impatient.send(Work(5)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_belongs_together_is_waited_for() {
        let client = Client::connect(&"memory:".parse().unwrap()).await.unwrap();
        let (queue, batch) = (QueueName::new("default").unwrap(), BatchName::new("b").unwrap());
        let options = QueueOptions::default().with_key_limit(1);
        client.broker().declare(&queue, Some(&options)).await.unwrap();
        client.send(Double(1)).batch("b").unique_in_batch("one").key("k").keep_result(SOON).await.unwrap();
        let again = client.send(Double(1)).batch("b").unique_in_batch("one").await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Duplicate);
        client.send(Double(2)).batch("b").key("k").keep_result(SOON).await.unwrap();
        let status = client.broker().status(&queue).await.unwrap().unwrap();
        assert_eq!((status.ready, status.held), (1, 1));
        let end = || End::complete(Vec::new());
        let both = async {
            end_one(&**client.broker(), end()).await;
            end_one(&**client.broker(), end()).await;
        };
        let (ended, ()) = tokio::join!(client.join_batch(&batch, SOON), both);
        assert_eq!(ended.unwrap().map(|status| (status.unsettled, status.done)), Some((0, 2)));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_asked_for_is_sent() {
        let client = Client::connect(&"memory:".parse().unwrap()).await.unwrap();
        let queue = QueueName::new("default").unwrap();
        let options = QueueOptions::default().with_order(Order::Priority).with_capacity(3);
        client.broker().declare(&queue, Some(&options)).await.unwrap();
        client.send(Work(1)).priority(5).unique("k").expires(SOON).await.unwrap();
        client.send(Work(2)).priority(-5).unique_for("l", SOON).await.unwrap();
        client.send(Work(3)).at(SystemTime::now() + SOON).keep_result(SOON).await.unwrap();
        let duplicate = client.send(Work(4)).unique("k").await.unwrap_err();
        assert_eq!(duplicate.kind(), ErrorKind::Duplicate);
        assert_eq!(client.send(Work(5)).unique("").await.unwrap_err().kind(), ErrorKind::Invalid);
        let full =
            client.send(Work(6)).delay(SOON).wait_for_room(Duration::from_millis(5)).await.unwrap_err();
        assert_eq!((full.kind(), full.to_string().contains("still full")), (ErrorKind::Timeout, true));
        let claimed = client.broker().claim(&Claim::new(queue.clone(), 9)).await.unwrap().tasks;
        let payloads: Vec<_> = claimed.iter().map(|task| task.payload.as_str()).collect();
        assert_eq!(payloads, ["2", "1"]);
        assert_eq!(client.broker().status(&queue).await.unwrap().unwrap().scheduled, 1);
        let end = Settlement::new(claimed[0].lease.clone(), End::complete(Vec::new()));
        let settlements = [end];
        let (room, settled) = tokio::join!(
            client.send(Work(7)).wait_for_room(SOON).into_future(),
            client.broker().settle(&settlements),
        );
        assert_eq!((room.is_ok(), settled.is_ok()), (true, true));
    }
}
