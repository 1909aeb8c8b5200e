//! Batches, as the tasks say; the keys that they hold; and the answers of calls.

use std::collections::HashMap;

use super::Books;
use crate::{
    backends::local::{
        keys::{StoredBatch, int},
        steps::read_answers,
    },
    clock::millis,
    fsck::{Finding, Report},
    limits,
};

/// Something wrong, with what a repair does, and how, in SQL. `?1` is the number of the batch or its name.
struct Wrong {
    what: String,
    repair: &'static str,
    mend: String,
    batch: rusqlite::types::Value,
}

/// Keys that are held by batches that do not go on, and that nobody will sweep.
const UNSWEPT: &str = "FROM seen NOT INDEXED WHERE until > 4611686018427387904 \
    AND until - 4611686018427387904 NOT IN (SELECT batch FROM batches NOT INDEXED WHERE until IS NULL) \
    AND until - 4611686018427387904 NOT IN (SELECT batch FROM unheld)";

/// Batches that go on, and whose keys are about to be swept.
const FREED: &str = "FROM unheld WHERE batch IN (SELECT batch FROM batches NOT INDEXED WHERE until IS NULL)";

const ENDED: &str = "SELECT ended_batches, \
    (SELECT count(*) FROM batches NOT INDEXED WHERE until IS NOT NULL) FROM meta";

impl Books<'_> {
    pub(super) fn look_at_batches(&self, report: &mut Report) -> rusqlite::Result<()> {
        for Wrong { what, repair, .. } in self.wrong_batches()? {
            report.add(Finding::new(None, what).repair(repair));
        }
        let (counted, ended) = self.ended()?;
        if counted != ended {
            let what = format!("the counter ended_batches is {counted}, but there are {ended}");
            report.add(Finding::new(None, what).repair("it is counted again"));
        }
        for (rows, what, repair) in [
            (UNSWEPT, "keys are held by batches that have ended", "they are swept later"),
            (FREED, "batches go on whose keys are to be swept", "they keep them"),
        ] {
            let rows: i64 =
                self.connection.query_row(&format!("SELECT count(*) {rows}"), [], |row| row.get(0))?;
            if rows > 0 {
                report.add(Finding::new(None, format!("{rows} {what}")).repair(repair));
            }
        }
        let unreadable = self.unreadable_calls()?.len();
        if unreadable > 0 {
            let what = format!("the answers of {unreadable} calls cannot be read");
            report.add(Finding::new(None, what).repair("they are removed"));
        }
        Ok(())
    }

    /// After the tasks.
    pub(super) fn mend_batches(&self) -> rusqlite::Result<()> {
        for Wrong { mend, batch, .. } in self.wrong_batches()? {
            self.connection.execute(&mend, [batch])?;
        }
        self.connection.execute(&format!("DELETE {FREED}"), [])?;
        let numbers =
            format!("INSERT OR IGNORE INTO unheld SELECT DISTINCT until - 4611686018427387904 {UNSWEPT}");
        self.connection.execute(&numbers, [])?;
        let (_, ended) = self.ended()?;
        self.connection.execute("UPDATE meta SET ended_batches = ?1 WHERE ended_batches <> ?1", [ended])?;
        for (incarnation, sequence) in self.unreadable_calls()? {
            let sql = "DELETE FROM calls WHERE incarnation = ?1 AND sequence = ?2";
            self.connection.execute(sql, (incarnation, sequence))?;
        }
        Ok(())
    }

    /// How many batches have ended, as it is counted and as it is.
    fn ended(&self) -> rusqlite::Result<(i64, i64)> {
        self.connection.query_row(ENDED, [], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn wrong_batches(&self) -> rusqlite::Result<Vec<Wrong>> {
        let mut wrong = Vec::new();
        let mut unsettled = self.unsettled_of_batches()?;
        let until = int(self.now.wall.saturating_add(millis(limits::KEEP_BATCH)));
        let sql = "SELECT batch, name, unsettled, until, min(done, dead, cancelled) FROM batches NOT INDEXED";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (batch, counted): (i64, i64) = (row.get(0)?, row.get(2)?);
            let ended = row.get::<_, Option<i64>>(3)?.is_some();
            let mut note = |what: String, repair, mend: String| {
                let mend = format!("{mend} WHERE batch = ?1");
                wrong.push(Wrong { what, repair, mend, batch: batch.into() });
            };
            let Ok(StoredBatch(name)) = row.get(1) else {
                note(
                    format!("the name of batch {batch} is none"),
                    "it is removed",
                    "DELETE FROM batches".to_owned(),
                );
                continue;
            };
            if row.get::<_, i64>(4)? < 0 {
                note(
                    format!("batch \"{name}\" has counted below 0"),
                    "it begins at 0",
                    "UPDATE batches SET done = max(done, 0), dead = max(dead, 0), cancelled = max(cancelled, 0)"
                        .to_owned(),
                );
            }
            let found = unsettled.remove(name.as_str()).unwrap_or_default();
            if ended && found > 0 {
                note(
                    format!("batch \"{name}\" has ended, but {found} of its tasks are unsettled"),
                    "it goes on",
                    format!("UPDATE batches SET until = NULL, unsettled = {found}"),
                );
            } else if !ended && found == 0 {
                note(
                    format!("batch \"{name}\" goes on, but none of its tasks is unsettled"),
                    "it ends",
                    format!("UPDATE batches SET until = {until}, unsettled = 0"),
                );
            } else if counted != found {
                note(
                    format!("batch \"{name}\" counts {counted} unsettled tasks, but there are {found}"),
                    "they are counted again",
                    format!("UPDATE batches SET unsettled = {found}"),
                );
            }
        }
        for (name, found) in unsettled {
            wrong.push(Wrong {
                what: format!("batch \"{name}\" is not known, but has {found} unsettled tasks"),
                repair: "it goes on with them",
                mend: format!(
                    "INSERT INTO batches (name, unsettled, done, dead, cancelled) VALUES (?1, {found}, 0, 0, 0)"
                ),
                batch: name.into(),
            });
        }
        wrong.sort_by(|one, other| one.what.cmp(&other.what));
        Ok(wrong)
    }

    /// By the names of their batches. Those whose name is none are told of elsewhere.
    fn unsettled_of_batches(&self) -> rusqlite::Result<HashMap<String, i64>> {
        let sql = "SELECT batch, count(*) FROM tasks NOT INDEXED WHERE batch IS NOT NULL AND state <> 3 GROUP BY batch";
        let rows = self.list(sql, |row| {
            let Ok(StoredBatch(name)) = row.get(0) else { return Ok(None) };
            Ok(Some((name.as_str().to_owned(), row.get(1)?)))
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    fn unreadable_calls(&self) -> rusqlite::Result<Vec<(Vec<u8>, i64)>> {
        let calls = self.list("SELECT incarnation, sequence, answers FROM calls", |row| {
            let readable = row.get_ref(2)?.as_str().is_ok_and(|text| read_answers(text).is_some());
            Ok(if readable { None } else { Some((row.get(0)?, row.get(1)?)) })
        })?;
        Ok(calls.into_iter().flatten().collect())
    }
}
