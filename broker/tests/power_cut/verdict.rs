//! What is demanded of a store after a power cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use manyhands_broker::{Broker, Claim, ClaimedTask, End, Settled, Settlement, limits};
use rusqlite::Connection;

use crate::{
    Boot, DAY, STORE,
    load::SHARED,
    queue, session,
    told::{How, Name, Order, Run, Told},
};

/// A dead task, as it is stored.
const DEAD: i64 = 3;

/// What power cuts took, of what may be lost.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    pub(crate) commits: usize,
    /// Claims that were answered: their tasks stand as before.
    pub(crate) claims: usize,
    /// Completions that were accepted: their tasks are run again.
    pub(crate) settlements: usize,
}

/// A task as it stands.
#[derive(Debug)]
struct Row {
    state: i64,
    epoch: u64,
}

/// What is in the tables.
struct Stored {
    tasks: BTreeMap<Name, Row>,
    remembered: BTreeSet<Name>,
}

impl Stored {
    fn read(store: &Path) -> Self {
        let database = Connection::open(store.join(STORE).join("tasks.db")).unwrap();
        let name = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Name> {
            Ok(Name::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        };
        let sql = "SELECT name, id FROM remembered JOIN queues USING (queue)";
        let remembered = list(&database, sql, name);
        let sql = "SELECT queues.name, id, state, epoch FROM tasks JOIN queues USING (queue)";
        let row = |row: &rusqlite::Row<'_>| {
            let epoch = row.get::<_, i64>(3)?.cast_unsigned();
            Ok((name(row)?, Row { state: row.get(2)?, epoch }))
        };
        let tasks = list(&database, sql, row).into_iter().collect();
        Self { tasks, remembered: remembered.into_iter().collect() }
    }

    fn knows(&self, task: &Name) -> bool {
        self.tasks.contains_key(task) || self.remembered.contains(task)
    }
}

fn list<T>(
    database: &Connection,
    sql: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut statement = database.prepare(sql).unwrap();
    statement.query_map([], read).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Opens what is left in the next boot and demands everything; then does what is left to do.
pub(crate) async fn judge(store: &Path, told: &Told, lost: &mut Lost) {
    let broker = session(store, &Boot::new("after the cut", DAY)).await;
    whole(&*broker).await;
    let stored = Stored::read(store);
    promises(told, &stored);
    families(told, &stored);
    queues(&*broker, told).await;
    count(told, &stored, lost);
    finish(&*broker, store, told, &stored).await;
    let late = |run: &Run| Settlement::new(run.lease(), End::complete(Vec::new()));
    let late: Vec<_> = told.claimed.iter().map(late).collect();
    for late in late.chunks(limits::MAX_BATCH) {
        let answers = broker.settle(late).await.unwrap();
        assert_eq!(answers, vec![Settled::Lost; late.len()], "leases from before the cut");
    }
    whole(&*broker).await;
}

async fn whole(broker: &dyn Broker) {
    let report = broker.fsck().unwrap().fsck(false).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

/// What was promised of tasks is so, and nothing was made up.
fn promises(told: &Told, stored: &Stored) {
    let parents: BTreeMap<_, _> = told.parents().collect();
    let may_be_gone = |task: &Name| {
        parents.contains_key(task)
            || told.was_asked(Order::Cancel, task)
            || told.was_asked(Order::Purge, task)
    };
    for task in &told.enqueued {
        assert!(stored.knows(task) || may_be_gone(task), "enqueued, never ended, and gone: {task:?}");
    }
    for call in &told.calls {
        let there = call.iter().filter(|task| stored.knows(task) || may_be_gone(task)).count();
        let known = call.iter().filter(|task| stored.knows(task)).count();
        assert!(known == 0 || there == call.len(), "{there} of {} tasks of one call", call.len());
    }
    for task in stored.tasks.keys().chain(&stored.remembered) {
        let handed = parents.values().any(|children| children.contains(task));
        assert!(told.was_asked(Order::Enqueue, task) || handed, "never enqueued: {task:?}");
    }
    for task in &stored.remembered {
        let ended = may_be_gone(task);
        assert!(ended && !stored.tasks.contains_key(task), "remembered, and never ended: {task:?}");
    }
    for task in &told.gone {
        assert!(!stored.tasks.contains_key(task), "cancelled or purged, and there again: {task:?}");
    }
    for task in &told.revived {
        let row = stored.tasks.get(task);
        assert!(row.is_none_or(|row| row.state != DEAD), "revived, and dead again: {task:?}");
    }
    let buried =
        |task: &Name| told.settling.iter().any(|(run, (how, _))| run.task == *task && *how == How::Bury);
    for (task, row) in stored.tasks.iter().filter(|(_, row)| row.state == DEAD) {
        assert!(buried(task), "nobody buried it: {task:?} {row:?}");
    }
}

/// A parent that is there has no children, and one that is remembered has all of them.
fn families(told: &Told, stored: &Stored) {
    for (parent, children) in told.parents() {
        // One that died may have been purged since.
        let there = |child: &&Name| stored.knows(child) || told.was_asked(Order::Purge, child);
        let known = children.iter().filter(there).count();
        if stored.tasks.contains_key(parent) {
            assert_eq!(known, 0, "children of {parent:?}, which did not end");
        } else if stored.remembered.contains(parent) {
            assert_eq!(known, children.len(), "children of {parent:?}, which ended");
        }
    }
}

/// What was promised of queues is so.
async fn queues(broker: &dyn Broker, told: &Told) {
    for (name, capacity) in &told.capacities {
        let status = broker.status(&queue(name)).await.unwrap().unwrap();
        assert_eq!(status.options.capacity, *capacity, "queue {name}");
        assert!(status.closed || !told.closed.contains(name), "queue {name} was closed");
        assert!(!status.closed || told.closing.contains(name), "nobody closed queue {name}");
        let paused = told.paused.get(name);
        assert!(paused.is_none_or(|paused| *paused == status.paused), "queue {name}: {paused:?}");
    }
}

/// Counts what was lost that may be.
fn count(told: &Told, stored: &Stored, lost: &mut Lost) {
    for run in &told.claimed {
        let row = stored.tasks.get(&run.task);
        lost.claims += usize::from(row.is_some_and(|row| row.epoch < run.epoch));
        let completed = told.settled.contains(run) && told.settling[run].0 == How::Complete;
        lost.settlements += usize::from(completed && row.is_some());
    }
}

/// Runs what is left, where each fence is above all that were given before.
async fn finish(broker: &dyn Broker, store: &Path, told: &Told, stored: &Stored) {
    let mut fences = BTreeMap::new();
    for Run { task, epoch, .. } in &told.claimed {
        let fence = fences.entry(task.clone()).or_insert(0_u64);
        *fence = (*fence).max(*epoch);
    }
    let names: BTreeSet<_> = stored.tasks.keys().map(|task| task.queue.clone()).collect();
    assert!(names.iter().all(|name| [SHARED, "first", "second"].contains(&name.as_str())), "{names:?}");
    let mut run = BTreeSet::new();
    for name in &names {
        broker.resume(&queue(name)).await.unwrap();
        // What is put off is due now, as if the time had passed.
        let database = Connection::open(store.join(STORE).join("tasks.db")).unwrap();
        database.execute("UPDATE tasks SET due = 0 WHERE state = 1", []).unwrap();
        drop(database);
        loop {
            let tasks = broker.claim(&Claim::new(queue(name), 64)).await.unwrap().tasks;
            if tasks.is_empty() {
                break;
            }
            for task in &tasks {
                let (task, epoch) = (Name::new(name, &task.lease.id), task.lease.epoch);
                let fence = fences.insert(task.clone(), epoch).unwrap_or_default();
                assert!(epoch > fence, "fence {epoch} of {task:?} after {fence}");
                assert!(run.insert(task.clone()), "run twice: {task:?}");
            }
            let end = |task: &ClaimedTask| Settlement::new(task.lease.clone(), End::complete(Vec::new()));
            let ends: Vec<_> = tasks.iter().map(end).collect();
            assert_eq!(broker.settle(&ends).await.unwrap(), vec![Settled::Settled; ends.len()]);
        }
    }
    let (alive, dead): (Vec<_>, Vec<_>) = stored.tasks.iter().partition(|(_, row)| row.state != DEAD);
    let alive: BTreeSet<_> = alive.into_iter().map(|(task, _)| task.clone()).collect();
    // A task that was to be cancelled and whose holder is gone is cancelled instead.
    let missing: Vec<_> =
        alive.difference(&run).filter(|task| !told.was_asked(Order::Cancel, task)).collect();
    assert!(missing.is_empty() && run.is_subset(&alive), "not run: {missing:?}; {} are dead", dead.len());
}
