//! The steps of the state machine over an open transaction: one file an arrow, as in `machine`.
//!
//! What is decided about a task is decided by [`Progress`](crate::machine::Progress); here is only where things are.

mod batch;
mod call;
mod cancel;
mod claim;
mod dead;
mod enqueue;
mod expire;
mod go;
mod limit;
mod lookup;
mod outcome;
mod pack;
mod packed;
mod queue;
mod settle;
mod share;
mod take;
#[cfg(test)]
mod tests;

use std::{rc::Rc, time::Duration};

use rusqlite::Row;

pub(super) use call::read as read_answers;
use pack::Pack;
pub(super) use pack::payload;
pub(super) use queue::QueueRow;
use queue::Queues;
use share::Share;

use super::{
    keys::{StoredBatch, StoredHistory, StoredId, StoredKey, StoredLimit, uint},
    prepared::Prepared,
};
use crate::{
    BatchName, Hold, LimitKey, TaskId, Unique, Wanted,
    clock::Now,
    machine::{Fate, Progress},
};

/// One transaction. Queues are read once and written back at the end, so that a hundred settlements touch the
/// counters once.
#[derive(Debug)]
pub(super) struct Steps<'p, 'c> {
    prepared: &'p Prepared<'c>,
    pub(super) now: Now,
    queues: Queues,
    /// The shares that the present step has read.
    shares: Vec<Share>,
    /// The pack of which the present step made a row last.
    unpacked: Option<(i64, Rc<Pack>)>,
    /// The batches of tasks that the present step has settled, and how.
    settled: Vec<(BatchName, Fate)>,
    /// Whether something happened that others may wait for.
    pub(super) news: bool,
}

/// A task as the steps that move it need it.
#[derive(Debug)]
struct TaskRow {
    key: i64,
    id: TaskId,
    id_given: bool,
    state: i64,
    must_alone: bool,
    sequence: u64,
    progress: Progress,
    unique: Option<Unique>,
    wanted: Wanted,
    limit: Option<LimitKey>,
    batch: Option<BatchName>,
}

impl TaskRow {
    /// How many columns [`read`](Self::read) takes; what a statement reads besides comes after them.
    const COLUMNS: usize = 23;

    /// Reads the columns that the statements for tasks begin with.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let int = |at| row.get::<_, u32>(at);
        let time = |at| row.get::<_, Option<i64>>(at).map(|ms| ms.map(|ms| Duration::from_millis(uint(ms))));
        let (key, hold) = (row.get::<_, Option<StoredKey>>(17)?, row.get::<_, Option<i64>>(18)?);
        Ok(Self {
            key: row.get(0)?,
            id: row.get::<_, StoredId>(1)?.0,
            id_given: row.get(2)?,
            state: row.get(3)?,
            must_alone: row.get(4)?,
            sequence: uint(row.get(5)?),
            progress: Progress {
                epoch: uint(row.get(6)?),
                attempts: int(7)?,
                max_attempts: int(8)?,
                crashes: int(9)?,
                max_crashes: int(10)?,
                deaths: int(11)?,
                alone: row.get(12)?,
                parks: int(13)?,
                parked_since: uint(row.get(14)?),
                error: row.get(15)?,
                history: row.get::<_, StoredHistory>(22)?.0,
                cancelled: row.get(16)?,
            },
            unique: key.map(|StoredKey(key)| Unique { key, hold: stored_hold(hold.unwrap_or_default()) }),
            wanted: time(19)?.map_or(Wanted::No, Wanted::Keep),
            limit: row.get::<_, Option<StoredLimit>>(20)?.map(|limit| limit.0),
            batch: row.get::<_, Option<StoredBatch>>(21)?.map(|batch| batch.0),
        })
    }
}

/// `tasks.unique_hold_ms` of a key that is held until the batch of its task has ended.
const HOLD_OF_BATCH: i64 = -1;

fn stored_hold(ms: i64) -> Hold {
    if ms == HOLD_OF_BATCH { Hold::Batch } else { Hold::For(Duration::from_millis(uint(ms))) }
}

impl<'p, 'c> Steps<'p, 'c> {
    pub(super) fn new(prepared: &'p Prepared<'c>, now: Now) -> Self {
        Self {
            prepared,
            now,
            queues: Queues::default(),
            shares: Vec::new(),
            unpacked: None,
            settled: Vec::new(),
            news: false,
        }
    }

    /// As [`Prepared::execute`].
    fn execute(&self, sql: &'static str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.prepared.execute(sql, params)
    }

    /// As [`Prepared::find`].
    fn find<T>(
        &self,
        sql: &'static str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        self.prepared.find(sql, params, read)
    }

    /// As [`Prepared::list`].
    fn list<T>(
        &self,
        sql: &'static str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.prepared.list(sql, params, read)
    }
}
