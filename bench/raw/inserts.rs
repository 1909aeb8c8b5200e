//! Raw limit: rows into SQLite, a hundred a transaction, each transaction synced.

use std::{path::Path, time::Instant};

use anyhow::Result;
use rusqlite::Connection;

use super::Measured;
use crate::{
    settings::{Durability, Settings},
    work::{BATCH, Work},
};

pub(super) fn measure(folder: &Path, n: u64) -> Result<Measured> {
    let connection = open(folder, "full")?;
    let began = Instant::now();
    insert(&connection, n, BATCH as u64)?;
    let seconds = began.elapsed().as_secs_f64();
    let settings = settings("raw rusqlite inserts", Durability::Full, n);
    Ok(Measured { settings, per_second: n as f64 / seconds, took: None })
}

/// A fresh database: a table of rows with a state, and the index by which the next are found.
pub(super) fn open(folder: &Path, synchronous: &str) -> Result<Connection> {
    let file = tempfile::Builder::new().prefix("raw-").suffix(".db").tempfile_in(folder)?;
    // Kept, as the folder is removed as a whole.
    let (_, path) = file.keep()?;
    let connection = Connection::open(path)?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = {synchronous};
         CREATE TABLE q (id INTEGER PRIMARY KEY, state INT NOT NULL, data BLOB);
         CREATE INDEX qs ON q (state, id);"
    ))?;
    Ok(connection)
}

/// Inserts `n` rows, so many a transaction.
pub(super) fn insert(connection: &Connection, n: u64, batch: u64) -> Result<()> {
    let mut insert = connection.prepare("INSERT INTO q (state, data) VALUES (0, ?1)")?;
    let mut row = 0;
    while row < n {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let last = n.min(row + batch);
        for number in row..last {
            insert.execute([Work::json(number)])?;
        }
        connection.execute_batch("COMMIT")?;
        row = last;
    }
    Ok(())
}

pub(super) fn settings(who: &str, durability: Durability, n: u64) -> Settings {
    Settings {
        who: who.to_owned(),
        payload: crate::work::PAYLOAD,
        batch: BATCH,
        durability,
        journal: "WAL".to_owned(),
        n,
    }
}
