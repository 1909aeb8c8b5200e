//! Opening the database: what may be opened, what is made, and the generation.

use std::{fs, io::Read, path::Path, time::Duration};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, config::DbConfig};

use super::{error::sqlite, keys::int};
use crate::{
    Error, ErrorKind, Result,
    clock::Clock,
    crash::{Point, at},
    sabotage::{Defect, planted},
};

/// Says 'this is a manyhands queue' in the file's header.
const APPLICATION: i64 = 0x4d48_4e44;

/// The format that this version reads and writes.
const FORMAT: i64 = 4;

pub(super) const SCHEMA: &str = include_str!("schema.sql");

/// Makes format 2 of format 1.
const UPGRADE_2: &str = include_str!("upgrade_2.sql");

/// Makes format 3 of format 2.
const UPGRADE_3: &str = include_str!("upgrade_3.sql");

/// Makes format 4 of format 3.
const UPGRADE_4: &str = include_str!("upgrade_4.sql");

/// Opens the database, makes the tables if the file is new, upgrades them if they are old, and sets the generation if the
/// machine was started anew. The caller holds the turn.
pub(super) fn open(path: &Path, clock: &dyn Clock) -> Result<Connection> {
    check_whole(path)?;
    open_whole(path, clock).map_err(|error| {
        // SQLite reports some kinds of full disk, such as one without room for its shared memory, as other failures.
        if error.kind() != ErrorKind::Unavailable || !disk_is_full(path) {
            return error;
        }
        let message = format!("{} cannot be opened: the disk is full", path.display());
        Error::new(ErrorKind::Full, "open", message).because(error).advise("make room on the disk")
    })
}

/// Refuses a file that was cut: SQLite would read what is missing of the last page as zeros. While there is a log,
/// the file may be waiting for its last pages, and SQLite knows better.
fn check_whole(path: &Path) -> Result<()> {
    let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    let mut page = [0; 18];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut page));
    // Two bytes of the header (SQLite's file format, 1.3.2); 1 means 65 536.
    let page = match u64::from(u16::from_be_bytes([page[16], page[17]])) {
        _ if read.is_err() => return Ok(()),
        0 => return Ok(()),
        1 => 65_536,
        page => page,
    };
    if length(&path.with_extension("db-wal")) > 0 || length(path) % page == 0 {
        return Ok(());
    }
    let message = format!("{} is damaged: its last page of {page} bytes is not whole", path.display());
    Err(Error::new(ErrorKind::Corrupt, "open", message).advise("restore a copy, or move the directory away"))
}

fn disk_is_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| disk.f_bavail == 0)
}

fn open_whole(path: &Path, clock: &dyn Clock) -> Result<Connection> {
    let failed = |e| sqlite("open", e);
    let mut connection = Connection::open(path).map_err(failed)?;
    // For tools that do not know the turn.
    prepare(&connection, Duration::from_secs(5)).map_err(failed)?;
    let header = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, format) =
        (header("application_id").map_err(failed)?, header("user_version").map_err(failed)?);
    if application == APPLICATION {
        check_format(&connection, path, format)?;
        if format < FORMAT {
            upgrade(&mut connection, format, clock).map_err(failed)?;
        }
    } else {
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 = connection.query_row(tables, [], |row| row.get(0)).map_err(failed)?;
        if application != 0 || tables != 0 {
            let message = format!("{} is a database of another program", path.display());
            return Err(Error::new(ErrorKind::Invalid, "open", message).advise("name another directory"));
        }
        create(&mut connection, clock).map_err(failed)?;
    }
    set_generation(&mut connection, clock).map_err(failed)?;
    // From here on, what must survive a power cut is synced by itself: see `log`.
    connection.pragma_update(None, "synchronous", "normal").map_err(failed)?;
    Ok(connection)
}

/// Another connection to a database that this process has open, which waits for locks so long at most.
pub(super) fn open_again(path: &Path, patience: Duration) -> Result<Connection> {
    let failed = |e| sqlite("open", e);
    let connection = Connection::open(path).map_err(failed)?;
    prepare(&connection, patience).map_err(failed)?;
    connection.pragma_update(None, "synchronous", "normal").map_err(failed)?;
    Ok(connection)
}

fn prepare(connection: &Connection, patience: Duration) -> rusqlite::Result<()> {
    connection.busy_timeout(patience)?;
    // A plan once for each statement: without this SQLite plans one anew whenever another number is bound to a LIMIT.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn check_format(connection: &Connection, path: &Path, format: i64) -> Result<()> {
    let oldest = "SELECT max(oldest_reader, oldest_writer) FROM meta";
    let oldest: i64 = connection.query_row(oldest, [], |row| row.get(0)).map_err(|e| sqlite("open", e))?;
    if oldest <= FORMAT {
        return Ok(());
    }
    let path = path.display();
    let message = format!(
        "{path} has format {format} and needs a version that knows format {oldest}; this one knows {FORMAT}"
    );
    Err(Error::new(ErrorKind::Incompatible, "open", message).advise("upgrade this program"))
}

fn create(connection: &mut Connection, clock: &dyn Clock) -> rusqlite::Result<()> {
    // WAL is a property of the file and cannot be set inside a transaction. If we die right after it, the file has
    // no tables, and the next one begins again.
    connection.pragma_update(None, "journal_mode", "wal")?;
    at(Point::CreateLog);
    connection.pragma_update(None, "synchronous", "full")?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    at(Point::CreateBegun);
    tx.execute_batch(SCHEMA)?;
    at(Point::CreateTables);
    let generation = int(clock.now().wall / 1000);
    tx.execute(
        "INSERT INTO meta (one, oldest_reader, oldest_writer, boot, generation) VALUES (1, ?1, ?1, ?2, ?3)",
        (FORMAT, clock.boot(), generation),
    )?;
    at(Point::CreateMeta);
    tx.pragma_update(None, "user_version", FORMAT)?;
    tx.pragma_update(None, "application_id", APPLICATION)?;
    at(Point::CreateStamped);
    tx.commit()?;
    at(Point::CreateCommitted);
    Ok(())
}

/// Brings an older format to this one, or leaves it as it was.
fn upgrade(connection: &mut Connection, format: i64, clock: &dyn Clock) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "full")?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if format < 2 {
        tx.execute_batch(UPGRADE_2)?;
        // It was not written down when they died: they are kept for their time from now on.
        tx.execute("UPDATE tasks SET died = ?1 WHERE state = 3", [int(clock.now().wall)])?;
    }
    if format < 3 {
        tx.execute_batch(UPGRADE_3)?;
    }
    tx.execute_batch(UPGRADE_4)?;
    tx.pragma_update(None, "user_version", FORMAT)?;
    tx.commit()
}

/// The first session after a boot raises the generation, durably and before any claim: claims are not synced one by
/// one, so a power cut can lose the last of them, and the same epoch must never be given twice. Leases of
/// the last boot are void.
fn set_generation(connection: &mut Connection, clock: &dyn Clock) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "full")?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    at(Point::GenerationBegun);
    let boot = clock.boot();
    let stored: Option<String> = tx.query_row("SELECT boot FROM meta", [], |row| row.get(0)).optional()?;
    if stored.as_ref() != Some(&boot) && !planted(Defect::GenerationNotRaised) {
        tx.execute(
            "UPDATE meta SET boot = ?1, generation = max(generation + 1, ?2)",
            (boot, int(clock.now().wall / 1000)),
        )?;
        at(Point::GenerationRaised);
        tx.execute("UPDATE tasks SET leased_until = 0 WHERE state = 2", [])?;
        tx.execute("UPDATE shares SET leased_until = 0 WHERE leased_by IS NOT NULL", [])?;
        at(Point::GenerationVoided);
    }
    tx.commit()?;
    at(Point::GenerationCommitted);
    Ok(())
}
