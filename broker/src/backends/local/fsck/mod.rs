//! Looking the tables through, and mending them.
//!
//! On a connection and a thread of its own: who works meanwhile is not held up by a look, which sees one instant of the
//! tables however long it takes. A repair is one durable transaction in a turn of its own; others wait for its end.
//!
//! One file a subject, and one line a rule: [`tasks`] single rows, [`packs`] tasks that have none, [`texts`] what is written in them, [`orders`] sequences and orders of death, [`places`] where
//! ready tasks stand, [`lines`] who waits for a key, [`batches`] what belongs together, [`kept`] what is known of tasks that
//! ended, [`queues`] the counters, [`file`] what SQLite itself knows.

mod batches;
mod file;
mod kept;
mod lines;
mod orders;
mod packs;
mod places;
mod queues;
mod tasks;
mod texts;

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use rusqlite::{
    Connection, OpenFlags, Row, TransactionBehavior,
    types::{Value, ValueRef},
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{LocalBroker, LocalConfig, error, error::sqlite, turn::Turn, wakeup::Bell};
use crate::{
    Error, ErrorKind, Fsck, Result,
    clock::Now,
    fsck::{Finding, Report},
};

/// As large as a number of the contract may be: JSON carries it exactly.
const MOST: i64 = 1 << 53;

#[async_trait]
impl Fsck for LocalBroker {
    async fn fsck(&self, repair: bool) -> Result<Report> {
        let (config, (done, looked)) = (self.config.clone(), oneshot::channel());
        let look = move || {
            let _ = done.send(run(&config, repair));
        };
        let thread = std::thread::Builder::new().name("mh-fsck".to_owned()).spawn(look);
        thread
            .map_err(|e| Error::new(ErrorKind::Unavailable, "fsck", "no thread can be started").because(e))?;
        looked.await.map_err(|_| Error::new(ErrorKind::Internal, "fsck", "fsck ended without an answer"))?
    }
}

fn run(config: &LocalConfig, repair: bool) -> Result<Report> {
    let failed = |e| sqlite("fsck", e);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(config.database(), flags).map_err(failed)?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(failed)?;
    if !repair {
        let instant = connection.transaction().map_err(failed)?;
        return Books::new(&instant, config.clock.now()).map_err(failed)?.look().map_err(failed);
    }
    let (turn, bell) = (Turn::open(&config.turn(), &config.line())?, Bell::open(&config.bell())?);
    let _turn = turn.take().map_err(|e| error::file("fsck", &config.turn(), e))?;
    connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
    let step = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let mut report = Books::new(&step, config.clock.now()).map_err(failed)?.look().map_err(failed)?;
    if report.is_clean() {
        return Ok(report);
    }
    if !Books::new(&step, config.clock.now()).map_err(failed)?.mend().map_err(failed)? {
        // Left as it is: what is written into a damaged file may damage more of it.
        return Ok(report);
    }
    let left = Books::new(&step, config.clock.now()).map_err(failed)?.look().map_err(failed)?;
    step.commit().map_err(failed)?;
    bell.ring();
    mark(&mut report, left);
    Ok(report)
}

/// Tells what was repaired: what another look does not find any more.
fn mark(report: &mut Report, left: Report) {
    let known: BTreeSet<Finding> = left.findings.iter().cloned().collect();
    report.findings.iter_mut().for_each(|finding| finding.repaired = !known.contains(finding));
    let before: BTreeSet<Finding> = report.findings.iter().cloned().collect();
    left.findings.into_iter().filter(|finding| !before.contains(finding)).for_each(|new| report.add(new));
}

/// The tables in one transaction.
struct Books<'c> {
    connection: &'c Connection,
    now: Now,
    /// The names of the queues by their keys.
    names: HashMap<i64, String>,
}

impl<'c> Books<'c> {
    fn new(connection: &'c Connection, now: Now) -> rusqlite::Result<Self> {
        let mut this = Self { connection, now, names: HashMap::new() };
        // The table and not the index on the names: that may be what is damaged.
        let names = "SELECT queue, name FROM queues NOT INDEXED";
        this.names = this
            .list(names, |row| Ok((row.get(0)?, shown(&lossy(row.get_ref(1)?)))))
            .or_else(unreadable)?
            .into_iter()
            .collect();
        Ok(this)
    }

    /// Everything that is wrong.
    fn look(&self) -> rusqlite::Result<Report> {
        let mut report = Report { queues: self.names.len() as u64, ..Report::default() };
        self.look_at_file(&mut report)?;
        let damaged = !report.is_clean();
        let looked = self.look_at_tables(&mut report);
        match looked {
            // What SQLite said about the file is more than that it cannot be read.
            Err(e) if damaged && is_damage(&e) => {
                report.add(Finding::new(None, "the tables cannot be read to their end: restore a copy"));
                Ok(report)
            }
            looked => looked.map(|()| report),
        }
    }

    fn look_at_tables(&self, report: &mut Report) -> rusqlite::Result<()> {
        self.look_at_tasks(report)?;
        self.look_at_packs(report)?;
        self.look_at_texts(report)?;
        self.look_at_orders(report)?;
        self.look_at_places(report)?;
        self.look_at_lines(report)?;
        self.look_at_batches(report)?;
        self.look_at_kept(report)?;
        self.look_at_queues(report)
    }

    /// Mends all that can be; false, and everything is to be left as it was, when the file itself is damaged.
    fn mend(&self) -> rusqlite::Result<bool> {
        if !self.mend_file()? {
            return Ok(false);
        }
        // In this order: what makes a row another kind of row, then what each kind has, then who counts them.
        self.mend_packs()?;
        self.mend_tasks()?;
        self.mend_texts()?;
        self.adopt()?;
        self.mend_counters()?;
        self.mend_orders()?;
        self.mend_places()?;
        self.mend_lines()?;
        self.mend_batches()?;
        self.mend_kept()?;
        self.mend_bounds()?;
        self.mend_counters()?;
        // Where two rows had said they were the same.
        self.mend_indexes()?;
        Ok(true)
    }

    fn list<T>(
        &self,
        sql: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.connection.prepare(sql)?.query_map([], read)?.collect()
    }

    /// The name of a queue, where it has one.
    fn name(&self, queue: i64) -> Option<&str> {
        self.names.get(&queue).map(String::as_str)
    }

    /// A finding about one task.
    fn about(&self, queue: i64, id: &Value, wrong: &str) -> Finding {
        Finding::new(self.name(queue), wrong).of(shown(id))
    }
}

/// A value whose text need not be UTF-8.
fn lossy(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        value => Value::try_from(value).unwrap_or(Value::Null),
    }
}

/// An id as it is stored, for people.
fn shown(id: &Value) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match id {
        Value::Blob(bytes) => {
            Uuid::from_slice(bytes).map_or_else(|_| format!("x'{}'", hex(bytes)), |uuid| uuid.to_string())
        }
        // On one line, whatever it is.
        Value::Text(text) => text.escape_debug().to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Null => "NULL".to_owned(),
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Nothing, where it cannot be read: that is told elsewhere.
fn unreadable<T>(error: rusqlite::Error) -> rusqlite::Result<Vec<T>> {
    if is_damage(&error) { Ok(Vec::new()) } else { Err(error) }
}
