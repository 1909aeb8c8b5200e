//! The steps of the state machine over an open transaction: one file an arrow, as in `machine`.
//!
//! What is decided about a task is decided by [`Progress`](crate::machine::Progress); here is only where things are.

mod claim;
mod enqueue;
mod expire;
mod queue;
mod settle;

use std::collections::HashMap;

use rusqlite::{Connection, Row};

pub(super) use queue::QueueRow;

use super::keys::{StoredId, uint};
use crate::{QueueName, TaskId, clock::Now, machine::Progress};

/// One transaction. Queues are read once and written back at the end, so that a hundred settlements touch the
/// counters once.
#[derive(Debug)]
pub(super) struct Steps<'c> {
    connection: &'c Connection,
    pub(super) now: Now,
    queues: HashMap<QueueName, QueueRow>,
    /// Whether something happened that others may wait for.
    pub(super) news: bool,
}

/// A task as its lease's end needs it.
#[derive(Debug)]
struct TaskRow {
    key: i64,
    id: TaskId,
    id_given: bool,
    progress: Progress,
}

impl TaskRow {
    /// Reads the columns that `EXPIRED`, `HELD`, `LEASED` and `READY` begin with.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let int = |at| row.get::<_, u32>(at);
        Ok(Self {
            key: row.get(0)?,
            id: row.get::<_, StoredId>(1)?.0,
            id_given: row.get(2)?,
            progress: Progress {
                cancelled: false,
                epoch: uint(row.get(3)?),
                attempts: int(4)?,
                max_attempts: int(5)?,
                crashes: int(6)?,
                max_crashes: int(7)?,
                deaths: int(8)?,
                alone: row.get(9)?,
                parks: int(10)?,
                parked_since: uint(row.get(11)?),
                error: row.get(12)?,
            },
        })
    }
}

impl<'c> Steps<'c> {
    pub(super) fn new(connection: &'c Connection, now: Now) -> Self {
        Self { connection, now, queues: HashMap::new(), news: false }
    }

    /// Runs a statement, prepared once a connection.
    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.connection.prepare_cached(sql)?.execute(params)
    }

    /// Reads at most one row.
    fn find<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        use rusqlite::OptionalExtension;
        self.connection.prepare_cached(sql)?.query_row(params, read).optional()
    }

    /// Reads all rows.
    fn list<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.connection.prepare_cached(sql)?.query_map(params, read)?.collect()
    }
}
