//! The plain data of the machine, and the two ways of looking at it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Configuration, Fate, Progress,
    batch::Batches,
    limit::Line,
    outcome::{Kept, Unsettled, begin},
    place,
};
use crate::{
    BatchName, Enqueued, Incarnation, LimitKey, NewTask, Outcome, Pause, Payload, QueueName, QueueStatus,
    TaskId, TaskName, Token, Unique, UniqueKey, Wanted,
    clock::{Now, millis},
    limits,
};

/// All queues of one namespace.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) generation: u64,
    pub(super) queues: BTreeMap<QueueName, Queue>,
    pub(super) batches: Batches,
    /// The answers of enqueue calls.
    pub(super) calls: Kept<Token, Vec<Enqueued>>,
}

/// One queue.
///
/// Invariants: `ready`, `scheduled`, `leased` and `dead` are indexes of `tasks` by phase; each id is in
/// exactly one of them ([`Machine::check`] says so).
#[derive(Clone, Debug)]
pub struct Queue {
    pub(super) configuration: Configuration,
    pub(super) closed: bool,
    /// Who paused it, while it is.
    pub(super) paused: Option<Pause>,
    /// The last sequence given.
    pub(super) sequence: u64,
    /// The last order of death given.
    pub(super) deaths: u64,
    pub(super) tasks: BTreeMap<TaskId, Record>,
    /// By rank and place, those that run beside others.
    pub(super) ready: BTreeMap<(i64, i64), TaskId>,
    /// By rank and place, those that must run alone.
    pub(super) ready_alone: BTreeMap<(i64, i64), TaskId>,
    /// By due time, in wall-clock milliseconds, then by sequence.
    pub(super) scheduled: BTreeSet<(u64, u64, TaskId)>,
    /// By the end of the lease, in steady milliseconds, then by sequence.
    pub(super) leased: BTreeSet<(u64, u64, TaskId)>,
    /// By the order in which they died.
    pub(super) dead: BTreeMap<u64, TaskId>,
    /// Those that nobody claimed yet and that are of no use after this wall-clock millisecond.
    pub(super) expiring: BTreeSet<(u64, TaskId)>,
    /// Given ids that were settled.
    pub(super) remembered: Kept<TaskId, ()>,
    /// What became of tasks that are gone.
    pub(super) results: Kept<TaskId, Outcome>,
    /// The unique keys of unsettled tasks.
    pub(super) unique: Unsettled,
    /// Unique keys that are held after their task was settled.
    pub(super) seen: Kept<UniqueKey, TaskId>,
    /// The tasks that have limited keys, by key.
    pub(super) lines: BTreeMap<LimitKey, Line>,
    /// How many tasks are held.
    pub(super) held: u64,
    /// By wall-clock millisecond, the keys whose interval is over then.
    pub(super) opening: BTreeSet<(u64, LimitKey)>,
    /// The batches of tasks that the present step has settled, and how.
    pub(super) settled: Vec<(BatchName, Fate)>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            configuration: Configuration::default(),
            closed: false,
            paused: None,
            sequence: 0,
            deaths: 0,
            tasks: BTreeMap::new(),
            ready: BTreeMap::new(),
            ready_alone: BTreeMap::new(),
            scheduled: BTreeSet::new(),
            leased: BTreeSet::new(),
            dead: BTreeMap::new(),
            expiring: BTreeSet::new(),
            remembered: Kept::new(limits::MAX_REMEMBERED),
            results: Kept::new(limits::MAX_RESULTS),
            unique: Unsettled::new(),
            seen: Kept::new(limits::MAX_SEEN),
            lines: BTreeMap::new(),
            held: 0,
            opening: BTreeSet::new(),
            settled: Vec::new(),
        }
    }
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub(super) name: TaskName,
    pub(super) payload: Payload,
    pub(super) id_given: bool,
    pub(super) sequence: u64,
    /// The lowest is claimed first; 0 where the order is not by priority.
    pub(super) rank: i64,
    /// Whether it was given back under this sequence.
    pub(super) returned: bool,
    /// The wall-clock millisecond by which somebody must have claimed it.
    pub(super) expires: Option<u64>,
    pub(super) unique: Option<Unique>,
    pub(super) limit: Option<LimitKey>,
    /// Its batch, and the number of that.
    pub(super) batch: Option<(BatchName, u64)>,
    /// What the holder of the present lease told of its progress.
    pub(super) reported: Option<Payload>,
    pub(super) wanted: Wanted,
    pub(super) run_limit: Option<Duration>,
    pub(super) progress: Progress,
    pub(super) phase: Phase,
}

impl Record {
    /// Whether it is still of use to somebody who claims it.
    pub(super) fn in_time(&self, now: Now) -> bool {
        self.progress.epoch > 0 || self.expires.is_none_or(|expires| expires > now.wall)
    }
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It can be claimed.
    Ready,
    /// It becomes ready at this wall-clock millisecond.
    Scheduled(u64),
    /// It becomes ready when another task of its key has ended, or the interval of the key is over.
    Held,
    /// A process holds it until this steady millisecond.
    Leased(Incarnation, u64),
    /// It was given up: the how-manieth of its queue, and at which wall-clock millisecond.
    Dead(u64, u64),
}

impl Machine {
    /// An empty machine. The generation raises all epochs above those of lower generations.
    #[must_use]
    pub fn new(generation: u64) -> Self {
        let calls = Kept::new(u64::MAX);
        Self { generation, queues: BTreeMap::new(), batches: Batches::default(), calls }
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
        let first = self.wrong().into_iter().next();
        first.map_or(Ok(()), |(queue, wrong)| match queue {
            Some(queue) => Err(format!("{queue}: {wrong}")),
            None => Err(wrong),
        })
    }

    /// Checks the invariants and names all that do not hold, each with its queue if it is of one.
    #[must_use]
    pub fn wrong(&self) -> Vec<(Option<&QueueName>, String)> {
        let queues = self.queues.iter();
        let of_queues =
            queues.flat_map(|(name, queue)| queue.wrong().into_iter().map(move |wrong| (Some(name), wrong)));
        let mut unsettled = BTreeMap::new();
        for record in self.queues.values().flat_map(|queue| queue.tasks.values()) {
            if let (Some((batch, _)), false) = (&record.batch, matches!(record.phase, Phase::Dead(..))) {
                *unsettled.entry(batch.clone()).or_default() += 1;
            }
        }
        let others = [self.batches.check(&unsettled), self.calls.check("calls")];
        let others = others.into_iter().filter_map(Result::err).map(|wrong| (None, wrong));
        of_queues.chain(others).collect()
    }
}

impl Queue {
    pub(super) fn status(&self) -> QueueStatus {
        QueueStatus {
            options: self.configuration.options.clone(),
            revision: self.configuration.revision,
            closed: self.closed,
            paused: self.paused.is_some(),
            pause: self.paused.clone(),
            ready: (self.ready.len() + self.ready_alone.len()) as u64,
            scheduled: self.scheduled.len() as u64,
            held: self.held,
            leased: self.leased.len() as u64,
            dead: self.dead.len() as u64,
            sequence: Some(self.sequence),
        }
    }

    pub(super) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Adds a task, of the batch of this number. The caller made sure that its id and its unique key are free.
    pub(super) fn add(&mut self, task: &NewTask, batch: Option<u64>, now: Now) {
        self.forget_past(now);
        let due = task.start.due(now.wall);
        let record = Record {
            name: task.name.clone(),
            payload: task.payload.clone(),
            id_given: task.id_given,
            sequence: self.next_sequence(),
            rank: task.priority.unwrap_or_default(),
            returned: false,
            expires: task.expires.map(|time| now.wall.saturating_add(millis(time))),
            unique: task.unique.clone(),
            limit: task.key.clone(),
            batch: task.batch.clone().zip(batch),
            reported: None,
            wanted: task.result,
            run_limit: task.run_limit,
            progress: Progress::new(task.max_attempts, task.max_crashes),
            phase: Phase::Ready,
        };
        begin(self, task);
        self.take_key(&task.id, task.unique.as_ref());
        self.tasks.insert(task.id.clone(), record);
        match due {
            Some(due) => self.put(&task.id, Phase::Scheduled(due)),
            None => self.line_up(&task.id, now),
        }
    }

    /// Puts a task that is in no index where it can be claimed, or where it waits for its key.
    pub(super) fn line_up(&mut self, id: &TaskId, now: Now) {
        let limit = self.tasks.get(id).and_then(|record| record.limit.clone());
        self.put(id, if limit.is_some() { Phase::Held } else { Phase::Ready });
        self.admit(limit.as_ref(), now);
    }

    /// Moves a task to another phase and keeps the indexes true.
    pub(super) fn enter(&mut self, id: &TaskId, phase: Phase) {
        self.leave(id);
        self.put(id, phase);
    }

    /// Puts a task that is in no index into that of a phase.
    pub(super) fn put(&mut self, id: &TaskId, phase: Phase) {
        let key = self.key(id);
        let Some(record) = self.tasks.get_mut(id) else { return };
        let sequence = record.sequence;
        record.phase = phase;
        match phase {
            Phase::Ready if record.progress.must_run_alone() => {
                drop(self.ready_alone.insert(key, id.clone()));
            }
            Phase::Ready => drop(self.ready.insert(key, id.clone())),
            Phase::Scheduled(due) => drop(self.scheduled.insert((due, sequence, id.clone()))),
            Phase::Held => self.held += 1,
            Phase::Leased(_, until) => drop(self.leased.insert((until, sequence, id.clone()))),
            Phase::Dead(order, _) => drop(self.dead.insert(order, id.clone())),
        }
        if let Some(expires) = record.expires
            && record.progress.epoch == 0
            && matches!(phase, Phase::Ready | Phase::Scheduled(_) | Phase::Held)
        {
            self.expiring.insert((expires, id.clone()));
        }
        self.stand_in_line(id, phase);
    }

    /// Takes a task out of the index of its phase.
    pub(super) fn leave(&mut self, id: &TaskId) {
        let key = self.key(id);
        let Some(Record { phase, sequence, expires, .. }) = self.tasks.get(id) else { return };
        let phase = *phase;
        match phase {
            // A place is in at most one of the two.
            Phase::Ready => drop(self.ready.remove(&key).or_else(|| self.ready_alone.remove(&key))),
            Phase::Scheduled(due) => drop(self.scheduled.remove(&(due, *sequence, id.clone()))),
            Phase::Held => self.held -= 1,
            Phase::Leased(_, until) => drop(self.leased.remove(&(until, *sequence, id.clone()))),
            Phase::Dead(order, _) => drop(self.dead.remove(&order)),
        }
        if let Some(expires) = expires {
            self.expiring.remove(&(*expires, id.clone()));
        }
        self.leave_line(id, phase);
    }

    /// Where a task stands when it is ready.
    pub(super) fn key(&self, id: &TaskId) -> (i64, i64) {
        self.tasks.get(id).map_or((0, 0), |record| {
            (record.rank, place(self.configuration.options.order, record.sequence, record.returned))
        })
    }

    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let ready = self.ready.len() + self.ready_alone.len();
        let held = usize::try_from(self.held).unwrap_or(usize::MAX);
        let indexed = ready + self.scheduled.len() + held + self.leased.len() + self.dead.len();
        if indexed != self.tasks.len() {
            wrong.push(format!("{} tasks, but {indexed} in the indexes", self.tasks.len()));
        }
        for (id, record) in &self.tasks {
            let found = match &record.phase {
                Phase::Ready if record.progress.must_run_alone() => {
                    self.ready_alone.get(&self.key(id)) == Some(id)
                }
                Phase::Ready => self.ready.get(&self.key(id)) == Some(id),
                Phase::Scheduled(due) => self.scheduled.contains(&(*due, record.sequence, id.clone())),
                Phase::Held => {
                    let line = record.limit.as_ref().and_then(|key| self.lines.get(key));
                    line.is_some_and(|line| line.held.get(&self.held_key(id)) == Some(id))
                }
                Phase::Leased(_, until) => self.leased.contains(&(*until, record.sequence, id.clone())),
                Phase::Dead(order, _) => self.dead.get(order) == Some(id),
            };
            if !found {
                wrong.push(format!("{id} is not in the index of its phase {:?}", record.phase));
            }
            if record.progress.alone && !matches!(record.phase, Phase::Leased(..)) {
                wrong.push(format!("{id} is marked alone, but {:?}", record.phase));
            }
            let dead = matches!(record.phase, Phase::Dead(..));
            if self.remembered.contains(id) || self.results.contains(id) {
                wrong.push(format!("{id} is remembered as settled, but {:?}", record.phase));
            }
            if record.progress.cancelled && !matches!(record.phase, Phase::Leased(..)) && !dead {
                wrong.push(format!("{id} is to be cancelled, but {:?}", record.phase));
            }
            if let Some(Unique { key, .. }) = &record.unique
                && (self.unique.get(key) == Some(id)) == dead
            {
                wrong.push(format!(
                    "{id} is {:?}, and its key {key} {:?}",
                    record.phase,
                    self.unique.get(key)
                ));
            }
        }
        for (key, id) in self.unique.iter().filter(|(_, id)| !self.tasks.contains_key(*id)) {
            wrong.push(format!("key {key} is held by {id}, which is gone"));
        }
        let kept = [self.remembered.check("ids"), self.results.check("results"), self.seen.check("keys")];
        wrong.extend(kept.into_iter().chain([self.check_lines()]).filter_map(Result::err));
        wrong
    }
}
