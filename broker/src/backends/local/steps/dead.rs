//! Arrows `lapse`: ready, scheduled or held → dead, `revive`: dead → ready or held, and `purge`: dead → (gone).

use super::{Steps, TaskRow, go::Arrival};
use crate::{
    DeadTask, Payload, QueueName, Revived, TaskId,
    backends::local::{
        keys::{IdKey, StoredHistory, StoredId, StoredName, int, state, uint},
        statements,
    },
    clock::{millis, time},
    limits,
    machine::{failures, place},
};

impl Steps<'_, '_> {
    /// As `Machine::dead`.
    pub(in super::super) fn dead(
        &self,
        name: &QueueName,
        after: Option<u64>,
        max: usize,
    ) -> rusqlite::Result<Vec<DeadTask>> {
        let Some(queue) = self.peek_queue(name)? else { return Ok(Vec::new()) };
        // The first one that is given is 1.
        let params = (queue.key, after.map_or(0, int), int(max as u64));
        self.list(statements::DEAD, params, |row| {
            Ok(DeadTask {
                id: row.get::<_, StoredId>(0)?.0,
                name: row.get::<_, StoredName>(1)?.0,
                payload: Payload::from_stored(row.get::<_, String>(2)?),
                error: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
                history: failures(row.get::<_, StoredHistory>(8)?.0),
                attempts: row.get(4)?,
                crashes: row.get(5)?,
                died: time(uint(row.get(6)?)),
                mark: uint(row.get(7)?),
            })
        })
    }

    /// As `Machine::revive`.
    pub(in super::super) fn revive(
        &mut self,
        name: &QueueName,
        ids: &[TaskId],
    ) -> rusqlite::Result<Vec<Revived>> {
        ids.iter().map(|id| self.revive_one(name, id)).collect()
    }

    fn revive_one(&mut self, name: &QueueName, id: &TaskId) -> rusqlite::Result<Revived> {
        let Some(task) = self.find_dead(name, id)? else { return Ok(Revived::Unknown) };
        let queue = self.queue_or_new(name)?;
        let (key, full) = (queue.key, queue.status().is_full());
        // Its own key may still be held in its memory.
        if let Some(other) = self.holder_of(key, task.unique.as_ref())?.filter(|other| other != id) {
            return Ok(Revived::Duplicate(other));
        }
        if full {
            return Ok(Revived::Full);
        }
        self.take_key(name, task.unique.as_ref())?;
        if let Some(batch) = &task.batch {
            self.revive_in_batch(batch)?;
        }
        let queue = self.queue_or_new(name)?;
        queue.leave(&task);
        let sequence = queue.next_sequence();
        let place = place(queue.order(), sequence, false);
        self.execute(statements::BEGIN_ANEW, (task.key, int(sequence)))?;
        let arrival = if task.limit.is_some() { Arrival::Held(place, false) } else { Arrival::Ready(place) };
        self.arrive(name, &task, &task.progress.revived(), arrival)?;
        if let Some(key) = &task.limit {
            self.admit(name, key, None)?;
        }
        self.news = true;
        Ok(Revived::Revived)
    }

    /// As `Machine::purge`.
    pub(in super::super) fn purge(
        &mut self,
        name: &QueueName,
        ids: &[TaskId],
    ) -> rusqlite::Result<Vec<bool>> {
        ids.iter().map(|id| self.purge_one(name, id)).collect()
    }

    fn purge_one(&mut self, name: &QueueName, id: &TaskId) -> rusqlite::Result<bool> {
        let Some(task) = self.find_dead(name, id)? else { return Ok(false) };
        self.execute(statements::REMOVE_TASK, [task.key])?;
        self.queue_or_new(name)?.leave(&task);
        Ok(true)
    }

    fn find_dead(&mut self, name: &QueueName, id: &TaskId) -> rusqlite::Result<Option<TaskRow>> {
        let Some(queue) = self.load_queue(name)? else { return Ok(None) };
        let params = (queue.key, IdKey(id));
        Ok(self.find(statements::TASK, params, TaskRow::read)?.filter(|task| task.state == state::DEAD))
    }

    /// Lets go of dead tasks: those that were kept long enough, and the oldest where there are too many.
    pub(super) fn forget_dead(&mut self, name: &QueueName) -> rusqlite::Result<()> {
        for _ in 0..limits::UPKEEP {
            let queue = self.queue_or_new(name)?;
            let (key, too_many) = (queue.key, queue.dead > limits::MAX_DEAD);
            let first = self.find(statements::FIRST_DEAD, [key], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let Some((task, died)): Option<(i64, i64)> = first else { break };
            if !too_many && !self.kept_long_enough(uint(died)) {
                break;
            }
            self.execute(statements::REMOVE_TASK, [task])?;
            self.queue_or_new(name)?.dead -= 1;
        }
        Ok(())
    }

    /// Whether a task that died then is to be let go of.
    pub(super) fn kept_long_enough(&self, died: u64) -> bool {
        died.saturating_add(millis(limits::KEEP_DEAD)) <= self.now.wall
    }

    /// Gives up a bounded number of tasks that nobody claimed in their time.
    pub(super) fn lapse(&mut self, name: &QueueName) -> rusqlite::Result<()> {
        let queue = self.queue_or_new(name)?.key;
        let params = (queue, int(self.now.wall), int(limits::UPKEEP as u64));
        for mut task in self.list(statements::LAPSED, params, TaskRow::read)? {
            // The one before it may have let it go.
            if task.limit.is_some()
                && let Some(as_it_is) =
                    self.find(statements::TASK, (queue, IdKey(&task.id)), TaskRow::read)?
            {
                task = as_it_is;
            }
            let fate = task.progress.lapse(self.now);
            self.go(name, &task, fate)?;
        }
        Ok(())
    }
}
