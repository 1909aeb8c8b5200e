//! What SQLite knows about its file: whole pages, and indexes that say what the tables do.

use rusqlite::{Connection, ErrorCode, OptionalExtension};

use super::{Books, is_damage};
use crate::{
    backends::local::database::SCHEMA,
    fsck::{Finding, Report},
};

/// The most that SQLite is asked to tell about its file.
const COMPLAINTS: usize = 100;

impl Books<'_> {
    pub(super) fn look_at_file(&self, report: &mut Report) -> rusqlite::Result<()> {
        for (name, _) in self.missing_indexes()? {
            report.add(Finding::new(None, format!("the index {name} is missing")).repair("it is built anew"));
        }
        for complaint in self.complaints()? {
            let finding = Finding::new(None, format!("SQLite says: {complaint}"));
            report.add(if is_about_an_index(&complaint) {
                finding.repair("the indexes are built anew")
            } else {
                Finding { wrong: format!("{}: restore a copy", finding.wrong), ..finding }
            });
        }
        Ok(())
    }

    /// False when more than the indexes is damaged.
    pub(super) fn mend_file(&self) -> rusqlite::Result<bool> {
        let complaints = self.complaints()?;
        if !complaints.iter().all(|complaint| is_about_an_index(complaint)) {
            return Ok(false);
        }
        if !complaints.is_empty() {
            self.attempt("REINDEX")?;
        }
        self.mend_indexes()?;
        Ok(true)
    }

    pub(super) fn mend_indexes(&self) -> rusqlite::Result<()> {
        self.missing_indexes()?.iter().try_for_each(|(_, sql)| self.attempt(sql))
    }

    /// Runs a statement that fails where two rows say they are the same: then that stays wrong, and is told again.
    fn attempt(&self, sql: &str) -> rusqlite::Result<()> {
        match self.connection.execute_batch(sql) {
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(()),
            done => done,
        }
    }

    /// SQLite's own check; it says nothing when all is well.
    fn complaints(&self) -> rusqlite::Result<Vec<String>> {
        let all = self.list(&format!("PRAGMA integrity_check({COMPLAINTS})"), |row| row.get::<_, String>(0));
        let all = match all {
            Err(e) if is_damage(&e) => vec![e.to_string()],
            all => all?,
        };
        let lines = all.iter().flat_map(|text| text.lines()).map(str::trim);
        Ok(lines.filter(|line| *line != "ok" && !line.is_empty()).map(str::to_owned).collect())
    }

    /// The indexes that the tables were made with and do not have any more, and how they are made.
    fn missing_indexes(&self) -> rusqlite::Result<Vec<(String, String)>> {
        let fresh = Connection::open_in_memory()?;
        fresh.execute_batch(SCHEMA)?;
        let sql =
            "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY rowid";
        let mut wanted = fresh.prepare(sql)?;
        let wanted = wanted.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let mut missing = Vec::new();
        for index in wanted {
            let (name, sql) = index?;
            let known = "SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = ?1";
            if self.connection.query_row(known, [&name], |_| Ok(())).optional()?.is_none() {
                missing.push((name, sql));
            }
        }
        Ok(missing)
    }
}

/// Whether SQLite complains about an index, which can be built anew, and not about a table.
fn is_about_an_index(complaint: &str) -> bool {
    ["missing from index", "in index", "entries in index"].iter().any(|part| complaint.contains(part))
}
