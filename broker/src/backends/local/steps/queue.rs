//! Queues: read once a transaction, written back at its end.

use std::{collections::HashMap, time::Duration};

use super::Steps;
use crate::{
    Order, Pause, QueueName, QueueOptions, QueueStatus, Result,
    backends::local::{
        error::sqlite,
        keys::{StoredOrder, StoredQueue, int, order_key, uint},
        statements,
    },
    clock::{millis, time},
    crash::{Point, at},
    machine::Configuration,
};

/// A queue as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct QueueRow {
    pub(super) key: i64,
    pub(super) configuration: Configuration,
    pub(super) closed: bool,
    pub(super) paused: bool,
    /// Who paused it, while it is; `None` where a program did that does not write it down.
    pub(super) pause: Option<Pause>,
    pub(super) sequence: u64,
    pub(super) last_death: u64,
    pub(super) ready: u64,
    pub(super) ready_alone: u64,
    pub(super) scheduled: u64,
    pub(super) held: u64,
    pub(super) leased: u64,
    pub(super) dead: u64,
    pub(super) remembered: u64,
    pub(super) results: u64,
    pub(super) seen: u64,
    /// How many of the ready ones are in packs.
    pub(super) packed: u64,
    /// How many of the leased ones are in packs.
    pub(super) shared: u64,
    /// Whether one of its tasks was to be settled, in this transaction, that leaves something behind.
    pub(super) has_others: bool,
    /// Whether it must be written back.
    pub(super) changed: bool,
}

/// The queues of one transaction.
#[derive(Debug, Default)]
pub(super) struct Queues {
    rows: Vec<QueueRow>,
    places: HashMap<QueueName, usize>,
    /// The one that was asked for last: mostly, it is asked for again.
    last: Option<(QueueName, usize)>,
}

impl Queues {
    fn place(&self, name: &QueueName) -> Option<usize> {
        match &self.last {
            Some((last, place)) if last == name => Some(*place),
            _ => self.places.get(name).copied(),
        }
    }

    fn get(&self, name: &QueueName) -> Option<&QueueRow> {
        self.rows.get(self.place(name)?)
    }

    fn get_mut(&mut self, name: &QueueName) -> Option<&mut QueueRow> {
        let place = self.place(name)?;
        if self.last.as_ref().is_none_or(|(_, last)| *last != place) {
            self.last = Some((name.clone(), place));
        }
        self.rows.get_mut(place)
    }

    fn add(&mut self, name: &QueueName, row: QueueRow) {
        self.places.insert(name.clone(), self.rows.len());
        self.rows.push(row);
    }
}

impl QueueRow {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let count = |at| row.get(at).map(uint);
        Ok(Self {
            key: row.get(0)?,
            configuration: Configuration {
                options: QueueOptions {
                    order: row.get::<_, StoredOrder>(14)?.0,
                    capacity: count(1)?,
                    remember_ids: Duration::from_millis(count(2)?),
                    key_limit: u32::try_from(count(19)?).ok().filter(|limit| *limit > 0),
                    key_interval: Duration::from_millis(count(20)?),
                },
                revision: count(3)?,
                configured: row.get(4)?,
            },
            closed: row.get(5)?,
            paused: row.get(15)?,
            pause: None,
            sequence: count(6)?,
            last_death: count(7)?,
            ready: count(8)?,
            ready_alone: count(9)?,
            scheduled: count(10)?,
            held: count(18)?,
            leased: count(11)?,
            dead: count(12)?,
            remembered: count(13)?,
            results: count(16)?,
            seen: count(17)?,
            packed: count(21)?,
            shared: count(22)?,
            has_others: false,
            changed: false,
        })
    }

    pub(in super::super) fn status(&self) -> QueueStatus {
        QueueStatus {
            paused: self.paused,
            pause: self.pause.clone(),
            options: self.configuration.options.clone(),
            revision: self.configuration.revision,
            closed: self.closed,
            ready: self.ready,
            scheduled: self.scheduled,
            held: self.held,
            leased: self.leased,
            dead: self.dead,
            sequence: Some(self.sequence),
        }
    }

    pub(super) fn order(&self) -> Order {
        self.configuration.options.order
    }

    /// Whether any of its tasks are in packs.
    pub(super) fn has_packs(&self) -> bool {
        self.packed + self.shared > 0
    }

    pub(super) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

impl Steps<'_, '_> {
    /// As `Machine::names`.
    pub(in super::super) fn names(
        &self,
        after: Option<&QueueName>,
        max: usize,
    ) -> rusqlite::Result<Vec<QueueName>> {
        let params = (after.map_or("", QueueName::as_str), int(max as u64));
        self.list(statements::QUEUE_NAMES, params, |row| Ok(row.get::<_, StoredQueue>(0)?.0))
    }

    /// A queue for reading; `None` when there is none of that name.
    pub(in super::super) fn peek_queue(&self, name: &QueueName) -> rusqlite::Result<Option<QueueRow>> {
        match self.queues.get(name) {
            Some(row) => Ok(Some(row.clone())),
            None => self.read_queue(name),
        }
    }

    fn read_queue(&self, name: &QueueName) -> rusqlite::Result<Option<QueueRow>> {
        let mut row = self.find(statements::QUEUE, [name.as_str()], QueueRow::read)?;
        if let Some(row) = row.as_mut().filter(|row| row.paused) {
            row.pause = self.find(statements::PAUSE, [row.key], |row| {
                Ok(Pause { by: row.get(0)?, at: time(uint(row.get(1)?)) })
            })?;
        }
        Ok(row)
    }

    /// A queue as the steps so far left it; `None` when there is none of that name. Whoever changes it takes
    /// [`queue`](Self::queue).
    pub(super) fn load_queue(&mut self, name: &QueueName) -> rusqlite::Result<Option<&mut QueueRow>> {
        if self.queues.place(name).is_none()
            && let Some(row) = self.read_queue(name)?
        {
            self.queues.add(name, row);
        }
        Ok(self.queues.get_mut(name))
    }

    /// A queue for changing; `None` when there is none of that name.
    pub(super) fn queue(&mut self, name: &QueueName) -> rusqlite::Result<Option<&mut QueueRow>> {
        let mut row = self.load_queue(name)?;
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

    /// The name of a queue that there is.
    pub(super) fn name_of(&self, queue: i64) -> rusqlite::Result<QueueName> {
        let name: Option<String> = self.find(statements::QUEUE_BY_KEY, [queue], |row| row.get(0))?;
        name.and_then(|name| QueueName::new(&name).ok()).ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// Writes the queues back. The last step of every transaction.
    pub(in super::super) fn finish(&mut self) -> rusqlite::Result<()> {
        for row in self.queues.rows.iter().filter(|row| row.changed) {
            let (Configuration { options, revision, configured }, flag) = (&row.configuration, i64::from);
            let params = [
                row.key,
                int(options.capacity),
                int(millis(options.remember_ids)),
                int(*revision),
                flag(*configured),
                flag(row.closed),
                int(row.sequence),
                int(row.last_death),
                int(row.ready),
                int(row.ready_alone),
                int(row.scheduled),
                int(row.leased),
                int(row.dead),
                int(row.remembered),
                order_key(options.order),
                flag(row.paused),
                int(row.results),
                int(row.seen),
                int(row.held),
                options.key_limit.map_or(0, i64::from),
                int(millis(options.key_interval)),
                int(row.packed),
                int(row.shared),
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
            let unsettled = row.status().unsettled();
            row.configuration.configure(name, options, unsettled)?;
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

    /// Answers a pause that would change nothing. `None` when it would.
    pub(in super::super) fn paused(&self, name: &QueueName, paused: bool) -> rusqlite::Result<Option<()>> {
        Ok(self.peek_queue(name)?.filter(|row| row.paused == paused).map(drop))
    }

    /// As `Machine::pause`.
    pub(in super::super) fn pause(&mut self, name: &QueueName, by: &str) -> rusqlite::Result<()> {
        let wall = self.now.wall;
        let row = self.queue_or_new(name)?;
        if row.paused {
            return Ok(());
        }
        (row.paused, row.pause) = (true, Some(Pause { by: by.to_owned(), at: time(wall) }));
        let key = row.key;
        self.execute(statements::ADD_PAUSE, (key, by, int(wall)))?;
        self.news = true;
        Ok(())
    }

    /// As `Machine::resume`.
    pub(in super::super) fn resume(&mut self, name: &QueueName) -> rusqlite::Result<()> {
        let row = self.queue_or_new(name)?;
        (row.paused, row.pause) = (false, None);
        let key = row.key;
        self.execute(statements::DROP_PAUSE, [key])?;
        self.news = true;
        Ok(())
    }
}
