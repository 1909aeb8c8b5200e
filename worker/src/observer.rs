//! Somebody who watches a worker: progress displays, metrics, and tests that wait for an event.

use std::{fmt::Debug, time::Duration};

use manyhands_broker::{ClaimedTask, Settled};

/// A run of a handler.
#[derive(Debug)]
#[non_exhaustive]
pub struct Running<'a> {
    /// The task.
    pub task: &'a ClaimedTask,
}

/// How a run of a handler ended, from the worker's side. The broker may still refuse it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// It is done.
    Completed,
    /// It failed and is tried again after this long.
    Retried(String, Duration),
    /// The process that ran it, and nothing else, crashed: it is tried again after this long, alone, unless it
    /// crashed too often.
    Crashed(String, Duration),
    /// It failed and is given up.
    Buried(String),
    /// It was stopped with the worker and is given back uncharged.
    Released,
    /// It was stopped because somebody cancelled the task, which is gone.
    Cancelled,
    /// No handler has its name.
    Parked,
    /// The lease was lost meanwhile: another may run it, and nothing is settled.
    Lost,
}

/// Is told what a worker does, on the worker's own threads: be quick.
pub trait Observer: Debug + Send + Sync + 'static {
    /// A handler starts.
    fn started(&self, _run: &Running<'_>) {}

    /// A handler ended, or was stopped. Always before its settlement is sent.
    fn ended(&self, _run: &Running<'_>, _ending: &Ending, _took: Duration) {}

    /// The broker answered the settlement.
    fn settled(&self, _run: &Running<'_>, _answer: Settled) {}
}

/// Nobody watches.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Observer for Nobody {}
