//! What an operator sees of single tasks; and `set` and the purge of what waits.

use std::time::Duration;

use rusqlite::{Params, Row};
use uuid::Uuid;

use super::{QueueRow, Steps, TaskRow};
use crate::{
    Ahead, Cancel, Mark, Order, Payload, QueueName, QueueOptions, QueueStatus, Result, Standing, State,
    TaskDetail, TaskId, TaskInfo, TaskPage, Why,
    backends::local::{
        error::sqlite,
        keys::{IdKey, StoredName, int, state, uint},
        statements,
    },
    clock::{Now, time},
    limits,
    machine::{Facts, failures, purged, reason},
};

/// A task as an operator sees it, and its place in the list of its state.
pub(super) struct Look {
    pub(super) info: TaskInfo,
    pub(super) mark: Mark,
    pub(super) history: Vec<(u64, String)>,
}

impl Look {
    /// How many columns [`read`](Self::read) takes.
    const COLUMNS: usize = TaskRow::COLUMNS + 11;

    fn read(row: &Row<'_>, queue: &QueueRow, now: Now) -> rusqlite::Result<Self> {
        let task = TaskRow::read(row)?;
        let column = |at| TaskRow::COLUMNS + at;
        let number = |at| row.get::<_, Option<i64>>(column(at)).map(Option::unwrap_or_default);
        let left = |until: i64, now: u64| Duration::from_millis(uint(until).saturating_sub(now));
        let (rank, place, sequence) = (number(2)?, number(3)?, int(task.sequence));
        let (due, until, died, death) = (number(4)?, number(6)?, number(7)?, number(8)?);
        let key = task.limit.as_ref().map(|key| key.as_str().to_owned());
        let (standing, mark) = match task.state {
            state::READY => (Standing::Ready { alone: task.must_alone }, Mark::new(rank, place, None)),
            state::SCHEDULED => {
                let standing = Standing::Scheduled { due: time(uint(due)), left: left(due, now.wall) };
                (standing, Mark::new(due, sequence, None))
            }
            state::HELD => (Standing::Held, Mark::new(rank, place, key)),
            state::LEASED => {
                let by = Uuid::from_bytes(row.get(column(5))?).into();
                let (left, cancelled) = (left(until, now.steady), task.progress.cancelled);
                (Standing::Leased { by, left, cancelled }, Mark::new(until, sequence, None))
            }
            _ => (Standing::Dead { died: time(uint(died)) }, Mark::new(death, 0, None)),
        };
        let (progress, expires) = (task.progress, row.get::<_, Option<i64>>(column(9))?);
        let waits = standing.state().waits() && progress.epoch == 0;
        let info = TaskInfo {
            priority: (queue.order() == Order::Priority).then_some(rank),
            attempts: progress.attempts,
            max_attempts: progress.max_attempts,
            crashes: progress.crashes,
            max_crashes: progress.max_crashes,
            epoch: progress.epoch,
            parked_since: (progress.parks > 0).then(|| time(progress.parked_since)),
            expires: expires.filter(|_| waits).map(|expires| time(uint(expires))),
            unique: task.unique,
            key: task.limit,
            batch: task.batch,
            id_given: task.id_given,
            result: task.wanted,
            run_limit: row.get::<_, Option<i64>>(column(10))?.map(|ms| Duration::from_millis(uint(ms))),
            error: progress.error.filter(|error| !error.is_empty()),
            payload_bytes: usize::try_from(number(1)?).unwrap_or_default(),
            ..TaskInfo::new(task.id, row.get::<_, StoredName>(column(0))?.0, standing)
        };
        Ok(Self { info, mark, history: progress.history })
    }
}

impl Steps<'_, '_> {
    /// As `Machine::get`.
    pub(in super::super) fn get(
        &self,
        name: &QueueName,
        id: &TaskId,
    ) -> rusqlite::Result<Option<TaskDetail>> {
        let Some(queue) = self.peek_queue(name)? else { return Ok(None) };
        Ok(self.look(&queue, id)?.map(|(task, _)| task))
    }

    fn look(&self, queue: &QueueRow, id: &TaskId) -> rusqlite::Result<Option<(TaskDetail, Mark)>> {
        if let Some((Look { info, mark, .. }, payload)) = self.look_packed(queue, id)? {
            return Ok(Some((TaskDetail { info, payload, progress: None, history: Vec::new() }, mark)));
        }
        self.find(statements::LOOK, (queue.key, IdKey(id)), |row| {
            let Look { info, mark, history } = Look::read(row, queue, self.now)?;
            let progress = row.get::<_, Option<String>>(Look::COLUMNS + 1)?;
            let task = TaskDetail {
                info,
                payload: Payload::from_stored(row.get::<_, String>(Look::COLUMNS)?),
                progress: progress.map(Payload::from_stored),
                history: failures(history),
            };
            Ok((task, mark))
        })
    }

    /// As `Machine::list`.
    pub(in super::super) fn look_through(
        &self,
        name: &QueueName,
        state: State,
        after: Option<&Mark>,
        max: usize,
    ) -> rusqlite::Result<TaskPage> {
        let Some(queue) = self.peek_queue(name)? else { return Ok(TaskPage::default()) };
        // One more says whether the list goes on.
        let mut found = self.looks(&queue, state, after, max + 1)?;
        let goes_on = found.len() > max;
        found.truncate(max);
        let next = found.last().filter(|_| goes_on).map(|look| look.mark.clone());
        Ok(TaskPage { tasks: found.into_iter().map(|look| look.info).collect(), next })
    }

    fn looks(
        &self,
        queue: &QueueRow,
        state: State,
        after: Option<&Mark>,
        max: usize,
    ) -> rusqlite::Result<Vec<Look>> {
        let (key, most) = (queue.key, int(max as u64));
        let first = Mark::new(i64::MIN, i64::MIN, None);
        let Mark { first, second, rest } = after.unwrap_or(&first);
        match state {
            State::Ready => {
                let mut found = self.all(queue, statements::LOOK_READY, (key, false, first, second, most))?;
                found.extend(self.all(queue, statements::LOOK_READY, (key, true, first, second, most))?);
                self.with_packed(found, queue, state, (*first, *second), max)
            }
            State::Scheduled => self.all(queue, statements::LOOK_SCHEDULED, (key, first, second, most)),
            State::Held => {
                let line = rest.as_deref().unwrap_or_default();
                self.all(queue, statements::LOOK_HELD, (key, line, first, second, most))
            }
            State::Leased => {
                let found = self.all(queue, statements::LOOK_LEASED, (key, first, second, most))?;
                self.with_packed(found, queue, state, (*first, *second), max)
            }
            State::Dead => self.all(queue, statements::LOOK_DEAD, (key, first, most)),
        }
    }

    /// The first of these rows and of the tasks in packs.
    fn with_packed(
        &self,
        mut found: Vec<Look>,
        queue: &QueueRow,
        state: State,
        after: (i64, i64),
        max: usize,
    ) -> rusqlite::Result<Vec<Look>> {
        found.extend(self.packed_looks(queue, state, after, max)?);
        found.sort_by_key(|look| (look.mark.first, look.mark.second));
        found.truncate(max);
        Ok(found)
    }

    fn all(&self, queue: &QueueRow, sql: &'static str, params: impl Params) -> rusqlite::Result<Vec<Look>> {
        self.list(sql, params, |row| Look::read(row, queue, self.now))
    }

    /// As `Machine::why`.
    pub(in super::super) fn why(&self, name: &QueueName, id: &TaskId) -> rusqlite::Result<Why> {
        let Some(queue) = self.peek_queue(name)? else { return Ok(Why::Unknown) };
        let Some((task, mark)) = self.look(&queue, id)? else { return self.why_gone(&queue, id) };
        let (mut permits, mut opens) = (0, None);
        if let Some(key) = &task.info.key {
            let line = self.find(statements::LINE, (queue.key, key.as_str()), |row| {
                Ok((uint(row.get(0)?) + uint(row.get(1)?), uint(row.get(2)?)))
            })?;
            let (taken, not_before) = line.unwrap_or_default();
            permits = taken;
            opens = not_before.checked_sub(self.now.wall).filter(|ms| *ms > 0).map(Duration::from_millis);
        }
        let now = time(self.now.wall);
        let facts = Facts {
            paused: queue.paused,
            pause: queue.pause.clone(),
            ahead: Ahead::of(self.ahead(&queue, &task.info, &mark)?),
            permits,
            limit: queue.configuration.options.key_limit,
            opens,
            in_time: task.info.expires.is_none_or(|expires| expires > now),
        };
        Ok(reason(task, facts))
    }

    fn ahead(&self, queue: &QueueRow, task: &TaskInfo, mark: &Mark) -> rusqlite::Result<u64> {
        let (key, most, Mark { first, second, rest }) = (queue.key, int(limits::MAX_AHEAD), mark);
        let one = |_: &Row<'_>| Ok(());
        let found = match &task.standing {
            Standing::Ready { alone } => {
                self.list(statements::READY_AHEAD, (key, alone, first, second, most), one)?
            }
            Standing::Held => {
                let line = rest.as_deref().unwrap_or_default();
                self.list(statements::HELD_AHEAD, (key, line, first, second, most), one)?
            }
            _ => Vec::new(),
        };
        let mut count = found.len() as u64;
        if let Standing::Ready { alone: false } = &task.standing {
            count += self.packed_ahead(queue, *second, limits::MAX_AHEAD)?;
        }
        Ok(count.min(limits::MAX_AHEAD))
    }

    /// What became of a task that is not there.
    fn why_gone(&self, queue: &QueueRow, id: &TaskId) -> rusqlite::Result<Why> {
        match self.outcome(queue, id)? {
            crate::Outcome::Done(_) => return Ok(Why::Done),
            crate::Outcome::Cancelled => return Ok(Why::Cancelled),
            _ => {}
        }
        let params = (queue.key, IdKey(id));
        let until: Option<i64> = self.find(statements::REMEMBERED_UNTIL, params, |row| row.get(0))?;
        let remembered = until.is_some_and(|until| uint(until) > self.now.wall);
        Ok(if remembered { Why::Settled } else { Why::Unknown })
    }

    /// As `Machine::set`.
    pub(in super::super) fn set(
        &mut self,
        name: &QueueName,
        options: &QueueOptions,
        revision: u64,
    ) -> Result<QueueStatus> {
        let failed = |e| sqlite("set", e);
        let stored = self.peek_queue(name).map_err(failed)?;
        let (unsettled, dead) = stored.as_ref().map_or((0, 0), |row| (row.status().unsettled(), row.dead));
        let mut configuration = stored.map(|row| row.configuration).unwrap_or_default();
        configuration.change(name, options, revision, unsettled, dead)?;
        let row = self.queue_or_new(name).map_err(failed)?;
        row.configuration = configuration;
        let key = row.key;
        if !options.limits_keys() {
            // There are no tasks, and intervals that go on mean nothing any more.
            self.execute(statements::DROP_LINES, [key]).map_err(failed)?;
        }
        self.admit_all(name).map_err(failed)?;
        self.news = true;
        Ok(self.queue_or_new(name).map_err(failed)?.status())
    }

    /// As `Machine::purge_waiting`.
    pub(in super::super) fn purge_waiting(
        &mut self,
        name: &QueueName,
        states: &[State],
        max: usize,
    ) -> Result<u64> {
        let order = purged(states)?;
        let purged = self.cancel_first(name, &order, max).map_err(|e| sqlite("purge", e))?;
        Ok(purged)
    }

    fn cancel_first(&mut self, name: &QueueName, states: &[State], max: usize) -> rusqlite::Result<u64> {
        let mut purged = 0;
        for state in states {
            let Some(queue) = self.peek_queue(name)? else { return Ok(0) };
            let ids = self.looks(&queue, *state, None, max - purged)?;
            let ids: Vec<TaskId> = ids.into_iter().map(|look| look.info.id).collect();
            let answers = self.cancel(name, &ids)?;
            purged += answers.iter().filter(|answer| **answer == Cancel::Cancelled).count();
        }
        Ok(purged as u64)
    }
}
