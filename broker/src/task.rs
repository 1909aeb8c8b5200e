//! A task on its way to a queue.

use crate::{Payload, QueueName, Result, Task, TaskId, TaskName, limits};

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
}
