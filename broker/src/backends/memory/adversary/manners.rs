//! What an adversary does, and how often.

use std::time::Duration;

/// How often an adversary does what it may, in thousandths of the calls that it can do it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    /// Calls that are answered `Unavailable` before anything is done.
    pub refused: u32,
    /// Calls that are done, and answered `Unavailable` all the same. Tasks that were claimed so are lost to their holder, who
    /// never hears of them: their leases run out at once.
    pub unanswered: u32,
    /// Calls that take longer: either before they are done, or between that and their answer.
    pub delayed: u32,
    /// The longest that such a call takes.
    pub delay: Duration,
    /// Claims that get fewer tasks than there are.
    pub fewer: u32,
    /// Claims that get nothing, whatever there is.
    pub nothing: u32,
    /// Claims that get tasks which were lost before in another order than that in which they stood.
    pub reordered: u32,
    /// Claims, beats and settlements at which one lease of the session runs out, however long it was to last.
    pub lost_leases: u32,
    /// Waits that never end by themselves.
    pub lost_hints: u32,
    /// Waits that end for no reason.
    pub invented_hints: u32,
}

impl Manners {
    /// Does nothing of its own accord, only what a test orders.
    pub const QUIET: Self = Self {
        refused: 0,
        unanswered: 0,
        delayed: 0,
        delay: Duration::from_millis(5),
        fewer: 0,
        nothing: 0,
        reordered: 0,
        lost_leases: 0,
        lost_hints: 0,
        invented_hints: 0,
    };

    /// Costs time and patience, but nothing that becomes of a task is different: whoever repeats what was refused, asks again
    /// and does not trust hints gets there.
    pub const TIRESOME: Self = Self {
        refused: 60,
        delayed: 300,
        fewer: 300,
        nothing: 200,
        reordered: 500,
        lost_hints: 100,
        invented_hints: 200,
        ..Self::QUIET
    };

    /// All of that, and leases that run out early and calls of which nobody knows whether they took effect: tasks are run
    /// more than once, and a few die of being lost too often.
    pub const HOSTILE: Self = Self { unanswered: 60, lost_leases: 60, ..Self::TIRESOME };
}

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `declare`
    Declare,
    /// `enqueue`
    Enqueue,
    /// `claim`
    Claim,
    /// `beat`
    Beat,
    /// `settle`
    Settle,
    /// `close`
    Close,
    /// `status`
    Status,
    /// `pause`
    Pause,
    /// `cancel`
    Cancel,
    /// `outcomes`
    Outcomes,
    /// `batch`
    Batch,
    /// `list`
    List,
    /// `revive`
    Revive,
    /// `purge`
    Purge,
}

impl Call {
    pub(super) const ALL: [Self; 14] = [
        Self::Declare,
        Self::Enqueue,
        Self::Claim,
        Self::Beat,
        Self::Settle,
        Self::Close,
        Self::Status,
        Self::Pause,
        Self::Cancel,
        Self::Outcomes,
        Self::Batch,
        Self::List,
        Self::Revive,
        Self::Purge,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Declare => "declare",
            Self::Enqueue => "enqueue",
            Self::Claim => "claim",
            Self::Beat => "beat",
            Self::Settle => "settle",
            Self::Close => "close",
            Self::Status => "status",
            Self::Pause => "pause",
            Self::Cancel => "cancel",
            Self::Outcomes => "outcomes",
            Self::Batch => "batch",
            Self::List => "list",
            Self::Revive => "revive",
            Self::Purge => "purge",
        }
    }
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing is done, and the caller is told that the broker is unavailable.
    Refused,
    /// It is done, and the caller is told that the broker is unavailable.
    Unanswered,
}
