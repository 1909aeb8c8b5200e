//! The local store, damaged by SQL.

use std::path::PathBuf;

use async_trait::async_trait;
use manyhands_broker::{
    Guard, Namespace,
    backends::local::{LocalBroker, LocalConfig},
    clock::ManualClock,
};
use rusqlite::Connection;

use manyhands_broker::Order;

use super::{local_damage::*, orders::*, *};

pub(crate) struct Local {
    folder: tempfile::TempDir,
    clock: ManualClock,
}

impl Local {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: ManualClock::default() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("mh/tasks.db")
    }

    /// The ids that a statement finds, which are UUIDs.
    pub(crate) fn ids(&self, sql: &str) -> Vec<TaskId> {
        let connection = Connection::open(self.file()).unwrap();
        let mut rows = connection.prepare(sql).unwrap();
        let id = |row: &rusqlite::Row<'_>| Ok(uuid::Uuid::from_bytes(row.get(0)?).into());
        rows.query_map([], id).unwrap().collect::<Result<_, _>>().unwrap()
    }

    pub(crate) fn sql(&self, sql: &str) {
        let connection = Connection::open(self.file()).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection.execute_batch(sql).unwrap();
    }
}

#[async_trait]
impl Store for Local {
    async fn session(&self) -> Arc<dyn Broker> {
        let config = LocalConfig::new(self.folder.path(), Namespace::default());
        let config = config.with_clock(Arc::new(self.clock.clone()));
        Arc::new(Guard::new(LocalBroker::open(config).await.unwrap()))
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

/// The filler's queue would be damaged too.
const ONLY_Q: &str = "DELETE FROM tasks WHERE queue <> 1; DELETE FROM queues WHERE queue <> 1;";

async fn each(damages: &[Damage<'_>]) {
    for damage in damages {
        let store = Local::new();
        let (broker, leased) = fill(&store).await;
        store.sql(ONLY_Q);
        assert_eq!(found(&fsck(&*broker, false).await), [], "before");
        store.sql(damage.done);
        named_and_mended(&store, &*broker, &leased, damage).await;
    }
}

#[tokio::test]
async fn damaged_rows_are_named_and_mended() {
    each(ROWS).await;
}

#[tokio::test]
async fn damaged_queues_are_named_and_mended() {
    each(QUEUES).await;
}

#[tokio::test]
async fn what_is_kept_is_named_and_mended() {
    each(KEPT).await;
}

/// Two tasks with one unique key, which the index does not allow: it is built anew when one of them has the key.
#[tokio::test]
async fn a_key_of_two_is_left_to_one() {
    let store = Local::new();
    let (broker, leased) = fill(&store).await;
    store.sql(
        "DROP INDEX tasks_unique; UPDATE tasks SET unique_key = 'k', unique_hold_ms = 0 WHERE id IN ('new', 'leased')",
    );
    let report = fsck(&*broker, true).await;
    let wanted = [
        (String::new(), String::new(), "the index tasks_unique is missing".to_owned()),
        ("q".to_owned(), "new".to_owned(), "its unique key is held by another task".to_owned()),
    ];
    assert_eq!(found(&report), wanted);
    assert_eq!(report.unrepaired(), 0, "{report:?}");
    assert_eq!(found(&fsck(&*broker, false).await), []);
    all_can_be_settled(&store, &*broker, &queue(), &leased, &damage("a key of two", &[])).await;
}

#[tokio::test]
async fn what_is_kept_for_no_queue_is_removed() {
    let store = Local::new();
    let (broker, _) = fill(&store).await;
    store
        .sql("INSERT INTO results VALUES (NULL, 77, 'x', 5, '1'); INSERT INTO seen VALUES (77, 'k', 'x', 5)");
    let report = fsck(&*broker, true).await;
    let nowhere = |wrong: &str| (String::new(), String::new(), wrong.to_owned());
    let wanted = [
        nowhere("1 results are kept for queues that do not exist"),
        nowhere("1 unique keys are seen for queues that do not exist"),
    ];
    assert_eq!(found(&report), wanted);
    assert_eq!((report.unrepaired(), fsck(&*broker, false).await.is_clean()), (0, true));
}

#[tokio::test]
async fn what_cannot_be_read_is_buried() {
    each(UNREADABLE).await;
}

/// It can be claimed, and the worker buries it with the reason: nothing to repair, and nothing is pretended.
#[tokio::test]
async fn a_payload_that_is_no_json_is_told_and_left() {
    let store = Local::new();
    let (broker, _) = fill(&store).await;
    store.sql("UPDATE tasks SET payload = '{' WHERE id = 'new'");
    for repair in [false, true, false] {
        let report = fsck(&*broker, repair).await;
        let wrong = "its payload is not JSON: the handler will not get it";
        assert_eq!(found(&report), [("q".to_owned(), "new".to_owned(), wrong.to_owned())]);
        assert_eq!((report.unrepaired(), &report.findings[0].repair), (1, &None));
    }
}

/// The epoch that comes after a repair is higher than any that may have been given before.
#[tokio::test]
async fn a_lost_epoch_is_not_given_again() {
    let store = Local::new();
    let (broker, leased) = fill(&store).await;
    store.sql("UPDATE tasks SET epoch = -7 WHERE id = 'leased'");
    fsck(&*broker, true).await;
    let tasks = broker.claim(&Claim::new(queue(), 9).with_idle(false)).await.unwrap().tasks;
    let again = tasks.iter().find(|task| task.lease.id == leased.lease.id).unwrap();
    assert!(again.lease.epoch >= leased.lease.epoch + (1 << 20), "{again:?} after {leased:?}");
    assert_eq!((again.deaths, again.attempts), (0, 0), "uncharged");
    assert_eq!(settle(&*broker, &leased, complete()).await, Settled::Lost);
}

#[tokio::test]
async fn a_lost_generation_is_set_anew() {
    let store = Local::new();
    let (broker, leased) = fill(&store).await;
    store.sql("UPDATE meta SET generation = -5");
    let nowhere = |wrong: &str| [(String::new(), String::new(), wrong.to_owned())];
    let report = fsck(&*broker, true).await;
    assert_eq!(found(&report), nowhere("the generation -5 is out of bounds"));
    assert_eq!((report.unrepaired(), fsck(&*broker, false).await.is_clean()), (0, true));
    let task = broker.claim(&Claim::new(queue(), 1).with_idle(false)).await.unwrap().tasks.remove(0);
    assert!(task.lease.epoch > leased.lease.epoch, "{task:?} after {leased:?}");
}

/// Tasks whose queue is gone get a new one, with all that they are.
#[tokio::test]
async fn tasks_without_a_queue_get_one() {
    let store = Local::new();
    let (broker, leased) = fill(&store).await;
    store.sql("DELETE FROM queues WHERE name = 'q'");
    let report = fsck(&*broker, true).await;
    let nowhere = |wrong: &str| (String::new(), String::new(), wrong.to_owned());
    assert_eq!(
        found(&report),
        [
            nowhere("1 ids are remembered for queues that do not exist"),
            nowhere("tasks of a queue that does not exist")
        ]
    );
    assert_eq!(report.unrepaired(), 0, "{report:?}");
    assert_eq!(found(&fsck(&*broker, false).await), []);
    let found = QueueName::new("recovered-1").unwrap();
    let none = damage("a lost queue", &[]);
    all_can_be_settled(&store, &*broker, &found, &leased, &none).await;
}

#[tokio::test]
async fn a_queue_without_a_name_gets_one() {
    let store = Local::new();
    let (broker, leased) = fill(&store).await;
    store.sql("UPDATE queues SET name = 'a b' WHERE name = 'q'");
    let report = fsck(&*broker, true).await;
    assert_eq!(found(&report), [("a b".to_owned(), String::new(), "its name is none".to_owned())]);
    assert_eq!((report.unrepaired(), fsck(&*broker, false).await.is_clean()), (0, true));
    let found = QueueName::new("recovered-1").unwrap();
    all_can_be_settled(&store, &*broker, &found, &leased, &damage("a lost name", &[])).await;
}

/// More dead than are kept: the oldest go, as at the next death.
#[tokio::test]
async fn too_many_dead_are_trimmed() {
    let store = Local::new();
    let (broker, _) = fill(&store).await;
    store.sql(
        "WITH RECURSIVE n(n) AS (VALUES (2) UNION ALL SELECT n + 1 FROM n WHERE n < 10003) \
         INSERT INTO tasks SELECT NULL, queue, 'dead-' || n, id_given, name, payload, state, sequence, must_alone, due, \
         leased_by, leased_until, n, epoch, attempts, max_attempts, crashes, max_crashes, deaths, alone, parks, parked_since, \
         error, cancelled, rank, place, expires, unique_key, unique_hold_ms, keep_result_ms, died, limit_key, returned, \
         batch, progress, history, run_limit_ms FROM tasks, n WHERE id = 'dead'; \
         UPDATE queues SET dead = 10003, last_death = 10003 WHERE name = 'q'",
    );
    let report = fsck(&*broker, true).await;
    let wrong = "10003 dead tasks are more than the limit of 10000";
    assert_eq!(found(&report), [("q".to_owned(), String::new(), wrong.to_owned())]);
    assert_eq!((report.unrepaired(), fsck(&*broker, false).await.is_clean()), (0, true));
    let left: (i64, i64) = Connection::open(store.file())
        .unwrap()
        .query_row("SELECT min(death), max(death) FROM tasks WHERE state = 3", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(left, (4, 10_003), "the newest are kept");
}

#[tokio::test]
async fn a_missing_index_is_built_anew() {
    let store = Local::new();
    let (broker, leased) = fill(&store).await;
    store.sql("DROP INDEX tasks_by_id");
    let report = fsck(&*broker, true).await;
    assert_eq!(
        found(&report),
        [(String::new(), String::new(), "the index tasks_by_id is missing".to_owned())]
    );
    assert_eq!((report.unrepaired(), fsck(&*broker, false).await.is_clean()), (0, true));
    all_can_be_settled(&store, &*broker, &queue(), &leased, &damage("a lost index", &[])).await;
}

/// An index that does not say what the table does, as after a defect of the disk.
#[tokio::test]
async fn a_false_index_is_built_anew() {
    let store = Local::new();
    let (broker, leased) = fill(&store).await;
    // Hidden while a row changes, so that it is not told.
    let (name, root, sql): (String, i64, String) = Connection::open(store.file())
        .unwrap()
        .query_row("SELECT name, rootpage, sql FROM sqlite_schema WHERE name = 'tasks_ready'", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    let hide = format!("PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = '{name}'");
    store.sql(&hide);
    store
        .sql("UPDATE tasks SET sequence = sequence + 100, place = place + 100 WHERE id = 'new'; UPDATE queues SET highest_sequence = 200");
    store.sql(&format!(
        "PRAGMA writable_schema = ON; \
         INSERT INTO sqlite_schema VALUES ('index', '{name}', 'tasks', {root}, '{sql}')"
    ));
    let broker_again = store.session().await;
    let report = fsck(&*broker_again, false).await;
    assert!(!report.is_clean(), "{report:?}");
    assert!(
        report.findings.iter().all(|finding| finding.wrong.contains("index tasks_ready")),
        "{:?}",
        report.findings
    );
    assert_eq!(fsck(&*broker_again, true).await.unrepaired(), 0);
    assert_eq!(found(&fsck(&*broker, false).await), []);
    all_can_be_settled(&store, &*broker_again, &queue(), &leased, &damage("a false index", &[])).await;
}

/// Pages that are no pages: told, and left as they are.
#[tokio::test]
async fn a_damaged_file_is_told_and_left() {
    let store = Local::new();
    {
        let (broker, _) = fill(&store).await;
        let ids: Vec<String> = (0..200).map(|number| format!("more-{number}")).collect();
        enqueue(&*broker, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    store.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    let page: u64 = Connection::open(store.file())
        .unwrap()
        .query_row("SELECT max(pageno) FROM dbstat WHERE name = 'tasks' AND pagetype = 'leaf'", [], |row| {
            row.get::<_, i64>(0)
        })
        .map(|page| u64::try_from(page).unwrap())
        .unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(store.file()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 4096], (page - 1) * 4096).unwrap();
    let before = std::fs::read(store.file()).unwrap();
    let broker = store.session().await;
    for repair in [false, true] {
        let report = fsck(&*broker, repair).await;
        assert!(!report.is_clean());
        assert_eq!(report.unrepaired(), report.findings.len(), "{:?}", report.findings);
        assert!(report.findings[0].wrong.starts_with("SQLite says: "), "{:?}", report.findings);
    }
    assert!(std::fs::read(store.file()).unwrap() == before, "the file is as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_clean_while_others_work() {
    clean_while_others_work(&Local::new()).await;
}

const DISORDERS: &[Disorder] = &[
    (Order::Lifo, "UPDATE tasks SET place = sequence WHERE id = 'new'", "new", ELSEWHERE),
    (Order::Lifo, "UPDATE tasks SET place = 5 WHERE id = 'first'", "first", ELSEWHERE),
    (Order::Priority, "UPDATE tasks SET place = -7 WHERE id = 'new'", "new", ELSEWHERE),
    (
        Order::Priority,
        "UPDATE tasks SET rank = -(1 << 60) WHERE id = 'first'",
        "first",
        "its rank is out of bounds",
    ),
    (
        Order::Lifo,
        "UPDATE tasks SET rank = 5 WHERE id = 'new'",
        "new",
        "it has a rank, where its queue has no priorities",
    ),
    (
        Order::Fifo,
        "INSERT INTO seen VALUES (1, 'key-new', 'new', 1 << 60); UPDATE queues SET seen = seen + 1",
        "new",
        "its unique key is seen, as if it had ended",
    ),
    (
        Order::Fifo,
        "INSERT INTO results VALUES (NULL, 1, 'third', 1 << 60, NULL); UPDATE queues SET results = results + 1",
        "third",
        "it has a result, but is not settled",
    ),
];

const ELSEWHERE: &str = "it stands at another place than its sequence says";

#[tokio::test]
async fn disorders_are_named_and_mended() {
    for (order, done, id, wrong) in DISORDERS {
        let store = Local::new();
        each_disorder(&store, *order, id, wrong, async || store.sql(done)).await;
    }
}

#[tokio::test]
async fn it_is_clean_in_every_order() {
    for order in ORDERS {
        clean_in_order(&Local::new(), order).await;
    }
}
