//! What a claim hands out.

use std::time::Duration;

use crate::{BatchName, Incarnation, Payload, QueueName, TaskId, TaskName};

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

/// One lease that is renewed, and what its holder tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The lease.
    pub lease: Lease,
    /// How far the handler is, as JSON of at most [`limits::MAX_PROGRESS`](crate::limits::MAX_PROGRESS) bytes, for whoever asks
    /// for the outcome. It takes the place of what was told before; `None` leaves that as it is. It is gone with the lease.
    pub progress: Option<Payload>,
}

impl Beat {
    /// Beats that tell nothing, of all these leases.
    #[must_use]
    pub fn all(leases: &[Lease]) -> Vec<Self> {
        leases.iter().cloned().map(Self::from).collect()
    }
}

impl From<Lease> for Beat {
    /// A beat that tells nothing.
    fn from(lease: Lease) -> Self {
        Self { lease, progress: None }
    }
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
    /// How many processes died while they ran it and no other.
    pub crashes: u32,
    /// How many processes have died in a row while they held it, or of it; the first that was told to have died of it counts as two. 0 for a
    /// task that was never lost.
    pub deaths: u32,
    /// The batch that it belongs to, and its children with it.
    pub batch: Option<BatchName>,
    /// Whether somebody wants the result.
    pub result_wanted: bool,
    /// How long this run may take, as who sent the task said: [`NewTask::run_limit`](crate::NewTask::run_limit).
    pub run_limit: Option<Duration>,
    /// Whether nothing else may run in this process until it ends: it may be what killed the others.
    pub alone: bool,
}
