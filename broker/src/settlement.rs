//! How a lease ends.

use std::time::Duration;

use crate::{Lease, NewTask};

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

/// The ways in which a lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The handler finished. Its children are enqueued in the same step, whatever the capacity of their queues.
    Complete {
        /// Tasks that follow from this one. One whose id exists already is left as it is.
        children: Vec<NewTask>,
    },
    /// The handler failed and the task is to be tried again after `delay`; dead when that was its last attempt.
    Retry {
        /// What went wrong.
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
