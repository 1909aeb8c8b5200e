//! What a process did and was told, written down outside the broker.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    sync::Mutex,
};

use manyhands_broker::{Incarnation, Lease, NewTask, TaskId, Token};
use serde::{Deserialize, Serialize};

use crate::{queue, work::keyed_task};

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

    /// Whether the id is remembered when the task is settled: it was given, so it is no UUID, and its queue does.
    pub(crate) fn is_remembered(&self) -> bool {
        self.id().as_uuid().is_none() && !self.comes_again()
    }

    /// Whether the id is enqueued again after its task was settled, as its queue forgets ids. It is another task then,
    /// which begins anew.
    pub(crate) fn comes_again(&self) -> bool {
        self.queue == "short"
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

/// An enqueue call that can be repeated.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Call {
    incarnation: Incarnation,
    sequence: u64,
    names: Vec<Name>,
}

impl Call {
    pub(crate) fn new(Token { incarnation, sequence }: Token, names: &[Name]) -> Self {
        Self { incarnation, sequence, names: names.to_vec() }
    }

    pub(crate) fn token(&self) -> Token {
        Token { incarnation: self.incarnation, sequence: self.sequence }
    }

    pub(crate) fn tasks(&self) -> Vec<NewTask> {
        self.names.iter().map(keyed_task).collect()
    }
}

/// How a task is to end.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum How {
    Complete,
    Retry,
    Bury,
    Release,
    Park,
}

/// One line. What is about to be done is written before, what was told after; each is on the disk before anything else
/// happens.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Line {
    /// Told: this is the queue's capacity.
    Declared { queue: String, capacity: u64 },
    /// About to be done, in one step.
    Enqueue(Vec<Name>),
    /// About to be done, in one step, and perhaps again.
    Call(Call),
    /// Told: it is on the queue.
    Enqueued(Vec<Name>),
    /// Told.
    Claimed(Run),
    /// About to be done.
    Settle { run: Run, how: How, children: Vec<Name> },
    /// Told.
    Settled(Run),
    /// About to be done.
    Close(String),
    /// Told.
    Closed(String),
}

/// Where it is written.
#[derive(Debug)]
pub(crate) struct Diary(Mutex<File>);

impl Diary {
    pub(crate) fn open(path: &Path) -> Self {
        Self(Mutex::new(OpenOptions::new().create_new(true).append(true).open(path).unwrap()))
    }

    pub(crate) fn note(&self, line: &Line) {
        let mut text = serde_json::to_vec(line).unwrap();
        text.push(b'\n');
        let mut file = self.0.lock().unwrap();
        file.write_all(&text).unwrap();
        file.sync_data().unwrap();
    }
}

/// All of it, sorted.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// In the order in which they were written.
    lines: Vec<Line>,
    pub(crate) capacities: BTreeMap<String, u64>,
    /// The tasks of each call.
    pub(crate) calls: Vec<Vec<Name>>,
    /// Those that can be repeated.
    pub(crate) repeatable: Vec<Call>,
    pub(crate) enqueued: BTreeSet<Name>,
    pub(crate) claimed: BTreeSet<Run>,
    /// What was to become of a run, with the children.
    pub(crate) settlements: BTreeMap<Run, (How, Vec<Name>)>,
    pub(crate) settled: BTreeSet<Run>,
    pub(crate) closing: BTreeSet<String>,
    pub(crate) closed: BTreeSet<String>,
}

impl Told {
    /// A file that is not there is one in which nothing was written yet.
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut told = Self::default();
        // What follows the last line end is a line that was being written.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let line: Line = serde_json::from_str(line).unwrap();
            told.lines.push(line.clone());
            match line {
                Line::Declared { queue, capacity } => drop(told.capacities.insert(queue, capacity)),
                Line::Enqueue(tasks) => told.calls.push(tasks),
                Line::Call(call) => {
                    told.calls.push(call.names.clone());
                    told.repeatable.push(call);
                }
                Line::Enqueued(tasks) => told.enqueued.extend(tasks),
                Line::Claimed(run) => drop(told.claimed.insert(run)),
                Line::Settle { run, how, children } => drop(told.settlements.insert(run, (how, children))),
                Line::Settled(run) => drop(told.settled.insert(run)),
                Line::Close(queue) => drop(told.closing.insert(queue)),
                Line::Closed(queue) => drop(told.closed.insert(queue)),
            }
        }
        told
    }

    /// The tasks whose completion was asked for, each with its children.
    pub(crate) fn parents(&self) -> impl Iterator<Item = (&Name, &[Name])> {
        let settlements = self.settlements.iter().filter(|(_, (how, _))| *how == How::Complete);
        settlements.map(|(run, (_, children))| (&run.task, children.as_slice()))
    }

    /// The tasks of which it was told that they ended so.
    pub(crate) fn ended(&self, wanted: How) -> BTreeSet<&Name> {
        let ended = self.settled.iter().filter(|run| self.settlements[*run].0 == wanted);
        ended.map(|run| &run.task).collect()
    }

    /// The tasks of which the last thing that is known is that a settlement was accepted, and how they ended.
    pub(crate) fn last_settled(&self) -> BTreeMap<&Name, How> {
        let mut last = BTreeMap::new();
        for line in &self.lines {
            match line {
                Line::Settled(run) => drop(last.insert(&run.task, self.settlements[run].0)),
                Line::Claimed(run) | Line::Settle { run, .. } => drop(last.remove(&run.task)),
                Line::Enqueue(tasks) => last.retain(|task, _| !tasks.contains(task)),
                _ => {}
            }
        }
        last
    }
}
