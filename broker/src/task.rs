//! A task on its way to a queue.

use std::time::{Duration, SystemTime};

use crate::{BatchName, LimitKey, Payload, QueueName, Result, Task, TaskId, TaskName, Unique, limits};

/// A task to be enqueued.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewTask {
    /// Where it goes.
    pub queue: QueueName,
    /// Which handler runs it.
    pub name: TaskName,
    /// What the handler is given.
    pub payload: Payload,
    /// Its id.
    pub id: TaskId,
    /// Whether the user gave the id. Only such ids are remembered after settlement: a generated one is new.
    pub id_given: bool,
    /// How many failures of the handler make it dead; at least 1.
    pub max_attempts: u32,
    /// How many processes may die while they run it alone before it is dead; at least 1.
    pub max_crashes: u32,
    /// When it may first be claimed.
    pub start: Start,
    /// Its place in a queue whose order is by priority: the lowest first, 0 unless given. Refused by queues of another order.
    pub priority: Option<i64>,
    /// How long after it was enqueued it is still of use: not claimed by then, it is dead. `None`: for ever.
    pub expires: Option<Duration>,
    /// What no other task of the queue may have at the same time.
    pub unique: Option<Unique>,
    /// Of those with one key, a queue runs only so many at a time. Refused by queues that have no limit for keys.
    pub key: Option<LimitKey>,
    /// The batch that it belongs to.
    pub batch: Option<BatchName>,
    /// What becomes of its result.
    pub result: Wanted,
    /// How long one run of it may take before the worker ends it as a failure, where the handler's own limit is not shorter; in whole
    /// milliseconds, at least 1, and at most [`Broker::max_run`](crate::Broker::max_run). `None`: as long as the handler's.
    pub run_limit: Option<Duration>,
}

/// When a task may first be claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At once.
    #[default]
    Now,
    /// So long after the broker accepted it, by the broker's clock.
    After(Duration),
    /// When the broker's clock shows this time; at once if it does already.
    At(SystemTime),
}

/// What becomes of the result of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wanted {
    /// Nobody asks for it.
    #[default]
    No,
    /// The session that enqueues the task waits for it. Where results are kept, this one is too, for [`limits::KEEP_RESULT`]; where
    /// they are only sent to whoever waits, it is lost if it comes while that session has no connection.
    Reply,
    /// It is kept for so long after the task was settled, for whoever asks.
    Keep(Duration),
}

impl Wanted {
    /// For how long a broker that keeps results keeps this one; `None`: it does not.
    #[must_use]
    pub fn kept(self) -> Option<Duration> {
        match self {
            Self::No => None,
            Self::Reply => Some(limits::KEEP_RESULT),
            Self::Keep(time) => Some(time),
        }
    }
}

impl NewTask {
    /// Makes a task with a new id and the default limits.
    #[must_use]
    pub fn new(queue: QueueName, name: TaskName, payload: Payload) -> Self {
        Self {
            queue,
            name,
            payload,
            id: TaskId::generate(),
            id_given: false,
            max_attempts: limits::MAX_ATTEMPTS,
            max_crashes: limits::MAX_CRASHES,
            start: Start::Now,
            priority: None,
            expires: None,
            unique: None,
            key: None,
            batch: None,
            result: Wanted::No,
            run_limit: None,
        }
    }

    /// Makes a task of a Rust type, for its own queue.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when its name or queue is none, or when it cannot be written
    /// as JSON.
    pub fn of<T: Task>(task: &T) -> Result<Self> {
        Ok(Self::new(QueueName::new(T::QUEUE)?, TaskName::new(T::NAME)?, Payload::encode(task)?))
    }

    /// Sends the task to another queue.
    #[must_use]
    pub fn on(mut self, queue: QueueName) -> Self {
        self.queue = queue;
        self
    }

    /// Gives the task an id. Enqueueing the same id again is answered `Exists`, also for a while after the
    /// task was settled.
    #[must_use]
    pub fn with_id(mut self, id: TaskId) -> Self {
        self.id = id;
        self.id_given = true;
        self
    }

    /// Sets how many failures of the handler make the task dead; at least 1.
    #[must_use]
    pub fn with_max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    /// Sets how many processes may die while they run the task alone before it is dead; at least 1.
    #[must_use]
    pub fn with_max_crashes(mut self, max_crashes: u32) -> Self {
        self.max_crashes = max_crashes;
        self
    }

    /// Sets when the task may first be claimed. Until then it is scheduled.
    #[must_use]
    pub fn with_start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Sets the place in a queue that is ordered by priority: the lowest first, within ±2^53.
    #[must_use]
    pub fn with_priority(mut self, priority: i64) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Sets how long the task waits to be claimed before it is given up.
    #[must_use]
    pub fn with_expires(mut self, expires: Duration) -> Self {
        self.expires = Some(expires);
        self
    }

    /// Gives the task a key that no other task of the queue may have at the same time.
    #[must_use]
    pub fn with_unique(mut self, unique: Unique) -> Self {
        self.unique = Some(unique);
        self
    }

    /// Gives the task a key of which its queue runs only so many at a time.
    #[must_use]
    pub fn with_key(mut self, key: LimitKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Puts the task into a batch, which begins with it if it is the first.
    #[must_use]
    pub fn in_batch(mut self, batch: BatchName) -> Self {
        self.batch = Some(batch);
        self
    }

    /// Sets how long one run of the task may take. What that does depends on how its handler runs: a future is dropped at its next await, a
    /// process is killed, a thread is told. Kept in whole milliseconds.
    #[must_use]
    pub fn with_run_limit(mut self, run_limit: Duration) -> Self {
        self.run_limit = Some(Duration::from_millis(crate::clock::millis(run_limit)));
        self
    }

    /// Sets what becomes of the result.
    #[must_use]
    pub fn with_result(mut self, result: Wanted) -> Self {
        self.result = result;
        self
    }
}

impl Start {
    /// The wall-clock millisecond of the broker at which the task becomes ready; `None` when it is ready at once.
    #[must_use]
    pub fn due(self, wall: u64) -> Option<u64> {
        let due = match self {
            Self::Now => return None,
            Self::After(delay) => wall.saturating_add(crate::clock::millis(delay)),
            Self::At(time) => crate::clock::since_epoch(time),
        };
        (due > wall).then_some(due)
    }
}
