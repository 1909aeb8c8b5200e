//! Tasks that belong together, and how far they are.

/// A batch as it stood at one instant.
///
/// A batch begins with its first task, takes the children of its tasks in, on whatever queues of the namespace they are, and
/// ends when none of its tasks is ready, scheduled, held or leased: completed, dead and cancelled ones are settled. How it
/// ended is known for an hour, or until a new batch of its name begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchStatus {
    /// Tasks that are not settled: ready, scheduled, held or leased.
    pub unsettled: u64,
    /// Tasks that completed.
    pub done: u64,
    /// Tasks that were given up, and not revived while the batch went on.
    pub dead: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
}

impl BatchStatus {
    /// Whether it has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.unsettled == 0
    }
}
