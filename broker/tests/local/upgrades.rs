//! Files that an older version wrote.

use manyhands_broker::{BatchName, DeadTask, LimitKey, Order, QueueOptions, Revived, Token, Unique};

use super::*;

/// The tables of format 1, and its first statement of every call.
const FORMAT_1: &str = include_str!("format_1.sql");
const QUEUE_1: &str = "SELECT queue, capacity, remember_ids_ms, revision, configured, closed, sequence, \
    deaths, ready, ready_alone, scheduled, leased, dead, remembered FROM queues WHERE name = 'q'";

/// The tables of format 2, and its first statement of every call.
const FORMAT_2: &str = include_str!("format_2.sql");
const QUEUE_2: &str = "SELECT queue, capacity, remember_ids_ms, revision, configured, closed, sequence, last_death, ready, \
    ready_alone, scheduled, leased, dead, remembered, claim_order, paused, results, seen FROM queues WHERE name = 'q'";

/// The tables of format 3, and its first statement of every call.
const FORMAT_3: &str = include_str!("format_3.sql");
const QUEUE_3: &str = "SELECT queue, capacity, remember_ids_ms, revision, configured, closed, \
    last_sequence, last_death, ready, ready_alone, scheduled, leased, dead, remembered, claim_order, paused, results, \
    seen, held, key_limit, key_interval_ms FROM queues WHERE name = 'q'";

/// One queue, as format 3 had it: two tasks that are ready, and one that is leased for 30 s.
const TASKS_3: &str = "
    INSERT INTO queues (queue, name, capacity, remember_ids_ms, revision, configured, closed, last_sequence, last_death,
        ready, ready_alone, scheduled, leased, dead, remembered) VALUES (1, 'q', 9, 60000, 2, 1, 0, 3, 0, 2, 0, 0, 1, 0, 0);
    INSERT INTO tasks (queue, id, id_given, name, payload, state, sequence, must_alone, leased_by, leased_until, epoch, attempts,
        max_attempts, crashes, max_crashes, deaths, alone, parks, parked_since, place)
    VALUES
        (1, x'0198c0de000070008000000000000001', 0, 'work', '1', 2, 1, 0, randomblob(16), 30000, 10, 0, 5, 0, 3, 0, 0, 0, 0, 1),
        (1, x'0198c0de000070008000000000000002', 0, 'work', '2', 0, 2, 0, NULL, NULL, 0, 0, 5, 0, 3, 0, 0, 0, 0, 2),
        (1, x'0198c0de000070008000000000000003', 0, 'work', '3', 0, 3, 0, NULL, NULL, 0, 0, 5, 0, 3, 0, 0, 0, 0, 3);
    INSERT INTO meta VALUES (1, 3, 3, 'boot-1', 1767225000, 0, 0);
    PRAGMA user_version = 3;
    PRAGMA application_id = 1296584260;";

/// One queue with tasks in all states, as format 2 had them: two that are new, of which one has a key and a time, one put off by
/// 60 s, one leased for 30 s, one dead, and a key that is seen.
const TASKS_2: &str = "
    INSERT INTO queues VALUES (1, 'q', 9, 60000, 2, 1, 0, 7, 1, 2, 0, 1, 1, 1, 1, 2, 0, 0, 1);
    INSERT INTO tasks (queue, id, id_given, name, payload, state, sequence, must_alone, due, leased_by, leased_until,
        death, epoch, attempts, max_attempts, crashes, max_crashes, deaths, alone, parks, parked_since, error, rank, place,
        expires, unique_key, unique_hold_ms, keep_result_ms, died)
    VALUES
        (1, 'new',    1, 'work', '1', 0, 7, 0, NULL, NULL, NULL, NULL, 0, 0, 5, 0, 3, 0, 0, 0, 0, NULL, 5, 7,
            1767225660000, 'k', 1000, 1000, NULL),
        (1, 'back',   1, 'work', '2', 0, 4, 0, NULL, NULL, NULL, NULL, 7, 1, 5, 0, 3, 1, 0, 0, 0, 'it failed', 9, 4,
            NULL, NULL, NULL, NULL, NULL),
        (1, 'later',  1, 'work', '3', 1, 5, 0, 1767225660000, NULL, NULL, NULL, 9, 2, 5, 0, 3, 0, 0, 3, 1, NULL, 0, 5,
            NULL, NULL, NULL, NULL, NULL),
        (1, 'leased', 1, 'work', '4', 2, 6, 0, NULL, randomblob(16), 30000, NULL, 10, 0, 5, 0, 3, 0, 0, 0, 0, NULL, 7, 6,
            NULL, NULL, NULL, NULL, NULL),
        (1, 'dead',   1, 'work', '5', 3, 1, 0, NULL, NULL, NULL, 1, 11, 5, 5, 0, 3, 0, 0, 0, 0, 'for good', 0, 1,
            NULL, NULL, NULL, NULL, 1767225600000);
    INSERT INTO remembered VALUES (1, 'settled', 1767225660000);
    INSERT INTO seen VALUES (1, 'seen', 'settled', 1767225660000);
    INSERT INTO meta VALUES (1, 2, 2, 'boot-1', 1767225000);
    PRAGMA user_version = 2;
    PRAGMA application_id = 1296584260;";

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
    of_format(FORMAT_1, TASKS_1)
}

/// A directory as a program of format 2 left it.
fn old_2() -> tempfile::TempDir {
    of_format(FORMAT_2, TASKS_2)
}

/// A directory as a program of format 3 left it.
fn old_3() -> tempfile::TempDir {
    of_format(FORMAT_3, TASKS_3)
}

fn of_format(tables: &str, tasks: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mh")).unwrap();
    let database = database(folder.path());
    database.pragma_update(None, "journal_mode", "wal").unwrap();
    database.execute_batch(tables).unwrap();
    database.execute_batch(tasks).unwrap();
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
    broker.pause(&q, "operator@host").await.unwrap();
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

/// As from format 1; and what is new can be used at once.
#[tokio::test]
async fn work_of_format_2_survives() {
    let (folder, clock, q) = (old_2(), ManualClock::default(), queue("q"));
    let broker = session_at(folder.path(), clock.clone()).await;
    whole(&*broker).await;
    let status = broker.status(&q).await.unwrap().unwrap();
    let options = QueueOptions::default().with_capacity(9).with_remember_ids(Duration::from_secs(60));
    assert_eq!((status.options, status.held), (options.with_order(Order::Priority), 0));
    assert_eq!(counts(&*broker, &q).await, [2, 1, 1, 1]);
    let task = |id: &str| {
        let task = NewTask::new(q.clone(), TaskName::new("work").unwrap(), Payload::null());
        task.with_id(TaskId::new(id).unwrap())
    };
    let unique = |id: &str, key: &str| task(id).with_unique(Unique::until_settled(key).unwrap());
    let answers =
        broker.enqueue(&[task("settled"), unique("1", "k"), unique("2", "seen")], None).await.unwrap();
    let [new, settled] = ["new", "settled"].map(|id| Enqueued::Duplicate(TaskId::new(id).unwrap()));
    assert_eq!(answers, [Enqueued::Exists, new, settled]);
    clock.advance(Duration::from_secs(30));
    let tasks = broker.claim(&Claim::new(q.clone(), 9)).await.unwrap().tasks;
    assert_eq!(ids(&tasks), ["new", "leased", "back"], "by priority, and what was leased is taken back");
    let dead = broker.dead_letters().unwrap().list(&q, None, 9).await.unwrap();
    assert_eq!((dead[0].error.as_str(), dead[0].history.len()), ("for good", 0));

    let limited = queue("limited");
    broker.declare(&limited, Some(&QueueOptions::default().with_key_limit(1))).await.unwrap();
    let batch = BatchName::new("b").unwrap();
    let keyed = |id: &str| {
        let task = task(id).on(limited.clone()).with_key(LimitKey::new("k").unwrap());
        task.in_batch(batch.clone()).with_unique(Unique::in_batch(id).unwrap())
    };
    let token = Some(Token::next(broker.incarnation()));
    for _ in 0..2 {
        let answers = broker.enqueue(&[keyed("1"), keyed("2")], token).await.unwrap();
        assert_eq!(answers, [Enqueued::Enqueued, Enqueued::Enqueued]);
    }
    for id in ["1", "2"] {
        let tasks = broker.claim(&Claim::new(limited.clone(), 9)).await.unwrap().tasks;
        assert_eq!(ids(&tasks), [id]);
        assert_eq!(settle(&*broker, &tasks[0], complete()).await, Settled::Settled);
    }
    assert_eq!(broker.batch(&batch).await.unwrap().unwrap().done, 2);
    whole(&*broker).await;
}

/// As from format 2; and what is sent together now stands behind what was there.
#[tokio::test]
async fn work_of_format_3_survives() {
    let (folder, clock, q) = (old_3(), ManualClock::default(), queue("q"));
    let broker = session_at(folder.path(), clock.clone()).await;
    whole(&*broker).await;
    let task = |payload| NewTask::new(q.clone(), TaskName::new("work").unwrap(), payload);
    let tasks: Vec<_> = (4..7).map(|number| task(Payload::encode(&number).unwrap())).collect();
    assert_eq!(broker.enqueue(&tasks, None).await.unwrap(), vec![Enqueued::Enqueued; 3]);
    assert_eq!(counts(&*broker, &q).await, [5, 0, 1, 0]);
    let payloads = |tasks: &[ClaimedTask]| -> Vec<String> {
        tasks.iter().map(|task| task.payload.as_str().to_owned()).collect()
    };
    let first = broker.claim(&Claim::new(q.clone(), 4)).await.unwrap().tasks;
    assert_eq!(payloads(&first), ["2", "3", "4", "5"]);
    clock.advance(Duration::from_secs(30));
    let rest = broker.claim(&Claim::new(q.clone(), 9)).await.unwrap().tasks;
    assert_eq!(payloads(&rest), ["1", "2", "3", "4", "5", "6"], "the leases of all of them ran out");
    for task in &rest {
        assert_eq!(settle(&*broker, task, complete()).await, Settled::Settled);
    }
    whole(&*broker).await;
}

/// A queue that a program paused which did not write down who did.
#[tokio::test]
async fn who_pauses_is_told_from_now_on() {
    let (folder, clock, q, r) = (old_3(), ManualClock::default(), queue("q"), queue("r"));
    database(folder.path()).execute_batch("UPDATE queues SET paused = 1").unwrap();
    let broker = session_at(folder.path(), clock.clone()).await;
    let status = broker.status(&q).await.unwrap().unwrap();
    assert_eq!((status.paused, status.pause), (true, None));
    broker.pause(&q, "bob").await.unwrap();
    assert_eq!(broker.status(&q).await.unwrap().unwrap().pause, None, "somebody else was first");
    broker.pause(&r, "bob").await.unwrap();
    drop(broker);
    let broker = session_at(folder.path(), clock).await;
    let pause = broker.status(&r).await.unwrap().unwrap().pause;
    assert_eq!(pause.map(|pause| pause.by).as_deref(), Some("bob"));
    whole(&*broker).await;
}

/// A file that was upgraded is as one that was made anew, so that nothing depends on where it came from.
#[tokio::test]
async fn an_upgraded_file_has_the_tables_of_a_new_one() {
    let (new, old) = (tempfile::tempdir().unwrap(), [old_3(), old_2(), old()]);
    for folder in old.iter().chain([&new]) {
        drop(session_at(folder.path(), ManualClock::default()).await);
    }
    for old in &old {
        assert_eq!(tables(&database(old.path())), tables(&database(new.path())));
    }
    let versions = |folder: &Path| {
        let sql =
            "SELECT oldest_reader, oldest_writer, (SELECT user_version FROM pragma_user_version) FROM meta";
        let read = |row: &rusqlite::Row<'_>| Ok([row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?]);
        database(folder).query_row(sql, [], read).unwrap()
    };
    assert_eq!(old.map(|old| versions(old.path())), [versions(new.path()); 3]);
    assert_eq!(versions(new.path()), [4; 3]);
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

/// Programs of an old format that still run would write tasks without a place, or past the limits of keys: they fail instead, at the first statement of
/// whatever they do.
#[tokio::test]
async fn a_program_of_the_old_format_fails_from_then_on() {
    for (folder, first) in [(old(), QUEUE_1), (old_2(), QUEUE_2), (old_3(), QUEUE_3)] {
        let running = database(folder.path());
        let mut statement = running.prepare(first).unwrap();
        assert!(statement.exists([]).unwrap(), "before the upgrade");
        drop(session_at(folder.path(), ManualClock::default()).await);
        let error = statement.exists([]).unwrap_err().to_string();
        assert!(
            ["sequence", "last_sequence"].iter().any(|column| error == format!("no such column: {column}")),
            "{error}"
        );
    }
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
