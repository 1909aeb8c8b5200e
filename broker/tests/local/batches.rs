//! Batches, the keys that they hold, and the answers of calls: bounded by number, and cleared away bit by bit.

use manyhands_broker::{BatchName, Incarnation, Token, Unique, limits};

use super::*;

fn task(q: &QueueName, id: &str) -> NewTask {
    let task = NewTask::new(q.clone(), TaskName::new("work").unwrap(), Payload::null());
    task.with_id(TaskId::new(id).unwrap())
}

fn number(folder: &Path, sql: &str) -> usize {
    let database = Connection::open(folder.join("mh/tasks.db")).unwrap();
    let number: u32 = database.query_row(sql, [], |row| row.get(0)).unwrap();
    usize::try_from(number).unwrap()
}

/// A batch that saw more keys than one call clears away: all of them are free at its end, and the rows that are left go with
/// the next batch.
#[tokio::test]
async fn the_keys_of_a_batch_are_free_at_once_and_go_bit_by_bit() {
    let (folder, q) = (tempfile::tempdir().unwrap(), queue("q"));
    let broker = session_at(folder.path(), ManualClock::default()).await;
    let seen = || number(folder.path(), "SELECT count(*) FROM seen");
    let keyed = |key: &str, batch: &str| {
        let task = task(&q, &format!("{batch}-{key}")).in_batch(BatchName::new(batch).unwrap());
        task.with_unique(Unique::in_batch(key).unwrap())
    };
    let tasks: Vec<_> = (0..limits::UPKEEP + 44).map(|key| keyed(&key.to_string(), "b")).collect();
    for tasks in tasks.chunks(limits::MAX_BATCH) {
        assert_eq!(broker.enqueue(tasks, None).await.unwrap(), vec![Enqueued::Enqueued; tasks.len()]);
    }
    for left in [limits::MAX_BATCH, 44] {
        let again = broker.enqueue(&[keyed("0", "c")], None).await.unwrap();
        assert_eq!(again, [Enqueued::Duplicate(TaskId::new("b-0").unwrap())], "seen by the batch");
        let tasks = broker.claim(&Claim::new(q.clone(), limits::MAX_BATCH)).await.unwrap().tasks;
        assert_eq!(tasks.len(), left);
        let ends: Vec<_> = tasks.into_iter().map(|task| Settlement::new(task.lease, complete())).collect();
        assert_eq!(broker.settle(&ends).await.unwrap(), vec![Settled::Settled; left]);
    }
    assert_eq!(seen(), 44, "so many are cleared away at the end of the batch, and no more");
    whole(&*broker).await;
    let left = "SELECT CAST(unique_key AS INTEGER) FROM seen LIMIT 1";
    let key = number(folder.path(), left).to_string();
    let task = task(&q, "free").with_unique(Unique::until_settled(&key).unwrap());
    assert_eq!(broker.enqueue(&[task], None).await.unwrap(), [Enqueued::Enqueued], "key {key}");
    assert_eq!(seen(), 43);
    assert_eq!(broker.enqueue(&[keyed("new", "c")], None).await.unwrap(), [Enqueued::Enqueued]);
    assert_eq!((seen(), number(folder.path(), "SELECT count(*) FROM unheld")), (0, 0));
    whole(&*broker).await;
}

/// Of as many batches as are remembered, the one goes first that ended first; and those whose time is over.
#[tokio::test]
async fn the_first_batch_goes_when_there_is_one_too_many() {
    let (folder, clock, q) = (tempfile::tempdir().unwrap(), ManualClock::default(), queue("q"));
    let broker = session_at(folder.path(), clock.clone()).await;
    let (now, most) = (clock.now().wall, limits::MAX_BATCHES);
    // Three of them are there; the rest is only counted.
    let sql = format!(
        "INSERT INTO batches (name, unsettled, done, dead, cancelled, until) VALUES
            ('1', 0, 1, 0, 0, {now} + 2), ('2', 0, 1, 0, 0, {now} + 1), ('3', 0, 1, 0, 0, {now} + 2);
         UPDATE meta SET ended_batches = {most}"
    );
    Connection::open(folder.path().join("mh/tasks.db")).unwrap().execute_batch(&sql).unwrap();
    let known = async |name: &str| broker.batch(&BatchName::new(name).unwrap()).await.unwrap().is_some();
    let end = async |name: &str| {
        let task = task(&q, name).in_batch(BatchName::new(name).unwrap());
        broker.enqueue(&[task], None).await.unwrap();
        let task = broker.claim(&Claim::new(q.clone(), 1)).await.unwrap().tasks.remove(0);
        assert_eq!(settle(&*broker, &task, complete()).await, Settled::Settled);
    };
    end("new").await;
    assert_eq!(
        [known("1").await, known("2").await, known("3").await, known("new").await],
        [true, false, true, true]
    );
    assert_eq!(number(folder.path(), "SELECT ended_batches FROM meta") as u64, most);
    clock.advance(Duration::from_millis(2));
    end("newer").await;
    assert_eq!(number(folder.path(), "SELECT count(*) FROM batches"), 2, "the two new ones");
    assert_eq!(number(folder.path(), "SELECT ended_batches FROM meta") as u64, most - 1);
}

/// The answers of an incarnation's last calls are kept, for their time.
#[tokio::test]
async fn answers_are_cleared_away_by_those_that_come() {
    let (folder, clock, q) = (tempfile::tempdir().unwrap(), ManualClock::default(), queue("q"));
    let broker = session_at(folder.path(), clock.clone()).await;
    let calls = || number(folder.path(), "SELECT count(*) FROM calls");
    let tokens: Vec<_> = (0..limits::MAX_CALLS + 6).map(|_| Token::next(broker.incarnation())).collect();
    let call = async |number: usize| {
        let answers = broker.enqueue(&[task(&q, &number.to_string())], Some(tokens[number])).await.unwrap();
        answers[0].clone()
    };
    for number in 0..tokens.len() {
        assert_eq!(call(number).await, Enqueued::Enqueued);
    }
    assert_eq!(calls(), limits::MAX_CALLS);
    assert_eq!(call(6).await, Enqueued::Enqueued, "it is known what that call was answered");
    assert_eq!(call(5).await, Enqueued::Exists, "it is not");
    clock.advance(limits::KEEP_CALLS);
    assert_eq!(broker.enqueue(&[task(&q, "last")], None).await.unwrap(), [Enqueued::Enqueued]);
    assert_eq!(calls(), limits::MAX_CALLS, "a call without a token leaves them alone");
    let other = Token::next(Incarnation::generate());
    assert_eq!(broker.enqueue(&[task(&q, "last")], Some(other)).await.unwrap(), [Enqueued::Exists]);
    assert_eq!(calls(), 1);
}

/// Where as many keys are held as may be, those of batches that have ended go before one that is still held.
#[tokio::test]
async fn keys_of_ended_batches_go_first() {
    let (folder, clock, q) = (tempfile::tempdir().unwrap(), ManualClock::default(), queue("q"));
    let broker = session_at(folder.path(), clock.clone()).await;
    let task = task(&q, "1").with_unique(Unique::and_for("new", Duration::from_secs(3600)).unwrap());
    broker.enqueue(&[task], None).await.unwrap();
    let task = broker.claim(&Claim::new(q.clone(), 1)).await.unwrap().tasks.remove(0);
    // The rest is only counted.
    let sql = format!(
        "INSERT INTO seen VALUES (1, 'held', 'x', {} + 1), (1, 'over', 'y', (1 << 62) + 77);
         INSERT INTO unheld VALUES (77);
         UPDATE queues SET seen = {}",
        clock.now().wall,
        limits::MAX_SEEN
    );
    Connection::open(folder.path().join("mh/tasks.db")).unwrap().execute_batch(&sql).unwrap();
    assert_eq!(settle(&*broker, &task, complete()).await, Settled::Settled);
    let seen =
        |key: &str| number(folder.path(), &format!("SELECT count(*) FROM seen WHERE unique_key = '{key}'"));
    assert_eq!([seen("held"), seen("over"), seen("new")], [1, 0, 1]);
    assert_eq!(number(folder.path(), "SELECT seen FROM queues") as u64, limits::MAX_SEEN);
}
