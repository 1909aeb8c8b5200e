//! The power over tasks that were given up.

use std::{fmt::Debug, time::SystemTime};

use async_trait::async_trait;

use crate::{Payload, QueueName, Result, TaskId, TaskName};

/// What an operator can do with the dead tasks of a broker. Looking at them changes nothing.
///
/// A broker that claims no more than [`Operators::DeadOneByOne`](crate::capabilities::Operators::DeadOneByOne) takes those of a
/// call one after the other: after an error, some may be done, and one that was revived may be among the dead, too.
///
/// # Errors
/// Every call can fail as those of [`Broker`](crate::Broker) can.
///
/// # Cancel safety
/// Dropping a future does not undo its call, which may still take effect; repeating it is harmless.
#[async_trait]
pub trait DeadLetters: Debug + Send + Sync {
    /// Lists dead tasks in the order of their death, at most `max` (1 to [`limits::MAX_BATCH`](crate::limits::MAX_BATCH)), those
    /// that died after `after` if one is given: a mark of [`DeadTask::mark`]. A missing queue has none.
    async fn list(&self, queue: &QueueName, after: Option<u64>, max: usize) -> Result<Vec<DeadTask>>;

    /// Makes dead tasks ready again, all in one step, and answers for each in order.
    ///
    /// # Behavior
    /// A revived task is at the end of its queue, with all its attempts and crashes before it. Its epoch goes on, so that a
    /// fence from before its death stays old.
    async fn revive(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Revived>>;

    /// Removes dead tasks for good, all in one step, and tells for each in order whether it was there.
    async fn purge(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<bool>>;
}

/// A task that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadTask {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: TaskName,
    /// Its payload as it was enqueued.
    pub payload: Payload,
    /// Why it is dead.
    pub error: String,
    /// What went wrong with it, the last [`limits::MAX_HISTORY`](crate::limits::MAX_HISTORY) times, the oldest first.
    pub history: Vec<Failure>,
    /// How often a handler failed on it.
    pub attempts: u32,
    /// How many processes died while they ran it and no other.
    pub crashes: u32,
    /// When it died, by the broker's clock.
    pub died: SystemTime,
    /// Its place among the dead: grows from one to the next, and stays. At most 2^53.
    pub mark: u64,
}

/// One time that something went wrong with a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When, by the broker's clock.
    pub at: SystemTime,
    /// What, cut to [`limits::MAX_HISTORY_ERROR`](crate::limits::MAX_HISTORY_ERROR) bytes.
    pub error: String,
}

/// The answer for one dead task that is to be revived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revived {
    /// It is ready again.
    Revived,
    /// It is not among the dead.
    Unknown,
    /// Its queue has no room. Nothing was changed.
    Full,
    /// Another task has its unique key. Nothing was changed.
    Duplicate(TaskId),
}
