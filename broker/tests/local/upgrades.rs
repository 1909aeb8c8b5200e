//! Files that an older version wrote.

use manyhands_broker::{DeadTask, Order, QueueOptions, Revived, Unique};

use super::*;

/// The tables of format 1, and its first statement of every call.
const FORMAT_1: &str = include_str!("format_1.sql");
const QUEUE_1: &str = "SELECT queue, capacity, remember_ids_ms, revision, configured, closed, sequence, \
    deaths, ready, ready_alone, scheduled, leased, dead, remembered FROM queues WHERE name = 'q'";

/// Two queues with tasks in all states, as format 1 had them. Of `q`: two that run alone only, one given back, one new one, one
/// put off by 60 s, one leased for 30 s, and two dead. `0` is a UUID. `r` was only used, and has a task that failed.
const TASKS_1: &str = "
    INSERT INTO queues VALUES (1, 'q', 9, 60000, 2, 1, 1, 12, 2, 4, 2, 1, 1, 2, 1);
    INSERT INTO queues VALUES (2, 'r', 1000000, 3600000, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0);
    INSERT INTO tasks (queue, id, id_given, name, payload, state, sequence, must_alone, due, leased_by, leased_until,
        death, epoch, attempts, max_attempts, crashes, max_crashes, deaths, alone, parks, parked_since, error)
    VALUES
        (1, 'new',    1, 'work', '{\"a\": 1.0}', 0, 11, 0, NULL, NULL, NULL, NULL, 0, 0, 5, 0, 3, 0, 0, 0, 0, NULL),
        (1, 'back',   1, 'work', '2', 0,  4, 0, NULL, NULL, NULL, NULL, 7, 1, 5, 0, 3, 1, 0, 0, 0, 'it failed'),
        (1, 'alone',  1, 'work', '3', 0,  3, 1, NULL, NULL, NULL, NULL, 8, 0, 5, 1, 3, 3, 0, 0, 0, NULL),
        (1, 'alone2', 1, 'work', '3', 0,  7, 1, NULL, NULL, NULL, NULL, 8, 0, 5, 1, 3, 2, 0, 0, 0, NULL),
        (1, 'later',  1, 'work', '4', 1,  5, 0, 1767225660000, NULL, NULL, NULL, 9, 2, 5, 0, 3, 0, 0, 3, 1, 'no handler'),
        (1, x'0198c0de000070008000000000000001', 0, 'work', '5', 2, 6, 0, NULL, randomblob(16), 30000, NULL,
            10, 0, 5, 0, 3, 0, 0, 0, 0, NULL),
        (1, 'dead',   1, 'work', '6', 3,  1, 0, NULL, NULL, NULL, 2, 11, 5, 5, 0, 3, 0, 0, 0, 0, 'for good'),
        (1, 'first',  0, 'work', '7', 3,  2, 0, NULL, NULL, NULL, 1, 12, 0, 5, 3, 3, 3, 0, 0, 0, NULL),
        (2, 'r',      1, 'work', '8', 1,  1, 0, 1767225610000, NULL, NULL, NULL, 1, 1, 5, 0, 3, 0, 0, 0, 0, 'it failed');
    INSERT INTO remembered VALUES (1, 'settled', 1767225660000);
    INSERT INTO meta VALUES (1, 1, 1, 'boot-1', 1767225000);
    PRAGMA user_version = 1;
    PRAGMA application_id = 1296584260;";

/// A directory as a program of format 1 left it.
fn old() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mh")).unwrap();
    let database = database(folder.path());
    database.pragma_update(None, "journal_mode", "wal").unwrap();
    database.execute_batch(FORMAT_1).unwrap();
    database.execute_batch(TASKS_1).unwrap();
    folder
}

fn database(folder: &Path) -> Connection {
    Connection::open(folder.join("mh/tasks.db")).unwrap()
}

fn ids(tasks: &[ClaimedTask]) -> Vec<String> {
    tasks.iter().map(|task| task.lease.id.to_string()).collect()
}

/// Work in every state survives an upgrade and goes on: in its order, with its counters, its epochs and its memory.
#[tokio::test]
async fn work_in_every_state_survives() {
    let (folder, clock, q) = (old(), ManualClock::default(), queue("q"));
    let broker = session_at(folder.path(), clock.clone()).await;
    let status = broker.status(&q).await.unwrap().unwrap();
    let options = QueueOptions::default().with_capacity(9).with_remember_ids(Duration::from_secs(60));
    assert_eq!((status.options, status.revision), (options, 2), "configured as before");
    assert_eq!((status.closed, status.paused), (true, false));
    assert_eq!(counts(&*broker, &q).await, [4, 1, 1, 2]);

    let known = NewTask::new(q.clone(), TaskName::new("work").unwrap(), Payload::null());
    let known = ["settled", "later", "dead", "0198c0de-0000-7000-8000-000000000001"]
        .map(|id| known.clone().with_id(TaskId::new(id).unwrap()));
    assert_eq!(
        broker.enqueue(&known, None).await.unwrap(),
        vec![Enqueued::Exists; 4],
        "what is remembered or there"
    );

    let claim = |max| Claim::new(q.clone(), max).with_lease(Duration::from_secs(600));
    let first = broker.claim(&claim(9)).await.unwrap();
    assert_eq!((ids(&first.tasks), first.waiting_alone), (vec!["alone".to_owned()], 1));
    assert_eq!((first.tasks[0].crashes, first.tasks[0].deaths, first.tasks[0].alone), (1, 3, true));
    assert_eq!(first.next, Some(Duration::from_secs(30)), "the lease of the old process");
    let rest = broker.claim(&claim(9)).await.unwrap().tasks;
    assert_eq!(ids(&rest), ["back", "new"], "before the one that runs alone, and behind it");
    assert_eq!((rest[0].attempts, rest[0].payload.as_str()), (1, "2"));
    assert_eq!((rest[1].max_attempts, rest[1].payload.as_str()), (5, "{\"a\": 1.0}"), "byte for byte");
    assert!(rest.iter().all(|task| task.lease.epoch >= 1_767_225_000 << 20), "epochs go on: {rest:?}");

    clock.advance(Duration::from_secs(60));
    assert_eq!(ids(&broker.claim(&claim(1)).await.unwrap().tasks), [known[3].id.to_string()], "taken back");
    assert_eq!(ids(&broker.claim(&claim(9)).await.unwrap().tasks), ["alone2"]);
    let later = broker.claim(&claim(9)).await.unwrap().tasks;
    assert_eq!(ids(&later), ["later"], "became due behind all that was ready");
    assert_eq!(settle(&*broker, &later[0], End::Park).await, Settled::Settled);
    // First parked 56 years ago, so this was the last time.
    assert_eq!(counts(&*broker, &q).await, [0, 0, 5, 3]);
    for task in first.tasks.iter().chain(&rest) {
        assert_eq!(settle(&*broker, task, complete()).await, Settled::Settled);
    }
    assert_eq!(counts(&*broker, &q).await, [0, 0, 2, 3]);
}

/// The dead of before the upgrade are listed, and kept for their time from the upgrade on; and a queue of before can do what
/// is new.
#[tokio::test]
async fn old_queues_can_do_what_is_new() {
    let (folder, clock, q, r) = (old(), ManualClock::default(), queue("q"), queue("r"));
    let broker = session_at(folder.path(), clock.clone()).await;
    let upgraded = clock.now().wall;
    let power = broker.dead_letters().unwrap();
    let said = |dead: &DeadTask| {
        let died = dead.died.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        (dead.id.to_string(), dead.error.clone(), dead.attempts, dead.crashes, dead.mark, died)
    };
    let died = u128::from(upgraded);
    let wanted = [
        ("first".to_owned(), String::new(), 0, 3, 1, died),
        ("dead".to_owned(), "for good".to_owned(), 5, 0, 2, died),
    ];
    let found: Vec<_> = power.list(&q, None, 9).await.unwrap().iter().map(said).collect();
    assert_eq!(found, wanted);
    let dead = [TaskId::new("dead").unwrap()];
    assert_eq!(power.revive(&q, &dead).await.unwrap(), [Revived::Revived]);
    broker.pause(&q, true).await.unwrap();
    clock.advance(Duration::from_secs(7 * 86_400));
    assert!(broker.claim(&Claim::new(q.clone(), 9)).await.unwrap().tasks.is_empty(), "it is paused");
    // Those that ran alone, or failed once more, are there; the other dead one was kept for a week.
    assert_eq!(counts(&*broker, &q).await, [7, 0, 0, 0]);
    assert_eq!(broker.cancel(&q, &dead).await.unwrap(), [manyhands_broker::Cancel::Cancelled]);

    let unique = Unique::until_settled("k").unwrap();
    let one = |id: &str| {
        let task = NewTask::new(r.clone(), TaskName::new("work").unwrap(), Payload::null());
        task.with_id(TaskId::new(id).unwrap()).with_unique(unique.clone())
    };
    let answers = broker.enqueue(&[one("1"), one("2")], None).await.unwrap();
    assert_eq!(answers, [Enqueued::Enqueued, Enqueued::Duplicate(TaskId::new("1").unwrap())]);
    let tasks = broker.claim(&Claim::new(r.clone(), 9)).await.unwrap().tasks;
    assert_eq!(ids(&tasks), ["1", "r"], "what was due goes behind what was ready");
    for task in &tasks {
        assert_eq!(settle(&*broker, task, complete()).await, Settled::Settled);
    }
    let lifo = QueueOptions::default().with_order(Order::Lifo);
    assert_eq!(broker.declare(&r, Some(&lifo)).await.unwrap().options, lifo);
}

/// A file that was upgraded is as one that was made anew, so that nothing depends on where it came from.
#[tokio::test]
async fn an_upgraded_file_has_the_tables_of_a_new_one() {
    let (new, old) = (tempfile::tempdir().unwrap(), old());
    for folder in [&new, &old] {
        drop(session_at(folder.path(), ManualClock::default()).await);
    }
    assert_eq!(tables(&database(old.path())), tables(&database(new.path())));
    let versions = |folder: &Path| {
        let sql =
            "SELECT oldest_reader, oldest_writer, (SELECT user_version FROM pragma_user_version) FROM meta";
        let read = |row: &rusqlite::Row<'_>| Ok([row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?]);
        database(folder).query_row(sql, [], read).unwrap()
    };
    assert_eq!([versions(old.path()), versions(new.path())], [[2; 3]; 2]);
}

/// The columns of each table, sorted, and what makes each index.
fn tables(database: &Connection) -> BTreeSet<String> {
    let sql = "SELECT m.name || ' ' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || \
            coalesce(c.dflt_value, '') || ' ' || c.pk FROM sqlite_schema m, pragma_table_xinfo(m.name) c \
        WHERE m.type = 'table' \
        UNION SELECT m.name || ' strict ' || l.strict || ' without rowid ' || l.wr FROM sqlite_schema m, \
            pragma_table_list(m.name) l WHERE m.type = 'table' \
        UNION SELECT name || ' ' || coalesce(sql, '') FROM sqlite_schema WHERE type <> 'table'";
    let mut rows = database.prepare(sql).unwrap();
    let rows = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let rows: BTreeSet<String> =
        rows.map(|row| row.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(rows.len() > 60, "{rows:?}");
    rows
}

/// Programs of the old format that still run would write tasks without a place: they fail instead, at the first statement of
/// whatever they do.
#[tokio::test]
async fn a_program_of_the_old_format_fails_from_then_on() {
    let folder = old();
    let running = database(folder.path());
    let mut statement = running.prepare(QUEUE_1).unwrap();
    assert!(statement.exists([]).unwrap(), "before the upgrade");
    drop(session_at(folder.path(), ManualClock::default()).await);
    let error = statement.exists([]).unwrap_err().to_string();
    assert!(error.contains("deaths"), "{error}");
}

/// Of several programs that start at once on an old file, one upgrades it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_start_at_once_upgrade_it_once() {
    let folder = old();
    let clock = ManualClock::default();
    let open = || {
        let (path, clock) = (folder.path().to_owned(), clock.clone());
        tokio::spawn(async move { counts(&*session_at(&path, clock).await, &queue("q")).await })
    };
    let opening: Vec<_> = (0..4).map(|_| open()).collect();
    for counts in opening {
        assert_eq!(counts.await.unwrap(), [4, 1, 1, 2]);
    }
}
