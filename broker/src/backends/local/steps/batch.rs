//! Batches: what is counted of tasks that belong together, and for how long their unique keys are held.
//!
//! A key that a batch holds is free when the batch has ended. Its row says nothing any more then, and is swept, with a bounded
//! number of others, by whoever ends a batch, begins one, or adds such a row.

use super::Steps;
use crate::{
    BatchName, BatchStatus,
    backends::local::{
        keys::{int, uint},
        statements,
    },
    clock::millis,
    crash::{Point, at},
    limits,
    machine::Fate,
};

/// Later than any time: a key that is held until a batch ends is kept until this and the batch's number.
pub(super) const HELD: i64 = 1 << 62;

impl Steps<'_, '_> {
    /// As `Machine::batch`.
    pub(in super::super) fn batch(&self, batch: &BatchName) -> rusqlite::Result<Option<BatchStatus>> {
        let found = self.find(statements::BATCH, [batch.as_str()], |row| {
            let count = |at| row.get(at).map(uint);
            let status =
                BatchStatus { unsettled: count(0)?, done: count(1)?, dead: count(2)?, cancelled: count(3)? };
            Ok((status, row.get::<_, Option<i64>>(4)?.map(uint)))
        })?;
        let known = |until: Option<u64>| until.is_none_or(|until| until > self.now.wall);
        Ok(found.filter(|(_, until)| known(*until)).map(|(status, _)| status))
    }

    /// A task comes to a batch, and begins it if it is the first.
    pub(super) fn join_batch(&mut self, batch: &BatchName) -> rusqlite::Result<()> {
        if self.execute(statements::JOIN_BATCH, [batch.as_str()])? == 0 {
            if self.execute(statements::DROP_BATCH, [batch.as_str()])? > 0 {
                self.count_ended(-1)?;
            }
            self.execute(statements::BEGIN_BATCH, [batch.as_str()])?;
            self.sweep_keys()?;
        }
        at(Point::StepBatchJoined);
        Ok(())
    }

    /// A dead task is given another chance: it is no more among the dead of its batch, or begins a new one.
    pub(super) fn revive_in_batch(&mut self, batch: &BatchName) -> rusqlite::Result<()> {
        self.execute(statements::REVIVE_IN_BATCH, [batch.as_str()])?;
        self.join_batch(batch)
    }

    /// Until when a key is held by a batch that goes on; `None` when there is none of that name.
    pub(super) fn until_ended(&self, batch: &BatchName) -> rusqlite::Result<Option<i64>> {
        let number = self.find(statements::BATCH_NUMBER, [batch.as_str()], |row| row.get::<_, i64>(0))?;
        Ok(number.map(|number| HELD.saturating_add(number)))
    }

    /// Counts the tasks that a step has settled, as `Machine::count_settled`: after the children of the step have come, so that
    /// a task hands its batch on to them.
    pub(super) fn count_settled(&mut self) -> rusqlite::Result<()> {
        for (batch, fate) in std::mem::take(&mut self.settled) {
            let [done, dead, cancelled] =
                [Fate::Done, Fate::Dead, Fate::Cancelled].map(|counted| i64::from(fate == counted));
            let params = (batch.as_str(), done, dead, cancelled);
            let left = self.find(statements::LEAVE_BATCH, params, |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })?;
            at(Point::StepBatchCounted);
            if let Some((number, 0)) = left {
                self.end_batch(number)?;
            }
        }
        Ok(())
    }

    fn end_batch(&mut self, number: i64) -> rusqlite::Result<()> {
        let now = self.now.wall;
        let until = now.saturating_add(millis(limits::KEEP_BATCH));
        self.execute(statements::END_BATCH, (number, int(until)))?;
        at(Point::StepBatchEnded);
        let ended = self.count_ended(1)?;
        let mut forgotten =
            self.execute(statements::DROP_PAST_BATCHES, (int(now), int(limits::UPKEEP as u64)))?;
        let over = ended.saturating_sub(limits::MAX_BATCHES);
        if forgotten == 0 && over > 0 {
            forgotten = self.execute(statements::DROP_FIRST_BATCHES, [int(over)])?;
        }
        if forgotten > 0 {
            self.count_ended(-int(forgotten as u64))?;
        }
        self.execute(statements::UNHOLD, (number, HELD.saturating_add(number)))?;
        self.sweep_keys()
    }

    /// Counts so many more ended batches, or fewer; returns how many there are.
    fn count_ended(&self, more: i64) -> rusqlite::Result<u64> {
        let ended = self.find(statements::COUNT_ENDED, [more], |row| row.get(0).map(uint))?;
        Ok(ended.unwrap_or_default())
    }

    /// Removes a bounded number of rows of keys that a batch held which has ended.
    pub(super) fn sweep_keys(&mut self) -> rusqlite::Result<()> {
        let first = self.find(statements::FIRST_UNHELD, [], |row| row.get::<_, Option<i64>>(0))?;
        let Some(number) = first.flatten() else { return Ok(()) };
        let params = (HELD.saturating_add(number), int(limits::UPKEEP as u64));
        let swept: Vec<i64> = self.list(statements::SWEEP, params, |row| row.get(0))?;
        at(Point::StepKeysSwept);
        for queues in swept.chunk_by(|one, next| one == next) {
            let name = self.name_of(queues[0])?;
            let queue = self.queue_or_new(&name)?;
            queue.seen = queue.seen.saturating_sub(queues.len() as u64);
        }
        if swept.len() < limits::UPKEEP {
            self.execute(statements::SWEPT, [number])?;
        }
        Ok(())
    }
}
