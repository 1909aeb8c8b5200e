//! What a handler knows of its task, and what it can do besides returning.

use std::sync::{Arc, Mutex, PoisonError};

use manyhands_broker::{ClaimedTask, NewTask, QueueName, Task, TaskId, limits};
use tokio_util::sync::CancellationToken;

use crate::TaskError;

/// The surroundings of one run of a handler. Clones share it.
#[derive(Clone, Debug)]
pub struct Context(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: TaskId,
    queue: QueueName,
    epoch: u64,
    attempt: u32,
    cancelled: CancellationToken,
    /// Enqueued with the settlement; dropped if the handler fails.
    children: Mutex<Vec<NewTask>>,
}

impl Context {
    pub(crate) fn new(task: &ClaimedTask, cancelled: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            id: task.lease.id.clone(),
            queue: task.lease.queue.clone(),
            epoch: task.lease.epoch,
            attempt: task.attempts + 1,
            cancelled,
            children: Mutex::new(Vec::new()),
        }))
    }

    /// The id of the task.
    #[must_use]
    pub fn id(&self) -> &TaskId {
        &self.0.id
    }

    /// The queue that the task came from.
    #[must_use]
    pub fn queue(&self) -> &QueueName {
        &self.0.queue
    }

    /// Counts the attempts, from 1. A run that ended with the death of its process is not counted.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// The fence: it grows with every claim of this task. Hand it to what the handler writes to, and let that refuse a
    /// lower one than it has seen: then a run that was given up for dead and was not can do no harm.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.0.epoch
    }

    /// Whether the handler should stop: the lease is lost, so what it returns will be refused, or the worker is
    /// made to end. A blocking handler that then returns an error is given back uncharged, unless it buries the task. An
    /// async handler is dropped instead of being told.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.0.cancelled.is_cancelled()
    }

    /// Enqueues a task together with the completion of this one: both happen or neither does. If the handler
    /// fails, the task is not enqueued.
    ///
    /// # Errors
    /// A burial, when the task cannot be written as JSON, or when it is one too many: a settlement carries at most
    /// 256 tasks and 4 MiB. Send more by a task that sends them.
    pub fn then<T: Task>(&self, task: T) -> Result<(), TaskError> {
        self.then_task(NewTask::of(&task).map_err(|e| TaskError::bury(e.report()))?)
    }

    /// As [`Context::then`], for a task that is built by hand: on another queue, with an id.
    ///
    /// # Errors
    /// As [`Context::then`].
    pub fn then_task(&self, task: NewTask) -> Result<(), TaskError> {
        let mut children = self.0.children.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: usize = children.iter().map(|child| child.payload.len()).sum();
        if children.len() >= limits::MAX_BATCH || bytes + task.payload.len() > limits::MAX_BATCH_BYTES {
            return Err(TaskError::bury(
                "a task can hand on at most 256 tasks and 4 MiB with its settlement",
            ));
        }
        if task.payload.len() > limits::MAX_PAYLOAD {
            let message =
                format!("a task of {} bytes cannot be handed on: at most 1 MiB", task.payload.len());
            return Err(TaskError::bury(message));
        }
        children.push(task);
        Ok(())
    }

    /// Completes when the handler should stop.
    pub(crate) async fn stopped(&self) {
        self.0.cancelled.cancelled().await;
    }

    pub(crate) fn take_children(&self) -> Vec<NewTask> {
        std::mem::take(&mut *self.0.children.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
