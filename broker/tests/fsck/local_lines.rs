//! Lines of keys, batches and calls of the local store, damaged by SQL.

use manyhands_broker::{BatchName, LimitKey, QueueOptions, Token, Unique};

use super::{local::Local, *};

/// What is done, and what is found of it: queue, id, what.
type Damage = (&'static str, &'static [(&'static str, &'static str, &'static str)]);

const LINES: &[Damage] = &[
    (
        "UPDATE lines SET ready = 3 WHERE limit_key = 'a'",
        &[("q", "", "key a has 3 ready and 1 leased, but there are 0 and 1")],
    ),
    (
        "DELETE FROM lines WHERE limit_key = 'b'",
        &[("q", "", "key b has 0 ready and 0 leased, but there are 1 and 0")],
    ),
    (
        "UPDATE lines SET not_before = -5 WHERE limit_key = 'a'",
        &[("q", "", "the interval of key a ends at no time that it can")],
    ),
    (
        "UPDATE lines SET not_before = 1 << 60 WHERE limit_key = 'a'",
        &[("q", "", "the interval of key a ends at no time that it can")],
    ),
    ("INSERT INTO lines VALUES (1, 'c', 0, 0, 0)", &[("q", "", "key c has a line, but no task")]),
    ("INSERT INTO lines VALUES (1, '', 0, 0, 0)", &[("q", "", "there is a line of no key: ")]),
    ("INSERT INTO lines VALUES (77, 'a', 0, 0, 0)", &[("", "", "there is a line of no key: a")]),
    ("UPDATE queues SET key_limit = 2", &[("q", "", "tasks wait for key a, which is free")]),
    ("UPDATE queues SET held = 0", &[("q", "", "the counter held is 0, but there are 2")]),
    (
        "UPDATE tasks SET place = 77 WHERE id = 'a2'",
        &[("q", "a2", "it waits at another place than its sequence says")],
    ),
    (
        "UPDATE tasks SET sequence = (SELECT sequence FROM tasks WHERE id = 'a2') WHERE id = 'a3'",
        &[
            ("q", "a3", "it waits at another place than its sequence says"),
            ("q", "a3", "its sequence is none of its own"),
        ],
    ),
    ("UPDATE tasks SET limit_key = NULL WHERE id = 'a2'", &[("q", "a2", "it is held, but has no key")]),
    ("UPDATE tasks SET limit_key = '' WHERE id = 'a2'", &[("q", "a2", "its key is none")]),
    (
        "UPDATE tasks SET state = 7 WHERE id = 'a1'",
        &[
            ("q", "", "key a has 0 ready and 1 leased, but there are 0 and 0"),
            ("q", "", "tasks wait for key a, which is free"),
            ("q", "", "the counter leased is 1, but there are 0"),
            ("q", "a1", "its state is none"),
        ],
    ),
];

const BATCHES: &[Damage] = &[
    (
        "UPDATE batches SET unsettled = 9 WHERE name = 'x'",
        &[("", "", "batch \"x\" counts 9 unsettled tasks, but there are 3")],
    ),
    (
        "DELETE FROM batches WHERE name = 'x'",
        &[("", "", "batch \"x\" is not known, but has 3 unsettled tasks")],
    ),
    (
        "UPDATE batches SET until = 1 WHERE name = 'x'",
        &[
            ("", "", "batch \"x\" has ended, but 3 of its tasks are unsettled"),
            ("", "", "the counter ended_batches is 1, but there are 2"),
        ],
    ),
    (
        "UPDATE batches SET until = NULL WHERE name = 'y'",
        &[
            ("", "", "batch \"y\" goes on, but none of its tasks is unsettled"),
            ("", "", "the counter ended_batches is 1, but there are 0"),
        ],
    ),
    ("UPDATE batches SET done = -1 WHERE name = 'z'", &[("", "", "batch \"z\" has counted below 0")]),
    ("UPDATE batches SET name = 'a b' WHERE name = 'y'", &[("", "", "the name of batch 2 is none")]),
    ("UPDATE meta SET ended_batches = 7", &[("", "", "the counter ended_batches is 7, but there are 1")]),
    ("UPDATE seen SET until = (1 << 62) + 77", &[("", "", "1 keys are held by batches that have ended")]),
    (
        "INSERT INTO unheld SELECT batch FROM batches WHERE name = 'z'",
        &[("", "", "1 batches go on whose keys are to be swept")],
    ),
    ("UPDATE calls SET answers = '?'", &[("", "", "the answers of 1 calls cannot be read")]),
];

/// A queue that runs one task of a key: of key a, `a1` is leased, and `a2` and `a3` are held, all of batch x; of key b, `b` was
/// given back. Batch y has ended, and batch z holds a key of one that is done and has `z2` left.
async fn fill_lines(store: &Local) -> (Arc<dyn Broker>, ClaimedTask) {
    let broker = store.session().await;
    broker.declare(&queue(), Some(&QueueOptions::default().with_key_limit(1))).await.unwrap();
    let keyed = |id: &str, key: &str| task(id).with_key(LimitKey::new(key).unwrap());
    let batch = |task: NewTask, name: &str| task.in_batch(BatchName::new(name).unwrap());
    let seen = |task: NewTask, key: &str| task.with_unique(Unique::in_batch(key).unwrap());
    let tasks = [
        batch(keyed("a1", "a"), "x"),
        batch(keyed("a2", "a"), "x"),
        batch(keyed("a3", "a"), "x"),
        keyed("b", "b"),
        batch(task("y"), "y"),
        seen(batch(task("z1"), "z"), "z1"),
        seen(batch(task("z2"), "z"), "z2"),
    ];
    let token = Token::next(broker.incarnation());
    assert_eq!(broker.enqueue(&tasks, Some(token)).await.unwrap(), vec![Enqueued::Enqueued; 7]);
    let mut tasks = broker.claim(&Claim::new(queue(), 4)).await.unwrap().tasks;
    let ids: Vec<_> = tasks.iter().map(|task| task.lease.id.to_string()).collect();
    assert_eq!(ids, ["a1", "b", "y", "z1"]);
    for (task, end) in tasks[1..].iter().zip([End::Release, complete(), complete()]) {
        assert_eq!(settle(&*broker, task, end).await, Settled::Settled);
    }
    assert_eq!(found(&fsck(&*broker, false).await), [], "before");
    (broker, tasks.swap_remove(0))
}

async fn each(damages: &[Damage]) {
    for (done, wrong) in damages {
        let store = Local::new();
        let (broker, held) = fill_lines(&store).await;
        store.sql(done);
        let wanted: BTreeSet<_> = wrong
            .iter()
            .map(|(queue, id, what)| ((*queue).to_owned(), (*id).to_owned(), (*what).to_owned()))
            .collect();
        let wanted: Vec<_> = wanted.into_iter().collect();
        assert_eq!(found(&fsck(&*broker, false).await), wanted, "a look after: {done}");
        let report = fsck(&*broker, true).await;
        assert_eq!((found(&report), report.unrepaired()), (wanted, 0), "a repair of: {done}");
        assert_eq!(found(&fsck(&*broker, false).await), [], "after the repair of: {done}");
        ends(&*broker, &held, done).await;
    }
}

/// Everything is run, each once, and of a key only so many at a time as may; then all batches have ended.
async fn ends(broker: &dyn Broker, held: &ClaimedTask, done: &str) {
    let limit = broker.status(&queue()).await.unwrap().unwrap().options.key_limit.unwrap();
    let mut ran = BTreeSet::new();
    if settle(broker, held, complete()).await == Settled::Settled {
        ran.insert("a1".to_owned());
    }
    for _ in 0..9 {
        let tasks = broker.claim(&Claim::new(queue(), 9)).await.unwrap().tasks;
        let of_a = tasks.iter().filter(|task| task.lease.id.to_string().starts_with('a')).count();
        // One whose key is lost is held back by nobody.
        assert!(of_a <= limit as usize || done.contains("SET limit_key"), "{done}: {tasks:?}");
        for task in tasks {
            assert_eq!(settle(broker, &task, complete()).await, Settled::Settled, "{done}");
            assert!(ran.insert(task.lease.id.to_string()), "{done}: twice: {task:?}");
        }
    }
    assert_eq!(ran, BTreeSet::from(["a1", "a2", "a3", "b", "z2"].map(str::to_owned)), "{done}");
    for batch in ["x", "z"] {
        let status = broker.batch(&BatchName::new(batch).unwrap()).await.unwrap();
        assert!(status.is_some_and(|status| status.is_ended()), "{done}: batch {batch}: {status:?}");
    }
    assert_eq!(found(&fsck(broker, false).await), [], "at the end of: {done}");
}

#[tokio::test]
async fn damaged_lines_are_named_and_mended() {
    each(LINES).await;
}

#[tokio::test]
async fn damaged_batches_are_named_and_mended() {
    each(BATCHES).await;
}
