//! What is in the tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use manyhands::Broker;
use rusqlite::{Connection, types::Value};
use uuid::Uuid;

use crate::told::Name;

/// The states of a task, as they are stored.
pub(crate) const READY: i64 = 0;
pub(crate) const SCHEDULED: i64 = 1;
pub(crate) const DEAD: i64 = 3;

/// A task as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) state: i64,
    pub(crate) epoch: i64,
    pub(crate) attempts: u32,
}

/// A sound store.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) queues: BTreeSet<String>,
    pub(crate) tasks: BTreeMap<Name, Row>,
    pub(crate) remembered: BTreeSet<Name>,
}

impl Stored {
    /// Reads a store that must be sound.
    pub(crate) async fn read(broker: &dyn Broker, store: &Path) -> Self {
        let report = broker.fsck().unwrap().fsck(false).await.unwrap();
        assert!(report.is_clean(), "what is wrong with the store: {:?}", report.findings);
        let database = open(store);
        let name = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Name> {
            let queue: String = row.get(0)?;
            Ok(match row.get(1)? {
                Value::Blob(bytes) => Name::new(queue, Uuid::from_slice(&bytes).unwrap()),
                Value::Text(text) => Name::new(queue, text),
                other => panic!("an id of queue {queue} is {other:?}"),
            })
        };
        let queues = list(&database, "SELECT name FROM queues", |row| row.get(0));
        let tasks = list(
            &database,
            "SELECT queues.name, id, state, epoch, attempts FROM tasks JOIN queues USING (queue) \
             UNION ALL SELECT queues.name, id, state, epoch, 0 FROM packed JOIN queues USING (queue)",
            |row| Ok((name(row)?, Row { state: row.get(2)?, epoch: row.get(3)?, attempts: row.get(4)? })),
        );
        let remembered = "SELECT name, id FROM remembered JOIN queues USING (queue)";
        let remembered = list(&database, remembered, name);
        Self {
            queues: queues.into_iter().collect(),
            tasks: tasks.into_iter().collect(),
            remembered: remembered.into_iter().collect(),
        }
    }

    /// Whether the task is there or was settled: it did not get lost.
    pub(crate) fn knows(&self, task: &Name) -> bool {
        self.tasks.contains_key(task) || self.remembered.contains(task)
    }
}

/// Makes due what is scheduled, as if the time had passed.
pub(crate) fn make_all_due(store: &Path) {
    open(store).execute("UPDATE tasks SET due = 0 WHERE state = 1", []).unwrap();
}

fn open(store: &Path) -> Connection {
    let database = Connection::open(store.join("mh/tasks.db")).unwrap();
    // Somebody else may write now.
    database.busy_timeout(crate::PATIENCE).unwrap();
    database
}

fn list<T>(
    database: &Connection,
    sql: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut statement = database.prepare(sql).unwrap();
    statement.query_map([], read).unwrap().collect::<Result<_, _>>().unwrap()
}
