//! Raw limit: rows out of SQLite. A hundred are claimed in one statement and transaction, and deleted in another; neither is
//! synced.

use std::{path::Path, time::Instant};

use anyhow::{Result, ensure};

use super::{
    Measured,
    inserts::{insert, open, settings},
};
use crate::{settings::Durability, work::BATCH};

const CLAIM: &str =
    "UPDATE q SET state = 1 WHERE id IN (SELECT id FROM q WHERE state = 0 ORDER BY id LIMIT ?1)
                     RETURNING id, data";

pub(super) fn measure(folder: &Path, n: u64) -> Result<Measured> {
    let connection = open(folder, "normal")?;
    insert(&connection, n, 1000)?;
    let mut claim = connection.prepare(CLAIM)?;
    let mut delete = connection.prepare("DELETE FROM q WHERE id = ?1")?;
    let began = Instant::now();
    let mut done = 0;
    while done < n {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let claimed: Vec<(i64, String)> =
            claim.query_map([BATCH as i64], read)?.collect::<rusqlite::Result<_>>()?;
        ensure!(!claimed.is_empty(), "rows are missing");
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for (id, _data) in &claimed {
            delete.execute([id])?;
        }
        connection.execute_batch("COMMIT")?;
        done += claimed.len() as u64;
    }
    let seconds = began.elapsed().as_secs_f64();
    let settings = settings("raw rusqlite claim (UPDATE … RETURNING) + delete", Durability::Normal, n);
    Ok(Measured { settings, per_second: n as f64 / seconds, took: None })
}
