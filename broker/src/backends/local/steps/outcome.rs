//! What is known of tasks after their end: results, remembered ids, and unique keys that are still held.
//!
//! Each is a table with a time for every row, of which the queue counts its rows. Whoever adds a row forgets a bounded number
//! of those whose time is over, and the first ones where there are too many.

use super::{QueueRow, Steps, TaskRow};
use crate::{
    Hold, Outcome, Payload, QueueName, TaskId, Unique,
    backends::local::{
        keys::{IdKey, StoredId, int, state, uint},
        statements,
    },
    clock::millis,
    crash::{Point, at},
    limits,
};

/// One of the tables.
struct Kept {
    /// The most rows of a queue.
    most: u64,
    /// Where the queue counts its rows.
    count: fn(&mut QueueRow) -> &mut u64,
    drop_past: &'static str,
    drop_first: &'static str,
}

const REMEMBERED: Kept = Kept {
    most: limits::MAX_REMEMBERED,
    count: |queue| &mut queue.remembered,
    drop_past: statements::FORGET_PAST,
    drop_first: statements::FORGET_FIRST,
};

const RESULTS: Kept = Kept {
    most: limits::MAX_RESULTS,
    count: |queue| &mut queue.results,
    drop_past: statements::DROP_PAST_RESULTS,
    drop_first: statements::DROP_FIRST_RESULTS,
};

const SEEN: Kept = Kept {
    most: limits::MAX_SEEN,
    count: |queue| &mut queue.seen,
    drop_past: statements::DROP_PAST_KEYS,
    drop_first: statements::DROP_FIRST_KEYS,
};

impl Steps<'_, '_> {
    /// As `Machine::outcomes`.
    pub(in super::super) fn outcomes(
        &self,
        name: &QueueName,
        ids: &[TaskId],
    ) -> rusqlite::Result<Vec<Outcome>> {
        let Some(queue) = self.peek_queue(name)? else { return Ok(vec![Outcome::Unknown; ids.len()]) };
        ids.iter().map(|id| self.outcome(&queue, id)).collect()
    }

    pub(super) fn outcome(&self, queue: &QueueRow, id: &TaskId) -> rusqlite::Result<Outcome> {
        if self.find_packed(queue, id)?.is_some() {
            return Ok(Outcome::Pending { progress: None });
        }
        let found = self.find(statements::OUTCOME, (queue.key, IdKey(id)), |row| {
            let until: Option<i64> = row.get(2)?;
            Ok(match row.get(0)? {
                Some(state::DEAD) => Outcome::Dead(row.get::<_, Option<String>>(1)?.unwrap_or_default()),
                Some(_) => {
                    Outcome::Pending { progress: row.get::<_, Option<String>>(4)?.map(Payload::from_stored) }
                }
                None if until.is_none_or(|until| uint(until) <= self.now.wall) => Outcome::Unknown,
                None => row
                    .get::<_, Option<String>>(3)?
                    .map_or(Outcome::Cancelled, |result| Outcome::Done(Payload::from_stored(result))),
            })
        })?;
        Ok(found.unwrap_or(Outcome::Unknown))
    }

    /// The task that has this key, or had it not long ago.
    pub(super) fn holder_of(&self, queue: i64, unique: Option<&Unique>) -> rusqlite::Result<Option<TaskId>> {
        let Some(Unique { key, .. }) = unique else { return Ok(None) };
        let params = (queue, key.as_str(), int(self.now.wall));
        self.find(statements::HOLDER_OF_KEY, params, |row| Ok(row.get::<_, StoredId>(0)?.0))
    }

    /// A task takes its key. The caller made sure that it is free, or held in memory of the same task.
    pub(super) fn take_key(&mut self, name: &QueueName, unique: Option<&Unique>) -> rusqlite::Result<()> {
        let Some(Unique { key, .. }) = unique else { return Ok(()) };
        let queue = self.queue_or_new(name)?;
        if queue.seen > 0 {
            let queue = queue.key;
            let dropped = self.execute(statements::DROP_KEY, (queue, key.as_str()))?;
            self.queue_or_new(name)?.seen -= dropped as u64;
        }
        Ok(())
    }

    /// A task ended: its key is free, at once or later.
    pub(super) fn let_go_of_key(&mut self, name: &QueueName, task: &TaskRow) -> rusqlite::Result<()> {
        let Some(Unique { key, hold }) = &task.unique else { return Ok(()) };
        let until = match (hold, &task.batch) {
            (Hold::For(time), _) => self.until(millis(*time)),
            (Hold::Batch, Some(batch)) => self.until_ended(batch)?,
            (Hold::Batch, None) => None,
        };
        let Some(until) = until else { return Ok(()) };
        // Before one goes that is still held, those go that are not.
        if *hold == Hold::Batch || self.queue_or_new(name)?.seen >= limits::MAX_SEEN {
            self.sweep_keys()?;
        }
        let queue = self.queue_or_new(name)?.key;
        self.execute(statements::KEEP_KEY, (queue, key.as_str(), IdKey(&task.id), until))?;
        self.added(name, &SEEN)
    }

    /// What was kept of an earlier task of this id is over when there is a new one.
    pub(super) fn drop_result(&mut self, name: &QueueName, id: &TaskId) -> rusqlite::Result<()> {
        let queue = self.queue_or_new(name)?;
        if queue.results > 0 {
            let queue = queue.key;
            let dropped = self.execute(statements::DROP_RESULT, (queue, IdKey(id)))?;
            self.queue_or_new(name)?.results -= dropped as u64;
        }
        Ok(())
    }

    /// Keeps what became of a task that is gone, if somebody wants to know: the JSON text of its result, or
    /// `None` for one that was cancelled.
    pub(super) fn keep_outcome(
        &mut self,
        name: &QueueName,
        task: &TaskRow,
        result: Option<&str>,
    ) -> rusqlite::Result<()> {
        let Some(time) = task.wanted.kept() else { return Ok(()) };
        let Some(until) = self.until(millis(time)) else { return Ok(()) };
        let queue = self.queue_or_new(name)?.key;
        self.execute(statements::KEEP_RESULT, (queue, IdKey(&task.id), until, result))?;
        self.added(name, &RESULTS)
    }

    /// Remembers an id that the user gave.
    pub(super) fn remember(&mut self, name: &QueueName, id: &TaskId) -> rusqlite::Result<()> {
        let queue = self.queue_or_new(name)?;
        let (key, ms) = (queue.key, millis(queue.configuration.options.remember_ids));
        let Some(until) = self.until(ms) else { return Ok(()) };
        self.execute(statements::REMEMBER, (key, IdKey(id), until))?;
        at(Point::StepRemembered);
        self.added(name, &REMEMBERED)
    }

    /// The end of a time that begins now; `None` for one that does not last.
    fn until(&self, ms: u64) -> Option<i64> {
        (ms > 0).then(|| int(self.now.wall.saturating_add(ms)))
    }

    /// A row was added: forgets what is over, and what is too much.
    fn added(&mut self, name: &QueueName, kept: &Kept) -> rusqlite::Result<()> {
        let now = int(self.now.wall);
        let queue = self.queue_or_new(name)?;
        let count = (kept.count)(queue);
        *count += 1;
        let (over, key) = (count.saturating_sub(kept.most), queue.key);
        let mut forgotten = self.execute(kept.drop_past, (key, now, int(limits::UPKEEP as u64)))?;
        if forgotten == 0 && over > 0 {
            forgotten = self.execute(kept.drop_first, (key, int(over)))?;
        }
        *(kept.count)(self.queue_or_new(name)?) -= forgotten as u64;
        Ok(())
    }
}
