//! How a lease ends.

use std::time::Duration;

use crate::{Lease, NewTask, Payload};

/// The end of one lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The lease that ends.
    pub lease: Lease,
    /// How.
    pub end: End,
}

impl Settlement {
    /// Ends `lease` by `end`.
    #[must_use]
    pub fn new(lease: Lease, end: End) -> Self {
        Self { lease, end }
    }
}

impl End {
    /// The handler finished, with these children and no result.
    #[must_use]
    pub fn complete(children: Vec<NewTask>) -> Self {
        Self::Complete { children, result: None }
    }
}

/// The ways in which a lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The handler finished. Its result is kept if the task asked for that. Its children are enqueued in the same step, whatever the capacity of their queues.
    Complete {
        /// Tasks that follow from this one. One whose id exists already, or whose unique key is held, is left out.
        children: Vec<NewTask>,
        /// What the handler found; `None` is `null`.
        result: Option<Payload>,
    },
    /// The handler failed and the task is to be tried again after `delay`; dead when that was its last attempt.
    Retry {
        /// What went wrong.
        error: String,
        /// How long the task is put off.
        delay: Duration,
    },
    /// The process that ran this task and no other died of it: the crash is charged to the task, and no attempt. It is ready again after
    /// `delay` where it stood, to run alone; dead when that was its last crash.
    ///
    /// For a holder that outlives the process of its handler. What dies with its holder says nothing, and its lease ends by itself.
    Crash {
        /// How the process ended.
        error: String,
        /// How long the task is put off.
        delay: Duration,
    },
    /// The task cannot succeed: it is dead at once.
    Bury {
        /// Why.
        error: String,
    },
    /// The task was not run, or not to its end, through no fault of its own: it is ready again where it
    /// stood, uncharged.
    Release,
    /// The worker does not know the task's name: scheduled after 1 s, doubling to 60 s, uncharged; dead after
    /// an hour of that.
    Park,
}
