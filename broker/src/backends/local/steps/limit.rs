//! Arrows `hold`: (would be ready) → held, and `admit`: held → ready: of the tasks with one key only so many run at a time.

use rusqlite::params;

use super::Steps;
use crate::{
    LimitKey, QueueName,
    backends::local::{
        keys::{StoredLimit, int, state, uint},
        statements,
    },
    clock::{Now, millis},
    crash::{Point, at},
    limits,
    machine::{lets_in, place},
};

/// The tasks of one key that have a permit. Those that wait for one are found by the index.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Line {
    ready: u64,
    leased: u64,
    /// When the interval after the last claim is over, in wall-clock milliseconds.
    not_before: u64,
}

impl Line {
    /// Whether there is nothing to know about it, where none is held.
    fn is_over(&self, now: Now) -> bool {
        self.ready + self.leased == 0 && self.not_before <= now.wall
    }
}

impl Steps<'_, '_> {
    /// A task of this key left a state, if it had one, and stands in its new one, unless that is ready. Lets tasks of the key
    /// become ready, as many as may, as `Queue::admit`. Those that were never claimed get their places now.
    pub(super) fn admit(
        &mut self,
        name: &QueueName,
        key: &LimitKey,
        left: Option<i64>,
    ) -> rusqlite::Result<()> {
        let (now, queue) = (self.now, self.queue_or_new(name)?);
        let (queue, options) = (queue.key, queue.configuration.options.clone());
        let stored = self.find(statements::LINE, (queue, key.as_str()), |row| {
            let count = |at| row.get(at).map(uint);
            Ok(Line { ready: count(0)?, leased: count(1)?, not_before: count(2)? })
        })?;
        let mut line = stored.unwrap_or_default();
        match left {
            Some(state::READY) => line.ready = line.ready.saturating_sub(1),
            Some(state::LEASED) => line.leased = line.leased.saturating_sub(1),
            _ => {}
        }
        while lets_in(&options, line.ready, line.leased, line.not_before, now)
            && self.admit_first(name, key)?
        {
            line.ready += 1;
        }
        if line.is_over(now) {
            if stored.is_some() {
                self.execute(statements::DROP_LINE, (queue, key.as_str()))?;
            }
        } else if stored != Some(line) {
            let Line { ready, leased, not_before } = line;
            let params = params![queue, key.as_str(), int(ready), int(leased), int(not_before)];
            self.execute(statements::SAVE_LINE, params)?;
        }
        at(Point::StepLineSaved);
        Ok(())
    }

    /// As `Queue::admit_all`.
    pub(super) fn admit_all(&mut self, name: &QueueName) -> rusqlite::Result<()> {
        let queue = self.queue_or_new(name)?;
        if queue.held == 0 {
            return Ok(());
        }
        let params = (queue.key, int(limits::UPKEEP as u64));
        for StoredLimit(key) in self.list(statements::WAITED_FOR, params, |row| row.get(0))? {
            self.admit(name, &key, None)?;
        }
        Ok(())
    }

    /// Makes the first of those ready that wait for this key; tells whether there was one.
    fn admit_first(&mut self, name: &QueueName, key: &LimitKey) -> rusqlite::Result<bool> {
        let queue = self.queue_or_new(name)?;
        let (queue, held) = (queue.key, queue.held);
        if held == 0 {
            return Ok(false);
        }
        let found = self.find(statements::FIRST_HELD, (queue, key.as_str()), |row| {
            Ok((row.get::<_, i64>(0)?, uint(row.get(1)?), row.get::<_, bool>(2)?, row.get::<_, bool>(3)?))
        });
        let Some((task, old, returned, must_alone)) = found? else { return Ok(false) };
        let queue = self.queue_or_new(name)?;
        queue.held -= 1;
        queue.ready += 1;
        queue.ready_alone += u64::from(must_alone);
        let next = queue.next_sequence();
        let sequence = if returned { old } else { next };
        let place = place(queue.order(), sequence, returned);
        self.execute(statements::ADMIT, (task, int(sequence), place))?;
        at(Point::StepAdmitted);
        self.news = true;
        Ok(true)
    }

    /// A task of this key was claimed: it keeps its permit, and the interval of the key begins.
    pub(super) fn lease_in_line(&mut self, name: &QueueName, key: &LimitKey) -> rusqlite::Result<()> {
        let wall = self.now.wall;
        let queue = self.queue_or_new(name)?;
        let interval = millis(queue.configuration.options.key_interval);
        let until = if interval > 0 { int(wall.saturating_add(interval)) } else { 0 };
        let queue = queue.key;
        self.execute(statements::LEASE_IN_LINE, (queue, key.as_str(), until))?;
        Ok(())
    }

    /// Lets a task go of each of a bounded number of keys whose interval is over.
    pub(super) fn open(&mut self, name: &QueueName) -> rusqlite::Result<()> {
        let queue = self.queue_or_new(name)?.key;
        let params = (queue, int(self.now.wall), int(limits::UPKEEP as u64));
        for StoredLimit(key) in self.list(statements::OPENING, params, |row| row.get(0))? {
            self.execute(statements::OPEN, (queue, key.as_str()))?;
            at(Point::StepOpened);
            self.admit(name, &key, None)?;
        }
        Ok(())
    }
}
