//! Statements, prepared once a connection.

use std::{cell::RefCell, collections::HashMap};

use rusqlite::{Connection, OptionalExtension, Params, Row, Statement};

/// The statements of one connection. They are found by where their text is, not by the text: that is a constant, and there is a
/// statement or two for each task.
#[derive(Debug)]
pub(super) struct Prepared<'c> {
    connection: &'c Connection,
    /// `None` where the connection itself keeps them.
    statements: Option<RefCell<HashMap<(usize, usize), Statement<'c>>>>,
}

impl<'c> Prepared<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, statements: Some(RefCell::default()) }
    }

    /// Statements that the connection keeps, and finds by their text: for one that goes from thread to thread, as these cannot.
    pub(super) fn cached(connection: &'c Connection) -> Self {
        Self { connection, statements: None }
    }

    /// Runs a statement; tells how many rows it changed.
    pub(super) fn execute(&self, sql: &'static str, params: impl Params) -> rusqlite::Result<usize> {
        self.with(sql, |statement| statement.execute(params))
    }

    /// Reads at most one row.
    pub(super) fn find<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        self.with(sql, |statement| statement.query_row(params, read).optional())
    }

    /// Reads all rows.
    pub(super) fn list<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.with(sql, |statement| statement.query_map(params, read)?.collect())
    }

    fn with<T>(
        &self,
        sql: &'static str,
        run: impl FnOnce(&mut Statement<'c>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let Some(statements) = &self.statements else {
            return run(&mut *self.connection.prepare_cached(sql)?);
        };
        let place = (sql.as_ptr() as usize, sql.len());
        let mut statements = statements.borrow_mut();
        if let Some(statement) = statements.get_mut(&place) {
            return run(statement);
        }
        let mut statement = self.connection.prepare(sql)?;
        let result = run(&mut statement);
        statements.insert(place, statement);
        result
    }

    /// How many statements were run so far.
    #[cfg(test)]
    pub(super) fn runs(&self) -> i32 {
        let runs = |statement: &Statement<'c>| statement.get_status(rusqlite::StatementStatus::Run);
        self.statements.iter().map(|statements| statements.borrow().values().map(runs).sum::<i32>()).sum()
    }
}
