//! What became of a task.

use crate::Payload;

/// The answer for one task that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is ready, scheduled, held or leased.
    Pending {
        /// What its holder told last of how far it is, by a beat of the present lease.
        progress: Option<Payload>,
    },
    /// It completed, with this result: `null` if the handler gave none.
    Done(Payload),
    /// It is dead, for this reason.
    Dead(String),
    /// It was cancelled.
    Cancelled,
    /// There is no such task, its result was not to be kept, or the time for that is over.
    Unknown,
}

/// The answer for one task that is to be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cancel {
    /// It was ready, scheduled or held, and is gone.
    Cancelled,
    /// It is running: its holder is told by the next beat. A settlement that arrives first wins.
    Asked,
    /// There is no such task to be cancelled: it is settled, dead, or never was.
    Unknown,
}
