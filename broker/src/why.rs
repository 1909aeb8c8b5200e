//! Why a task is not running.

use std::time::{Duration, SystemTime};

use crate::{Failure, Incarnation, LimitKey, Pause, Payload};

/// The one reason why a task is not running: what must happen first. Or what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It becomes ready later.
    Due {
        /// When, by the broker's clock.
        at: SystemTime,
        /// How long from now; 0 when the next claim makes it ready.
        left: Duration,
    },
    /// No worker that claimed it knows its name: it is looked at again later.
    Parked {
        /// Since when, by the broker's clock.
        since: SystemTime,
        /// When it is looked at again, by the broker's clock.
        next: SystemTime,
        /// How long that is from now.
        left: Duration,
    },
    /// Its time to be claimed is over: the next claim buries it.
    Expired {
        /// Since when, by the broker's clock.
        at: SystemTime,
    },
    /// It could be claimed, but its queue is paused.
    Paused {
        /// Who paused it, and when, where that was written down.
        pause: Option<Pause>,
        /// Those that will be claimed before it.
        ahead: Ahead,
    },
    /// It can be claimed, after others. With nobody ahead it is what the next claim gets.
    Behind {
        /// Those that will be claimed before it.
        ahead: Ahead,
    },
    /// It was lost with its processes, or one died of it, and it can be claimed only by one where nothing else runs.
    Alone {
        /// Those of its kind that will be claimed before it.
        ahead: Ahead,
    },
    /// It waits for its key.
    Held {
        /// The key.
        key: LimitKey,
        /// How many tasks of the key have a permit: they are ready or leased.
        permits: u64,
        /// How many permits there are; `None` for as many as come.
        limit: Option<u32>,
        /// How long until the interval after the last claim of the key is over, if one goes on.
        opens: Option<Duration>,
        /// Those of its key that will become ready before it.
        ahead: Ahead,
    },
    /// It is running, or was when its holder was last heard of.
    Leased {
        /// Which process start holds it.
        by: Incarnation,
        /// How long the lease lasts if it is not renewed.
        left: Duration,
        /// Whether somebody cancelled it.
        cancelled: bool,
        /// What its holder told last of how far it is.
        progress: Option<Payload>,
    },
    /// It was given up.
    Dead {
        /// Why.
        error: String,
        /// When, by the broker's clock.
        died: SystemTime,
        /// What went wrong with it, the last times, the oldest first.
        history: Vec<Failure>,
    },
    /// It completed, and its result is kept.
    Done,
    /// It was cancelled, and that is kept.
    Cancelled,
    /// It is settled: its id is remembered, and nothing else is known.
    Settled,
    /// There is no such task, or nothing is known of it any more.
    Unknown,
}

/// How many tasks are ahead of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// So many were counted.
    pub tasks: u64,
    /// Whether there may be more: it is counted to [`limits::MAX_AHEAD`](crate::limits::MAX_AHEAD) at most.
    pub more: bool,
}

impl Ahead {
    /// So many, of which no more than the limit are told.
    #[must_use]
    pub fn of(tasks: u64) -> Self {
        let most = crate::limits::MAX_AHEAD;
        Self { tasks: tasks.min(most), more: tasks >= most }
    }
}
