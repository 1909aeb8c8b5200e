//! What is demanded of a store that a process left in the middle of something.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use manyhands_broker::{Broker, End, Enqueued, Settled, Settlement};
use manyhands_worker::{Shutdown, Worker};

use crate::{
    PATIENCE,
    load::QUEUES,
    queue, session,
    stored::{DEAD, READY, Row, SCHEDULED, Stored, make_all_due},
    told::{How, Name, Run, Told},
    until,
    work::{Clerk, Work, app, batch, new_task},
};

/// Opens the store and demands everything; then lets a worker do what is left, and demands that it ended.
pub(crate) async fn judge(store: &Path, told: &Told, beside: Option<Arc<dyn Broker>>) {
    let broker = session(store).await.unwrap();
    taken_back(&*broker, store, beside.is_some()).await;
    let stored = Stored::read(&*broker, store).await;
    promises(told, &stored);
    families(told, &stored);
    answers(&*broker, told, &stored).await;
    let runs = finish(&broker, store).await;
    new_runs(told, &stored, &runs);
    let status = broker.batch(&batch()).await.unwrap();
    assert!(status.is_none_or(|status| status.is_ended()), "the batch goes on: {status:?}");
    ended(told, &Stored::read(&*broker, store).await);
}

/// What the dead process held is taken back, long before its leases run out, and it is forgotten.
async fn taken_back(broker: &dyn Broker, store: &Path, beside: bool) {
    for name in Stored::read(broker, store).await.queues {
        let leased = async || broker.status(&queue(&name)).await.unwrap().unwrap().leased;
        until("what the dead held is taken back", async || leased().await == 0).await;
    }
    // One that died before it was named may stay a while: it held nothing.
    let named = |entry: &fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
    let folder = store.join("mh/incarnations");
    let living = || fs::read_dir(&folder).unwrap().map(Result::unwrap).filter(named).count();
    until("the dead are forgotten", async || living() == 1 + usize::from(beside)).await;
}

/// What the process was told holds, and nothing was made up.
fn promises(told: &Told, stored: &Stored) {
    let asked: BTreeMap<_, _> = told.parents().collect();
    for task in &told.enqueued {
        let settled =
            if task.is_remembered() { stored.remembered.contains(task) } else { asked.contains_key(task) };
        assert!(stored.tasks.contains_key(task) || settled, "enqueued, never settled, and gone: {task:?}");
    }
    for call in &told.calls {
        let there = call.iter().filter(|task| stored.knows(task) || asked.contains_key(task)).count();
        assert!(there == 0 || there == call.len(), "{there} of {} tasks of one call", call.len());
    }
    for task in stored.tasks.keys().chain(&stored.remembered) {
        let sent = told.calls.iter().flatten().any(|sent| sent == task);
        let handed = asked.values().any(|children| children.contains(task));
        assert!(sent || handed, "never enqueued: {task:?}");
    }
    for Run { task, epoch, .. } in told.claimed.iter().filter(|run| !run.task.comes_again()) {
        let row = stored.tasks.get(task);
        assert!(
            row.is_none_or(|row| row.epoch.cast_unsigned() >= *epoch),
            "epoch {epoch} was given: {task:?} {row:?}"
        );
    }
    for (task, how) in told.last_settled() {
        let row = stored.tasks.get(task);
        let right = match (how, row) {
            (How::Complete, None) => !task.is_remembered() || stored.remembered.contains(task),
            (How::Bury, Some(row)) => row.state == DEAD,
            (How::Retry, Some(Row { state, attempts, .. })) => {
                [READY, SCHEDULED].contains(state) && *attempts > 0
            }
            (How::Release | How::Park, Some(Row { state, attempts, .. })) => {
                [READY, SCHEDULED].contains(state) && *attempts == 0
            }
            _ => false,
        };
        assert!(right, "settled by {how:?}: {task:?} {row:?}");
    }
    for run in &told.settled {
        let ended = told.settlements[run].0;
        let again = ended == How::Complete && !run.task.comes_again() && stored.tasks.contains_key(&run.task);
        assert!(!again, "completed, and there again: {run:?}");
    }
}

/// A parent that is there has no children, and one that is gone has all of them.
fn families(told: &Told, stored: &Stored) {
    for (parent, children) in told.parents() {
        let known = children.iter().filter(|child| stored.knows(child)).count();
        let wanted = if stored.tasks.contains_key(parent) { 0 } else { children.len() };
        assert_eq!(known, wanted, "children of {parent:?}, {:?}", stored.tasks.get(parent));
    }
}

/// What a later process asks is answered by what was promised.
async fn answers(broker: &dyn Broker, told: &Told, stored: &Stored) {
    for run in &told.claimed {
        let late = Settlement::new(run.lease(), End::complete(Vec::new()));
        assert_eq!(broker.settle(&[late]).await.unwrap(), [Settled::Lost], "a lease of the dead: {run:?}");
    }
    let work = Work::new(How::Complete);
    let enqueue = async |task: &Name| broker.enqueue(&[new_task(task, &work)], None).await.unwrap().remove(0);
    for task in told.ended(How::Complete).into_iter().filter(|task| task.is_remembered()) {
        assert_eq!(enqueue(task).await, Enqueued::Exists, "a remembered id: {task:?}");
    }
    // Whether it had been made or not, it is made once.
    for call in &told.repeatable {
        let answers = broker.enqueue(&call.tasks(), Some(call.token())).await.unwrap();
        assert!(answers.iter().all(|answer| *answer == Enqueued::Enqueued), "{call:?} again: {answers:?}");
    }
    for name in &told.closed {
        assert_eq!(enqueue(&Name::new(name, "late")).await, Enqueued::Closed, "queue {name}");
    }
    for (name, capacity) in &told.capacities {
        let status = broker.status(&queue(name)).await.unwrap().unwrap();
        assert_eq!(status.options.capacity, *capacity, "queue {name}");
    }
    for name in &stored.queues {
        let closed = broker.status(&queue(name)).await.unwrap().is_some_and(|status| status.closed);
        assert!(!closed || told.closing.contains(name), "nobody closed queue {name}");
    }
}

/// A worker does what is left until all queues ended; returns what it ran.
async fn finish(broker: &Arc<dyn Broker>, store: &Path) -> Vec<Run> {
    let clerk = Clerk::new(None);
    for name in QUEUES {
        broker.close(&queue(name)).await.unwrap();
    }
    make_all_due(store);
    let worker = Worker::builder(Arc::clone(broker))
        .app(app(&clerk))
        .queues(QUEUES.iter().map(|name| (queue(name), 1)).collect())
        .until_ended(true)
        .observer(Arc::clone(&clerk) as Arc<_>)
        .build()
        .unwrap();
    let ended = tokio::time::timeout(PATIENCE, worker.run(&Shutdown::new())).await;
    ended.expect("the queues end").unwrap();
    let runs = clerk.runs.lock().unwrap();
    runs.clone()
}

/// No task is run whose end was told, and no epoch is given twice.
fn new_runs(told: &Told, stored: &Stored, runs: &[Run]) {
    let mut known = BTreeMap::<&Name, u64>::new();
    for run in told.claimed.iter().chain(runs).filter(|run| !run.task.comes_again()) {
        let low = known.get(&run.task).copied().unwrap_or_default();
        let new = !told.claimed.contains(run);
        assert!(!new || run.epoch > low, "epoch {} after {low}: {run:?}", run.epoch);
        known.insert(&run.task, low.max(run.epoch));
    }
    for run in runs {
        let dead = stored.tasks.get(&run.task).is_some_and(|row| row.state == DEAD);
        assert!(!dead, "run after its end: {run:?}");
        let told_ended = told.ended(How::Bury).contains(&run.task)
            || (!run.task.comes_again() && told.ended(How::Complete).contains(&run.task));
        assert!(!told_ended, "run after its end was told: {run:?}");
    }
}

/// Nothing is left but what was to be buried, and whoever had an id of its own is remembered.
fn ended(told: &Told, stored: &Stored) {
    let buried = told.settlements.iter().filter(|(_, (how, _))| *how == How::Bury);
    let buried: Vec<_> = buried.map(|(run, _)| &run.task).collect();
    for (task, row) in &stored.tasks {
        assert!(row.state == DEAD && buried.contains(&task), "left at the end: {task:?} {row:?}");
    }
    for task in told.enqueued.iter().filter(|task| task.is_remembered()) {
        assert!(stored.knows(task), "gone without a trace: {task:?}");
    }
    for (parent, children) in told.parents().filter(|(parent, _)| !stored.tasks.contains_key(*parent)) {
        for child in children.iter().filter(|task| task.is_remembered()) {
            assert!(stored.knows(child), "{parent:?} ended, and this child was not run: {child:?}");
        }
    }
}
