//! What is in the tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

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
    pub(crate) fn read(store: &Path) -> Self {
        let database = open(store);
        assert_eq!(defects(&database), Vec::<String>::new(), "what is wrong with the store");
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
            "SELECT queues.name, id, state, epoch, attempts FROM tasks JOIN queues USING (queue)",
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

/// The consistency check; the crate's own takes its place when there is one.
fn defects(database: &Connection) -> Vec<String> {
    const COUNTERS: [(&str, &str); 6] = [
        ("ready", "tasks AS t WHERE t.queue = q.queue AND state = 0"),
        ("ready_alone", "tasks AS t WHERE t.queue = q.queue AND state = 0 AND must_alone"),
        ("scheduled", "tasks AS t WHERE t.queue = q.queue AND state = 1"),
        ("leased", "tasks AS t WHERE t.queue = q.queue AND state = 2"),
        ("dead", "tasks AS t WHERE t.queue = q.queue AND state = 3"),
        ("remembered", "remembered AS r WHERE r.queue = q.queue"),
    ];
    const WRONG: [(&str, &str); 6] = [
        ("no state", "SELECT id FROM tasks WHERE state NOT IN (0, 1, 2, 3)"),
        (
            "half a state",
            "SELECT id FROM tasks WHERE (due IS NULL) = (state = 1) OR (leased_by IS NULL) = (state = 2) \
            OR (leased_until IS NULL) = (state = 2) OR (death IS NULL) = (state = 3) OR alone AND state != 2",
        ),
        ("settled and there", "SELECT id FROM tasks JOIN remembered USING (queue, id)"),
        ("of no queue", "SELECT id FROM tasks WHERE queue NOT IN (SELECT queue FROM queues)"),
        ("remembered by no queue", "SELECT id FROM remembered WHERE queue NOT IN (SELECT queue FROM queues)"),
        (
            "a sequence that was not given",
            "SELECT id FROM tasks AS t JOIN queues AS q USING (queue) WHERE t.sequence > q.sequence OR t.sequence < 1 \
            OR t.death > q.last_death",
        ),
    ];
    let mut defects = list(database, "PRAGMA integrity_check", |row| row.get::<_, String>(0));
    defects.retain(|line| line != "ok");
    for (counter, rows) in COUNTERS {
        let sql = format!("SELECT name FROM queues AS q WHERE {counter} != (SELECT count(*) FROM {rows})");
        let queues = list(database, &sql, |row| row.get::<_, String>(0));
        defects.extend(queues.into_iter().map(|queue| format!("the counter {counter} of queue {queue}")));
    }
    for (what, sql) in WRONG {
        let ids = list(database, sql, |row| row.get::<_, Value>(0));
        defects.extend(ids.into_iter().map(|id| format!("{what}: {id:?}")));
    }
    defects
}

fn list<T>(
    database: &Connection,
    sql: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut statement = database.prepare(sql).unwrap();
    statement.query_map([], read).unwrap().collect::<Result<_, _>>().unwrap()
}
