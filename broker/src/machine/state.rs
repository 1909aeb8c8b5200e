//! The plain data of the machine, and the two ways of looking at it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Configuration, Progress};
use crate::{Incarnation, NewTask, Payload, QueueName, QueueStatus, TaskId, TaskName};

/// All queues of one namespace.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub(super) generation: u64,
    pub(super) queues: BTreeMap<QueueName, Queue>,
}

/// One queue.
///
/// Invariants: `ready`, `scheduled`, `leased` and `dead` are indexes of `tasks` by phase; each id is in
/// exactly one of them ([`Machine::check`] says so).
#[derive(Clone, Debug, Default)]
pub struct Queue {
    pub(super) configuration: Configuration,
    pub(super) closed: bool,
    /// The last sequence given.
    pub(super) sequence: u64,
    /// The last order of death given.
    pub(super) deaths: u64,
    pub(super) tasks: BTreeMap<TaskId, Record>,
    /// By sequence, those that run beside others.
    pub(super) ready: BTreeMap<u64, TaskId>,
    /// By sequence, those that must run alone.
    pub(super) ready_alone: BTreeMap<u64, TaskId>,
    /// By due time, in wall-clock milliseconds, then by sequence.
    pub(super) scheduled: BTreeSet<(u64, u64, TaskId)>,
    /// By the end of the lease, in steady milliseconds, then by sequence.
    pub(super) leased: BTreeSet<(u64, u64, TaskId)>,
    /// By the order in which they died.
    pub(super) dead: BTreeMap<u64, TaskId>,
    /// Given ids that were settled, and until when they are remembered, in wall-clock milliseconds.
    pub(super) remembered: BTreeMap<TaskId, u64>,
    /// The same by time.
    pub(super) forget: BTreeSet<(u64, TaskId)>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub(super) name: TaskName,
    pub(super) payload: Payload,
    pub(super) id_given: bool,
    pub(super) sequence: u64,
    pub(super) progress: Progress,
    pub(super) phase: Phase,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It can be claimed.
    Ready,
    /// It becomes ready at this wall-clock millisecond.
    Scheduled(u64),
    /// A process holds it until this steady millisecond.
    Leased(Incarnation, u64),
    /// It was given up; the number tells the order.
    Dead(u64),
}

impl Machine {
    /// An empty machine. The generation raises all epochs above those of lower generations.
    #[must_use]
    pub fn new(generation: u64) -> Self {
        Self { generation, queues: BTreeMap::new() }
    }

    /// How a queue stands; `None` when there is none of that name.
    #[must_use]
    pub fn status(&self, queue: &QueueName) -> Option<QueueStatus> {
        self.queues.get(queue).map(Queue::status)
    }

    /// Says that no more will come. Creates a missing queue.
    pub fn close(&mut self, queue: &QueueName) {
        self.queue(queue).closed = true;
    }

    pub(super) fn queue(&mut self, name: &QueueName) -> &mut Queue {
        self.queues.entry(name.clone()).or_default()
    }

    /// How many queues there are, and how many tasks on them, dead ones included.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        let tasks = self.queues.values().map(|queue| queue.tasks.len() as u64).sum();
        (self.queues.len() as u64, tasks)
    }

    /// Checks the invariants and names the first that does not hold.
    ///
    /// # Errors
    /// The sentence that is not true.
    pub fn check(&self) -> Result<(), String> {
        self.queues.iter().try_for_each(|(name, queue)| queue.check().map_err(|e| format!("{name}: {e}")))
    }
}

impl Queue {
    pub(super) fn status(&self) -> QueueStatus {
        QueueStatus {
            options: self.configuration.options.clone(),
            revision: self.configuration.revision,
            closed: self.closed,
            ready: (self.ready.len() + self.ready_alone.len()) as u64,
            scheduled: self.scheduled.len() as u64,
            leased: self.leased.len() as u64,
            dead: self.dead.len() as u64,
        }
    }

    pub(super) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Adds a task that is ready. The caller made sure that its id is new.
    pub(super) fn add(&mut self, task: &NewTask) {
        let sequence = self.next_sequence();
        let record = Record {
            name: task.name.clone(),
            payload: task.payload.clone(),
            id_given: task.id_given,
            sequence,
            progress: Progress::new(task.max_attempts, task.max_crashes),
            phase: Phase::Ready,
        };
        self.tasks.insert(task.id.clone(), record);
        self.ready.insert(sequence, task.id.clone());
    }

    /// Moves a task to another phase and keeps the indexes true.
    pub(super) fn enter(&mut self, id: &TaskId, phase: Phase) {
        self.leave(id);
        let Some(record) = self.tasks.get_mut(id) else { return };
        let sequence = record.sequence;
        record.phase = phase;
        match phase {
            Phase::Ready if record.progress.must_run_alone() => {
                drop(self.ready_alone.insert(sequence, id.clone()));
            }
            Phase::Ready => drop(self.ready.insert(sequence, id.clone())),
            Phase::Scheduled(due) => drop(self.scheduled.insert((due, sequence, id.clone()))),
            Phase::Leased(_, until) => drop(self.leased.insert((until, sequence, id.clone()))),
            Phase::Dead(order) => drop(self.dead.insert(order, id.clone())),
        }
    }

    /// Takes a task out of the index of its phase.
    pub(super) fn leave(&mut self, id: &TaskId) {
        let Some(Record { phase, sequence, .. }) = self.tasks.get(id) else { return };
        match phase {
            // A sequence is in at most one of the two.
            Phase::Ready => drop(self.ready.remove(sequence).or_else(|| self.ready_alone.remove(sequence))),
            Phase::Scheduled(due) => drop(self.scheduled.remove(&(*due, *sequence, id.clone()))),
            Phase::Leased(_, until) => drop(self.leased.remove(&(*until, *sequence, id.clone()))),
            Phase::Dead(order) => drop(self.dead.remove(order)),
        }
    }

    fn check(&self) -> Result<(), String> {
        let ready = self.ready.len() + self.ready_alone.len();
        let indexed = ready + self.scheduled.len() + self.leased.len() + self.dead.len();
        if indexed != self.tasks.len() {
            return Err(format!("{} tasks, but {indexed} in the indexes", self.tasks.len()));
        }
        for (id, record) in &self.tasks {
            let found = match &record.phase {
                Phase::Ready if record.progress.must_run_alone() => {
                    self.ready_alone.get(&record.sequence) == Some(id)
                }
                Phase::Ready => self.ready.get(&record.sequence) == Some(id),
                Phase::Scheduled(due) => self.scheduled.contains(&(*due, record.sequence, id.clone())),
                Phase::Leased(_, until) => self.leased.contains(&(*until, record.sequence, id.clone())),
                Phase::Dead(order) => self.dead.get(order) == Some(id),
            };
            if !found {
                return Err(format!("{id} is not in the index of its phase {:?}", record.phase));
            }
            if record.progress.alone && !matches!(record.phase, Phase::Leased(..)) {
                return Err(format!("{id} is marked alone, but {:?}", record.phase));
            }
            if self.remembered.contains_key(id) {
                return Err(format!("{id} is remembered as settled, but {:?}", record.phase));
            }
        }
        if self.remembered.len() != self.forget.len() {
            return Err(format!("{} ids remembered, {} to forget", self.remembered.len(), self.forget.len()));
        }
        Ok(())
    }
}
