//! Queues: read once a transaction, written back at its end.

use std::time::Duration;

use super::Steps;
use crate::{
    QueueName, QueueOptions, QueueStatus, Result,
    backends::local::{
        error::sqlite,
        keys::{int, uint},
        statements,
    },
    clock::millis,
    crash::{Point, at},
    machine::Configuration,
};

/// A queue as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct QueueRow {
    pub(super) key: i64,
    pub(super) configuration: Configuration,
    pub(super) closed: bool,
    pub(super) sequence: u64,
    pub(super) deaths: u64,
    pub(super) ready: u64,
    pub(super) ready_alone: u64,
    pub(super) scheduled: u64,
    pub(super) leased: u64,
    pub(super) dead: u64,
    pub(super) remembered: u64,
    /// Whether it must be written back.
    pub(super) changed: bool,
}

impl QueueRow {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let count = |at| row.get(at).map(uint);
        Ok(Self {
            key: row.get(0)?,
            configuration: Configuration {
                options: QueueOptions { capacity: count(1)?, remember_ids: Duration::from_millis(count(2)?) },
                revision: count(3)?,
                configured: row.get(4)?,
            },
            closed: row.get(5)?,
            sequence: count(6)?,
            deaths: count(7)?,
            ready: count(8)?,
            ready_alone: count(9)?,
            scheduled: count(10)?,
            leased: count(11)?,
            dead: count(12)?,
            remembered: count(13)?,
            changed: false,
        })
    }

    pub(in super::super) fn status(&self) -> QueueStatus {
        QueueStatus {
            options: self.configuration.options.clone(),
            revision: self.configuration.revision,
            closed: self.closed,
            ready: self.ready,
            scheduled: self.scheduled,
            leased: self.leased,
            dead: self.dead,
        }
    }

    pub(super) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

impl Steps<'_> {
    /// A queue for reading; `None` when there is none of that name.
    pub(in super::super) fn peek_queue(&self, name: &QueueName) -> rusqlite::Result<Option<QueueRow>> {
        match self.queues.get(name) {
            Some(row) => Ok(Some(row.clone())),
            None => self.find(statements::QUEUE, [name.as_str()], QueueRow::read),
        }
    }

    /// A queue for changing; `None` when there is none of that name.
    pub(super) fn queue(&mut self, name: &QueueName) -> rusqlite::Result<Option<&mut QueueRow>> {
        if !self.queues.contains_key(name)
            && let Some(row) = self.find(statements::QUEUE, [name.as_str()], QueueRow::read)?
        {
            self.queues.insert(name.clone(), row);
        }
        let mut row = self.queues.get_mut(name);
        if let Some(row) = &mut row {
            row.changed = true;
        }
        Ok(row)
    }

    /// A queue for changing, made with defaults if it is missing.
    pub(super) fn queue_or_new(&mut self, name: &QueueName) -> rusqlite::Result<&mut QueueRow> {
        if self.queue(name)?.is_none() {
            let options = QueueOptions::default();
            let params = (name.as_str(), int(options.capacity), int(millis(options.remember_ids)));
            self.execute(statements::ADD_QUEUE, params)?;
            at(Point::StepQueueAdded);
        }
        self.queue(name)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// Writes the queues back. The last step of every transaction.
    pub(in super::super) fn finish(&mut self) -> rusqlite::Result<()> {
        for row in self.queues.values().filter(|row| row.changed) {
            let (Configuration { options, revision, configured }, flag) = (&row.configuration, i64::from);
            let params = [
                row.key,
                int(options.capacity),
                int(millis(options.remember_ids)),
                int(*revision),
                flag(*configured),
                flag(row.closed),
                int(row.sequence),
                int(row.deaths),
                int(row.ready),
                int(row.ready_alone),
                int(row.scheduled),
                int(row.leased),
                int(row.dead),
                int(row.remembered),
            ];
            self.execute(statements::SAVE_QUEUE, params)?;
            at(Point::StepQueueSaved);
        }
        Ok(())
    }

    /// Answers a declaration that would change nothing. `None` when it would, or is to be refused.
    pub(in super::super) fn declared(
        &self,
        name: &QueueName,
        options: Option<&QueueOptions>,
    ) -> Result<Option<QueueStatus>> {
        let row = self.peek_queue(name).map_err(|e| sqlite("declare", e))?;
        let same = |row: &QueueRow| options.is_none_or(|options| row.configuration.is(options));
        Ok(row.filter(same).map(|row| row.status()))
    }

    /// As `Machine::declare`.
    pub(in super::super) fn declare(
        &mut self,
        name: &QueueName,
        options: Option<&QueueOptions>,
    ) -> Result<QueueStatus> {
        let row = self.queue_or_new(name).map_err(|e| sqlite("declare", e))?;
        if let Some(options) = options {
            row.configuration.configure(name, options)?;
        }
        Ok(row.status())
    }

    /// As `Machine::close`.
    pub(in super::super) fn close(&mut self, name: &QueueName) -> rusqlite::Result<()> {
        self.queue_or_new(name)?.closed = true;
        self.news = true;
        at(Point::StepClosed);
        Ok(())
    }
}
