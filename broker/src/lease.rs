//! What a claim hands out.

use crate::{Incarnation, Payload, QueueName, TaskId, TaskName};

/// The right to run and settle one task, for a time.
///
/// `epoch` counts the claims of the task and is the fence: beat and settle are accepted only while id, epoch
/// and incarnation all match what the broker holds. It grows with every claim, also across lost commits and
/// reboots, so a resource that remembers the highest epoch it saw can refuse a holder that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The queue of the task.
    pub queue: QueueName,
    /// The task.
    pub id: TaskId,
    /// The fence.
    pub epoch: u64,
    /// The process start that holds the lease.
    pub incarnation: Incarnation,
}

/// A task that was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedTask {
    /// What settles it.
    pub lease: Lease,
    /// The name by which a handler is found.
    pub name: TaskName,
    /// The payload as it was enqueued.
    pub payload: Payload,
    /// How often a handler has failed on it so far.
    pub attempts: u32,
    /// How many failures make it dead.
    pub max_attempts: u32,
    /// How many processes died while they ran it alone.
    pub crashes: u32,
    /// How many processes have died in a row while they held it. 0 for a task that was never lost.
    pub deaths: u32,
    /// Whether somebody wants the result.
    pub result_wanted: bool,
    /// Whether nothing else may run in this process until it ends: it may be what killed the others.
    pub alone: bool,
}
