//! What processes asked for and were told, in one order with what they did to the files.

use std::collections::{BTreeMap, BTreeSet};

use manyhands_broker::{Incarnation, Lease, TaskId};
use manyhands_test_recorder::{Entry, Event, note};
use serde::{Deserialize, Serialize};

use crate::queue;

/// A task: its queue and its id.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Name {
    pub(crate) queue: String,
    pub(crate) id: String,
}

impl Name {
    pub(crate) fn new(queue: impl ToString, id: impl ToString) -> Self {
        Self { queue: queue.to_string(), id: id.to_string() }
    }

    pub(crate) fn id(&self) -> TaskId {
        TaskId::new(&self.id).unwrap()
    }
}

/// One claim of a task.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Run {
    pub(crate) task: Name,
    pub(crate) epoch: u64,
    incarnation: Incarnation,
}

impl Run {
    pub(crate) fn of(lease: &Lease) -> Self {
        let task = Name::new(&lease.queue, &lease.id);
        Self { task, epoch: lease.epoch, incarnation: lease.incarnation }
    }

    pub(crate) fn lease(&self) -> Lease {
        let Self { task, epoch, incarnation } = self.clone();
        Lease { queue: queue(&task.queue), id: task.id(), epoch, incarnation }
    }
}

/// How a task is to end.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum How {
    Complete,
    Retry,
    Bury,
    Release,
}

/// What is done to tasks from outside.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) enum Order {
    Enqueue,
    Cancel,
    Revive,
    Purge,
}

/// What is asked for is written before, what was told after.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Line {
    /// Asked, in one step.
    Ask(Order, Vec<Name>),
    /// Told that it is done.
    Done(Order, Vec<Name>),
    /// Told: this is the queue's capacity.
    Configured(String, u64),
    /// Asked for a queue to be paused, or to go on.
    Pause(String),
    Paused(String, bool),
    Close(String),
    Closed(String),
    Claimed(Run),
    Settle(Run, How, Vec<Name>),
    Settled(Run),
}

impl Line {
    /// Writes it down.
    pub(crate) fn note(&self) {
        note(&serde_json::to_vec(self).unwrap());
    }
}

/// All of it up to some moment.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) asked: BTreeSet<(Order, Name)>,
    /// The tasks of each call that enqueues.
    pub(crate) calls: Vec<Vec<Name>>,
    pub(crate) enqueued: BTreeSet<Name>,
    /// Cancelled or purged.
    pub(crate) gone: BTreeSet<Name>,
    /// Revived, and nobody wanted them dead since.
    pub(crate) revived: BTreeSet<Name>,
    /// What was told of each queue last, if nothing else was asked since.
    pub(crate) capacities: BTreeMap<String, u64>,
    pub(crate) paused: BTreeMap<String, bool>,
    pub(crate) closing: BTreeSet<String>,
    pub(crate) closed: BTreeSet<String>,
    pub(crate) claimed: BTreeSet<Run>,
    pub(crate) settling: BTreeMap<Run, (How, Vec<Name>)>,
    pub(crate) settled: BTreeSet<Run>,
}

impl Told {
    pub(crate) fn see(&mut self, entry: &Entry) {
        let Event::Note { text } = &entry.event else { return };
        match serde_json::from_slice(text).unwrap() {
            Line::Ask(order, tasks) => {
                self.asked.extend(tasks.iter().map(|task| (order, task.clone())));
                if order == Order::Enqueue {
                    self.calls.push(tasks);
                }
            }
            Line::Done(Order::Enqueue, tasks) => self.enqueued.extend(tasks),
            Line::Done(Order::Cancel | Order::Purge, tasks) => self.gone.extend(tasks),
            Line::Done(Order::Revive, tasks) => self.revived.extend(tasks),
            Line::Configured(queue, capacity) => drop(self.capacities.insert(queue, capacity)),
            Line::Pause(queue) => drop(self.paused.remove(&queue)),
            Line::Paused(queue, paused) => drop(self.paused.insert(queue, paused)),
            Line::Close(queue) => drop(self.closing.insert(queue)),
            Line::Closed(queue) => drop(self.closed.insert(queue)),
            Line::Claimed(run) => drop(self.claimed.insert(run)),
            Line::Settle(run, how, children) => {
                if how == How::Bury {
                    self.revived.remove(&run.task);
                }
                self.settling.insert(run, (how, children));
            }
            Line::Settled(run) => drop(self.settled.insert(run)),
        }
    }

    pub(crate) fn was_asked(&self, order: Order, task: &Name) -> bool {
        self.asked.contains(&(order, task.clone()))
    }

    /// The tasks that were to be completed, with their children.
    pub(crate) fn parents(&self) -> impl Iterator<Item = (&Name, &[Name])> {
        let ends = self.settling.iter().filter(|(_, (how, _))| *how == How::Complete);
        ends.map(|(run, (_, children))| (&run.task, children.as_slice()))
    }
}
