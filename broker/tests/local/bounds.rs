//! What is kept has a bound by number, too.

use manyhands_broker::{Unique, Wanted, limits};

use super::*;

/// Of a queue that has as many rows of each kind as it may have, the first one goes when there is one more: dead tasks in
/// the order of their deaths, all else in the order of its time.
#[tokio::test]
async fn the_first_goes_when_there_is_one_too_many() {
    let (folder, clock, q) = (tempfile::tempdir().unwrap(), ManualClock::default(), queue("q"));
    let broker = session_at(folder.path(), clock.clone()).await;
    let task = |id: &str| {
        let task = NewTask::new(q.clone(), TaskName::new("work").unwrap(), Payload::null());
        let unique = Unique::and_for(id, Duration::from_secs(3600)).unwrap();
        let keep = Wanted::Keep(Duration::from_secs(3600));
        task.with_id(TaskId::new(id).unwrap()).with_unique(unique).with_result(keep)
    };
    broker.enqueue(&[task("done"), task("dead")], None).await.unwrap();
    let tasks = broker.claim(&Claim::new(q.clone(), 2)).await.unwrap().tasks;
    fill(folder.path(), clock.now().wall);

    assert_eq!(settle(&*broker, &tasks[0], complete()).await, Settled::Settled);
    assert_eq!(settle(&*broker, &tasks[1], End::Bury { error: "no".to_owned() }).await, Settled::Settled);
    let database = Connection::open(folder.path().join("mh/tasks.db")).unwrap();
    let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    for (table, name, counted, most) in [
        ("remembered", "id", "remembered", limits::MAX_REMEMBERED),
        ("results", "id", "results", limits::MAX_RESULTS),
        ("seen", "unique_key", "seen", limits::MAX_SEEN),
        ("tasks", "id", "dead", limits::MAX_DEAD),
    ] {
        let has = |text: &str| count(&format!("SELECT count(*) FROM {table} WHERE {name} = '{text}'"));
        // Two keys are held, as that of the dead task is, too.
        let (second, new) = match table {
            "seen" => (0, "done"),
            "tasks" => (1, "dead"),
            _ => (1, "done"),
        };
        assert_eq!(
            [has("1"), has("2"), has("3"), has(new)],
            [0, second, 1, 1],
            "{table}: those of before, and the new one"
        );
        assert_eq!(count(&format!("SELECT {counted} FROM queues")), i64::try_from(most).unwrap(), "{table}");
    }
}

/// A dead task that was kept for its time goes with the next death, also where nobody claims.
#[tokio::test]
async fn a_death_lets_the_old_dead_go() {
    let (folder, clock, q) = (tempfile::tempdir().unwrap(), ManualClock::default(), queue("q"));
    let broker = session_at(folder.path(), clock.clone()).await;
    enqueue(&*broker, &q, &["1", "2"]).await.unwrap();
    let tasks = broker.claim(&Claim::new(q.clone(), 2)).await.unwrap().tasks;
    for task in &tasks {
        assert_eq!(settle(&*broker, task, End::Bury { error: "no".to_owned() }).await, Settled::Settled);
        let dead = broker.dead_letters().unwrap().list(&q, None, 9).await.unwrap();
        assert_eq!(dead.iter().map(|dead| &dead.id).collect::<Vec<_>>(), [&task.lease.id]);
        clock.advance(limits::KEEP_DEAD);
    }
}

/// Lets the one queue have as many rows of each kind as it may have, as far as it knows: three are there, called `1` to `3`,
/// and the rest is only counted.
fn fill(folder: &Path, now: u64) {
    let (ids, results, keys, dead) =
        (limits::MAX_REMEMBERED, limits::MAX_RESULTS, limits::MAX_SEEN, limits::MAX_DEAD);
    let n = "FROM (SELECT 1 AS n UNION SELECT 2 UNION SELECT 3)";
    let sql = format!(
        "BEGIN IMMEDIATE;
        INSERT INTO remembered SELECT 1, CAST(n AS TEXT), {now} + n {n};
        INSERT INTO results (queue, id, until, result) SELECT 1, CAST(n AS TEXT), {now} + n, '7' {n};
        INSERT INTO seen SELECT 1, CAST(n AS TEXT), CAST(n AS TEXT), {now} + n {n};
        INSERT INTO tasks (queue, id, id_given, name, payload, state, sequence, must_alone, death, died, epoch, attempts,
            max_attempts, crashes, max_crashes, deaths, alone, parks, parked_since)
            SELECT 1, CAST(n AS TEXT), 0, 'work', '1', 3, n, 0, n, {now}, 1, 1, 1, 0, 1, 0, 0, 0, 0 {n};
        UPDATE queues SET remembered = {ids}, results = {results}, seen = {keys}, dead = {dead}, last_death = {dead};
        COMMIT"
    );
    Connection::open(folder.join("mh/tasks.db")).unwrap().execute_batch(&sql).unwrap();
}
