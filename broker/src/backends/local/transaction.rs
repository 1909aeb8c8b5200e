//! One transaction of the file: all that is done in it, or nothing, and the bell after it.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{error::sqlite, prepared::Prepared, steps::Steps, wakeup::Bell};
use crate::{
    Result,
    clock::Clock,
    crash::{Point, at},
};

/// What writes: a connection of which nobody else begins transactions, its statements, the bell that it rings and the clock that it reads.
pub(super) struct Hand<'a, 'c> {
    pub(super) connection: &'c Connection,
    pub(super) prepared: &'a Prepared<'c>,
    pub(super) bell: &'a Bell,
    pub(super) clock: &'a dyn Clock,
}

impl Hand<'_, '_> {
    /// Does this in a transaction, commits it, and rings if others may wait for what happened. Whoever calls has the turn.
    ///
    /// # Errors
    /// What `work` fails with, or that the file cannot be written: then nothing has happened.
    pub(super) fn write<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Steps<'_, '_>) -> Result<T>,
    ) -> Result<T> {
        let failed = |e| sqlite(operation, e);
        at(Point::WriterTurn);
        let begun = Transaction::new_unchecked(self.connection, TransactionBehavior::Immediate);
        let tx = begun.map_err(failed)?;
        at(Point::WriterBegun);
        let mut steps = Steps::new(self.prepared, self.clock.now());
        let done = work(&mut steps)?;
        steps.finish().map_err(failed)?;
        let news = steps.news;
        drop(steps);
        at(Point::WriterCounted);
        tx.commit().map_err(failed)?;
        at(Point::WriterCommitted);
        if news {
            self.bell.ring();
            at(Point::WriterRung);
        }
        Ok(done)
    }
}
