//! What an operator sees of single tasks; and `set` and the purge of what waits.

use std::time::Duration;

use super::{Machine, Phase, Queue, Record, failures};
use crate::{
    Ahead, Error, Mark, Order, Outcome, Pause, QueueName, QueueOptions, QueueStatus, Result, Standing, State,
    TaskDetail, TaskId, TaskInfo, TaskPage, Wanted, Why,
    clock::{Now, time},
};

impl Machine {
    /// Everything that is known of one task.
    #[must_use]
    pub fn get(&self, queue: &QueueName, id: &TaskId, now: Now) -> Option<TaskDetail> {
        let queue = self.queues.get(queue)?;
        let record = queue.tasks.get(id)?;
        Some(TaskDetail {
            info: queue.info(id, record, now),
            payload: record.payload.clone(),
            progress: record.reported.clone(),
            history: failures(record.progress.history.clone()),
        })
    }

    /// Lists tasks in one state, in the order of that.
    #[must_use]
    pub fn list(
        &self,
        queue: &QueueName,
        state: State,
        after: Option<&Mark>,
        max: usize,
        now: Now,
    ) -> TaskPage {
        let Some(queue) = self.queues.get(queue) else { return TaskPage::default() };
        let ids = queue.ids(state).into_iter().filter_map(|id| Some((id, queue.tasks.get(id)?)));
        let behind = |mark: &Mark| after.is_none_or(|after| order(mark) > order(after));
        let places = ids.map(|(id, record)| (queue.mark(id, record), id, record));
        let mut rest = places.filter(|(mark, ..)| behind(mark));
        let first: Vec<_> = rest.by_ref().take(max).collect();
        let next = rest.next().and_then(|_| first.last()).map(|(mark, ..)| mark.clone());
        TaskPage {
            tasks: first.into_iter().map(|(_, id, record)| queue.info(id, record, now)).collect(),
            next,
        }
    }

    /// Why a task is not running, or what became of it.
    #[must_use]
    pub fn why(&self, queue: &QueueName, id: &TaskId, now: Now) -> Why {
        let Some(queue) = self.queues.get(queue) else { return Why::Unknown };
        match queue.tasks.get(id) {
            Some(record) => queue.why(id, record, now),
            None => match queue.results.get(id, now) {
                Some(Outcome::Done(_)) => Why::Done,
                Some(_) => Why::Cancelled,
                None if queue.remembers(id, now) => Why::Settled,
                None => Why::Unknown,
            },
        }
    }

    /// The queues by name.
    #[must_use]
    pub fn names(&self, after: Option<&QueueName>, max: usize) -> Vec<QueueName> {
        let names = self.queues.keys().filter(|name| after.is_none_or(|after| *name > after));
        names.take(max).cloned().collect()
    }

    /// Changes the options of a queue. Creates a missing one. Tasks that wait for keys which are free by the new options become ready.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) when they were changed since, or there are tasks that they would not fit.
    pub fn set(
        &mut self,
        name: &QueueName,
        options: &QueueOptions,
        revision: u64,
        now: Now,
    ) -> Result<QueueStatus> {
        let status = self.status(name);
        let (unsettled, dead) = status.map_or((0, 0), |status| (status.unsettled(), status.dead));
        let mut configuration =
            self.queues.get(name).map(|queue| queue.configuration.clone()).unwrap_or_default();
        configuration.change(name, options, revision, unsettled, dead)?;
        let queue = self.queue(name);
        queue.configuration = configuration;
        if !options.limits_keys() {
            // There are no tasks, and intervals that go on mean nothing any more.
            queue.lines.clear();
            queue.opening.clear();
        }
        queue.admit_all(now);
        Ok(queue.status())
    }

    /// Cancels tasks that wait in these states, and tells how many.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when one of the states is not of those that wait.
    pub fn purge_waiting(&mut self, name: &QueueName, states: &[State], max: usize, now: Now) -> Result<u64> {
        let order = purged(states)?;
        let mut purged = 0;
        if let Some(queue) = self.queues.get_mut(name) {
            for state in order {
                let ids: Vec<_> = queue.ids(state).into_iter().take(max - purged).cloned().collect();
                purged += ids.len();
                for id in &ids {
                    queue.cancel(id, now);
                }
            }
        }
        self.count_settled(now);
        Ok(purged as u64)
    }
}

/// The states that a purge goes through, in its order.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when one of them is not of those that wait.
pub fn purged(states: &[State]) -> Result<Vec<State>> {
    if let Some(state) = states.iter().find(|state| !state.waits()) {
        let message = format!("tasks that are {state} cannot be purged like those that wait");
        let advice = "cancel what is leased; the dead have a purge of their own";
        return Err(Error::invalid("purge", message).advise(advice));
    }
    let order = [State::Held, State::Scheduled, State::Ready];
    Ok(order.into_iter().filter(|state| states.contains(state)).collect())
}

/// What sorts marks of one list.
fn order(mark: &Mark) -> (Option<&str>, i64, i64) {
    (mark.rest.as_deref(), mark.first, mark.second)
}

impl Queue {
    /// The ids of the tasks in one state, in the order of its list.
    fn ids(&self, state: State) -> Vec<&TaskId> {
        match state {
            State::Ready => {
                let mut ready: Vec<_> = self.ready.iter().chain(&self.ready_alone).collect();
                ready.sort_by_key(|(place, _)| **place);
                ready.into_iter().map(|(_, id)| id).collect()
            }
            State::Scheduled => self.scheduled.iter().map(|(.., id)| id).collect(),
            State::Held => self.lines.values().flat_map(|line| line.held.values()).collect(),
            State::Leased => self.leased.iter().map(|(.., id)| id).collect(),
            State::Dead => self.dead.values().collect(),
        }
    }

    fn info(&self, id: &TaskId, record: &Record, now: Now) -> TaskInfo {
        let left = |until: u64, now: u64| Duration::from_millis(until.saturating_sub(now));
        let Record { progress, .. } = record;
        let standing = match record.phase {
            Phase::Ready => Standing::Ready { alone: progress.must_run_alone() },
            Phase::Scheduled(due) => Standing::Scheduled { due: time(due), left: left(due, now.wall) },
            Phase::Held => Standing::Held,
            Phase::Leased(by, until) => {
                Standing::Leased { by, left: left(until, now.steady), cancelled: progress.cancelled }
            }
            Phase::Dead(_, died) => Standing::Dead { died: time(died) },
        };
        let waits = standing.state().waits() && progress.epoch == 0;
        TaskInfo {
            priority: (self.configuration.options.order == Order::Priority).then_some(record.rank),
            attempts: progress.attempts,
            max_attempts: progress.max_attempts,
            crashes: progress.crashes,
            max_crashes: progress.max_crashes,
            epoch: progress.epoch,
            parked_since: (progress.parks > 0).then(|| time(progress.parked_since)),
            expires: record.expires.filter(|_| waits).map(time),
            unique: record.unique.clone(),
            key: record.limit.clone(),
            batch: record.batch.as_ref().map(|(name, _)| name.clone()),
            id_given: record.id_given,
            // Here, what somebody waits for is kept as well.
            result: record.wanted.kept().map_or(Wanted::No, Wanted::Keep),
            run_limit: record.run_limit,
            error: progress.error.clone().filter(|error| !error.is_empty()),
            payload_bytes: record.payload.len(),
            ..TaskInfo::new(id.clone(), record.name.clone(), standing)
        }
    }

    /// Its place in the list of its state.
    fn mark(&self, id: &TaskId, record: &Record) -> Mark {
        let int = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let sequence = int(record.sequence);
        match record.phase {
            Phase::Ready => Mark::new(self.key(id).0, self.key(id).1, None),
            Phase::Scheduled(due) => Mark::new(int(due), sequence, None),
            Phase::Held => {
                let key = record.limit.as_ref().map(|key| key.as_str().to_owned());
                Mark::new(self.held_key(id).0, self.held_key(id).1, key)
            }
            Phase::Leased(_, until) => Mark::new(int(until), sequence, None),
            Phase::Dead(order, _) => Mark::new(int(order), 0, None),
        }
    }

    fn why(&self, id: &TaskId, record: &Record, now: Now) -> Why {
        let info = self.info(id, record, now);
        let history = failures(record.progress.history.clone());
        let facts = Facts {
            paused: self.paused.is_some(),
            pause: self.paused.clone(),
            ahead: Ahead::of(self.ahead(id, record)),
            permits: self.permits(record),
            limit: self.configuration.options.key_limit,
            opens: self.opens(record, now),
            in_time: record.in_time(now),
        };
        reason(
            TaskDetail { info, payload: record.payload.clone(), progress: record.reported.clone(), history },
            facts,
        )
    }

    fn ahead(&self, id: &TaskId, record: &Record) -> u64 {
        let before = match record.phase {
            Phase::Ready if record.progress.must_run_alone() => {
                self.ready_alone.range(..self.key(id)).count()
            }
            Phase::Ready => self.ready.range(..self.key(id)).count(),
            Phase::Held => {
                let line = record.limit.as_ref().and_then(|key| self.lines.get(key));
                line.map_or(0, |line| line.held.range(..self.held_key(id)).count())
            }
            Phase::Scheduled(_) | Phase::Leased(..) | Phase::Dead(..) => 0,
        };
        before as u64
    }
}

/// What decides, besides the task itself, why it is not running.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether its queue is paused.
    pub paused: bool,
    /// Who paused it, where that is known.
    pub pause: Option<Pause>,
    /// How many are ahead of it: of the ready ones of its kind, or the held ones of its key.
    pub ahead: Ahead,
    /// How many tasks of its key are ready or leased.
    pub permits: u64,
    /// How many may be.
    pub limit: Option<u32>,
    /// How long until the interval of its key is over, if one goes on.
    pub opens: Option<Duration>,
    /// Whether it may still be claimed.
    pub in_time: bool,
}

/// The one reason why a task is not running.
#[must_use]
pub fn reason(task: TaskDetail, facts: Facts) -> Why {
    let TaskDetail { info, progress, history, .. } = task;
    let Facts { paused, pause, ahead, permits, limit, opens, in_time } = facts;
    if let Some(at) = info.expires.filter(|_| !in_time) {
        return Why::Expired { at };
    }
    match (info.standing, info.key) {
        (Standing::Scheduled { due, left }, _) => match info.parked_since {
            Some(since) => Why::Parked { since, next: due, left },
            None => Why::Due { at: due, left },
        },
        (Standing::Held, Some(key)) => Why::Held { key, permits, limit, opens, ahead },
        (Standing::Ready { .. } | Standing::Held, _) if paused => Why::Paused { pause, ahead },
        (Standing::Ready { alone: true }, _) => Why::Alone { ahead },
        (Standing::Ready { .. } | Standing::Held, _) => Why::Behind { ahead },
        (Standing::Leased { by, left, cancelled }, _) => Why::Leased { by, left, cancelled, progress },
        (Standing::Dead { died }, _) => Why::Dead { error: info.error.unwrap_or_default(), died, history },
    }
}
