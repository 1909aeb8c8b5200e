//! Damages of what tasks with keys and batches have in Redis: queues with limits, and the counts of batches.

use manyhands_broker::{BatchName, BatchStatus, LimitKey, QueueOptions, Token, Unique};

use super::{redis_::*, *};

/// What is held, and what tasks have by keys and batches, where no task has any.
const KEYED: &[Damage<'static>] = &[
    damage("ZADD KEY:held 0 HELD:k:0:7:tother", &[("other", "it is in held, but is no task")]),
    damage("ZADD KEY:held 0 x", &[("", "an entry of held cannot be read")]),
    damage("ZADD KEY:held 0 HELD:k:0:7:tnew", &[("new", "it is in ready and held")]),
    damage(
        "LREM KEY:ready 0 AT:7:tnew; ZADD KEY:held 0 HELD:k:0:7:tnew",
        &[("new", "it is in held, but has no state"), ("new", "it waits for its key, but has none")],
    ),
    damage("ZADD KEY:permits 0 PERMIT:k:r:tnew", &[("new", "a permit is that of no task with its key")]),
    damage("ZADD KEY:permits 0 x", &[("", "a permit is that of no task with its key")]),
    damage("ZADD KEY:opening 99999999999999 k", &[("", "the interval of the key k ends later than any can")]),
    damage("HSET KEY:info key_limit 0", &[("", "key_limit is out of bounds")]),
    damage("HSET KEY:info key_interval x", &[("", "key_interval is out of bounds")]),
    damage("EXPIRE KEY:lease 1000", &[("", "the key lease expires, and what is in it with it")]),
    damage(
        "HSET KEY:unique k tother; ZADD KEY:seen 4503599627370503 k",
        &[("", "the unique key k is held by a batch that never was")],
    ),
];

#[tokio::test]
async fn what_tasks_have_by_keys_is_named_and_mended() {
    each(KEYED).await;
}

fn keyed(id: &str, key: &str) -> NewTask {
    task(id).with_key(LimitKey::new(key).unwrap())
}

fn member(id: &str, batch: &str) -> NewTask {
    task(id).in_batch(BatchName::new(batch).unwrap())
}

async fn put(broker: &dyn Broker, tasks: &[NewTask]) {
    assert_eq!(broker.enqueue(tasks, None).await.unwrap(), vec![Enqueued::Enqueued; tasks.len()]);
}

/// With a limit of 2: of `k`, `leased` is, `back` was given back under sequence 4, `first` and `second` wait under 5 and 6; of `l`,
/// `alone` is ready.
async fn fill_keyed(store: &Redis<'_>) -> (Arc<dyn Broker>, ClaimedTask) {
    let broker = store.session().await;
    let options = QueueOptions::default().with_key_limit(2);
    broker.declare(&queue(), Some(&options)).await.unwrap();
    put(&*broker, &["leased", "back", "first", "second"].map(|id| keyed(id, "k"))).await;
    put(&*broker, &[keyed("alone", "l")]).await;
    let mut tasks = broker.claim(&Claim::new(queue(), 2)).await.unwrap().tasks;
    assert_eq!(settle(&*broker, &tasks.remove(1), End::Release).await, Settled::Settled);
    assert_eq!(found(&fsck(&*broker, false).await), []);
    (broker, tasks.remove(0))
}

/// Everything can be settled, each once, and never more of a key are leased than may be.
async fn all_of_each_key_run(broker: &dyn Broker, leased: &ClaimedTask, done: &str) {
    let (mut settled, most) = (BTreeSet::new(), if done.contains("key_limit 3") { 3 } else { 2 });
    if settle(broker, leased, complete()).await == Settled::Settled {
        settled.insert("leased".to_owned());
    }
    for _ in 0..9 {
        let tasks = broker.claim(&Claim::new(queue(), 9)).await.unwrap().tasks;
        let of_k = tasks.iter().filter(|task| task.lease.id.to_string() != "alone").count();
        assert!(of_k <= most, "{done}: {tasks:?}");
        for task in tasks {
            assert_eq!(settle(broker, &task, complete()).await, Settled::Settled, "{done}");
            assert!(settled.insert(task.lease.id.to_string()), "{done}: twice: {task:?}");
        }
    }
    let all = ["alone", "back", "first", "leased", "second"].map(str::to_owned);
    assert_eq!(settled, BTreeSet::from(all), "after: {done}");
    assert_eq!(found(&fsck(broker, false).await), [], "at the end of: {done}");
    assert_eq!(broker.status(&queue()).await.unwrap().unwrap().unsettled(), 0);
}

const NOWHERE: &str = "it is nowhere: neither ready, due, held nor dead";
const NO_PERMIT: &str = "it has no permit of its key";
const NO_USE: &str = "it has a permit of its key of which it has no use";
const PLACE: &str = "it stands at another place than its order says";

/// What is done, and what is found.
const LIMITED: &[(&str, &[(&str, &str)])] = &[
    ("ZREM KEY:held HELD:k:0:6:tsecond", &[("second", NOWHERE)]),
    ("ZREM KEY:held HELD:k:0:5:tfirst; ZADD KEY:held 0 HELD:k:0:9:tfirst", &[("first", PLACE)]),
    ("ZADD KEY:held 0 HELD:k:0:2:tleased", &[("leased", "it is in lease and held")]),
    (
        "ZADD KEY:lease 99 tsecond",
        &[("second", "it is in lease and held"), ("second", "it is leased, but nobody can hold it")],
    ),
    ("HDEL KEY:state tsecond", &[("second", "it is in held, but has no state")]),
    ("HSET KEY:state tsecond x", &[("second", "its state cannot be read")]),
    ("ZREM KEY:permits PERMIT:l:r:talone", &[("alone", NO_PERMIT)]),
    ("ZADD KEY:permits 0 PERMIT:k:r:tleased", &[("leased", NO_USE)]),
    ("ZADD KEY:permits 0 PERMIT:k:l:tsecond", &[("second", NO_USE)]),
    (
        "ZREM KEY:permits PERMIT:k:l:tleased; ZADD KEY:permits 0 PERMIT:k:r:tleased",
        &[("leased", NO_PERMIT), ("leased", NO_USE)],
    ),
    ("ZADD KEY:permits 0 PERMIT:k:l:tgone", &[("gone", "a permit is that of no task with its key")]),
    ("ZADD KEY:permits 0 PERMIT:other:r:tsecond", &[("second", "a permit is that of no task with its key")]),
    ("HDEL KEY:state tback", &[("back", "it is in returned, but has no state")]),
    ("ZREM KEY:returned AT:4:tback", &[("back", NOWHERE), ("back", NO_USE)]),
    ("HSET KEY:info key_limit 3", &[("first", "it waits for its key, which is free")]),
];

#[tokio::test]
async fn held_tasks_and_permits_are_named_and_mended() {
    let server = Server::start();
    for (done, wanted) in LIMITED {
        let store = server.namespace();
        let (broker, leased) = fill_keyed(&store).await;
        store.say(done).await;
        let mut wanted: Vec<_> = wanted
            .iter()
            .map(|(id, wrong)| ("q".to_owned(), (*id).to_owned(), (*wrong).to_owned()))
            .collect();
        wanted.sort();
        assert_eq!(found(&fsck(&*broker, false).await), wanted, "a look after: {done}");
        let report = fsck(&*broker, true).await;
        assert_eq!((found(&report), report.unrepaired()), (wanted, 0), "a repair of: {done}");
        assert_eq!(found(&fsck(&*broker, false).await), [], "after the repair of: {done}");
        all_of_each_key_run(&*broker, &leased, done).await;
    }
}

/// Two tasks of batch `b` on two queues, one of `c`, and `a` has ended. Their numbers are 1 to 3.
async fn fill_batches(store: &Redis<'_>) -> Arc<dyn Broker> {
    let broker = store.session().await;
    put(&*broker, &[member("0", "a")]).await;
    let task = broker.claim(&Claim::new(queue(), 1)).await.unwrap().tasks.remove(0);
    settle(&*broker, &task, complete()).await;
    let other = member("2", "b").on(QueueName::new("other").unwrap());
    put(&*broker, &[member("1", "b"), other, member("3", "c")]).await;
    assert_eq!(found(&fsck(&*broker, false).await), []);
    broker
}

async fn stands(broker: &dyn Broker, name: &str) -> Option<BatchStatus> {
    broker.batch(&BatchName::new(name).unwrap()).await.unwrap()
}

/// A record is number, unsettled, done, dead, cancelled and changes.
const COUNTS: &[(&str, &[&str])] = &[
    ("HSET OWN:batches b 2~5~0~0~0~2", &["batch b counts 5 unsettled tasks, but there are 2"]),
    ("HSET OWN:batches b 2~1~0~0~0~2", &["batch b counts 1 unsettled tasks, but there are 2"]),
    ("HDEL OWN:batches b; HDEL OWN:numbers 2", &["batch b counts 0 unsettled tasks, but there are 2"]),
    (
        "HSET OWN:batches b nonsense; HDEL OWN:numbers 2",
        &["batch b counts 0 unsettled tasks, but there are 2", "the counts of batch b cannot be read"],
    ),
    ("HDEL OWN:numbers 2", &["batch b goes on, but its number is not known"]),
    ("HSET OWN:numbers 7 x", &["the number 7 is that of no batch"]),
    ("ZADD OWN:ended 99999999999999 b", &["batch b is to be forgotten, but did not end"]),
    ("ZREM OWN:ended a", &["how batch a ended is kept until no time"]),
    ("HDEL OWN: batches", &["the counter batches is below what was given"]),
    (
        "HSET OWN:batches d 9~1~0~0~0~1; HSET OWN:numbers 9 d; HSET OWN: batches 9",
        &["batch d counts 1 unsettled tasks, but there are 0"],
    ),
];

#[tokio::test]
async fn counts_of_batches_are_named_and_mended() {
    let server = Server::start();
    for (done, wanted) in COUNTS {
        let store = server.namespace();
        let broker = fill_batches(&store).await;
        store.say(done).await;
        let wanted: BTreeSet<_> =
            wanted.iter().map(|wrong| (String::new(), String::new(), (*wrong).to_owned())).collect();
        let look = |report: &Report| found(report).into_iter().collect::<BTreeSet<_>>();
        assert_eq!(look(&fsck(&*broker, false).await), wanted, "a look after: {done}");
        let report = fsck(&*broker, true).await;
        assert_eq!((look(&report), report.unrepaired()), (wanted, 0), "a repair of: {done}");
        assert_eq!(found(&fsck(&*broker, false).await), [], "after the repair of: {done}");
        let unsettled = |status: Option<BatchStatus>| status.map(|status| status.unsettled);
        assert_eq!(unsettled(stands(&*broker, "b").await), Some(2), "{done}");
        assert_eq!(unsettled(stands(&*broker, "a").await), Some(0), "{done}");
        for name in ["q", "other"] {
            let claim = Claim::new(QueueName::new(name).unwrap(), 9);
            for task in broker.claim(&claim).await.unwrap().tasks {
                settle(&*broker, &task, complete()).await;
            }
        }
        assert_eq!(stands(&*broker, "b").await.map(|b| (b.unsettled, b.done)), Some((0, 2)), "{done}");
        assert_eq!(found(&fsck(&*broker, false).await), [], "at the end of: {done}");
    }
}

/// The answers of calls are nobody's damage, unless they would be kept for ever.
#[tokio::test]
async fn answers_of_calls_are_ours() {
    let server = Server::start();
    let store = server.namespace();
    let broker = store.session().await;
    let incarnation = broker.incarnation();
    broker.enqueue(&[task("1")], Some(Token::next(incarnation))).await.unwrap();
    assert_eq!(found(&fsck(&*broker, false).await), []);
    store.say(&format!("PERSIST OWN:calls:{incarnation}")).await;
    let report = fsck(&*broker, true).await;
    assert_eq!((report.findings.len(), report.unrepaired()), (1, 0), "{report:?}");
    assert!(report.findings[0].wrong.contains("kept until no time"), "{report:?}");
    assert_eq!(found(&fsck(&*broker, false).await), []);
}

/// Tasks of batches, with keys, come and go meanwhile, and none of that is a finding.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_and_keys_are_clean_while_others_work() {
    let server = Server::start();
    let store = server.namespace();
    let broker = store.session().await;
    broker.declare(&queue(), Some(&QueueOptions::default().with_key_limit(2))).await.unwrap();
    let workers: Vec<_> = [store.session().await, store.session().await]
        .into_iter()
        .enumerate()
        .map(|(worker, session)| tokio::spawn(async move { work(&*session, worker).await }))
        .collect();
    let mut looks = 0;
    while looks < 5 || workers.iter().any(|worker| !worker.is_finished()) {
        assert_eq!(found(&fsck(&*broker, looks % 2 == 1).await), [], "look {looks}");
        looks += 1;
    }
    for worker in workers {
        worker.await.unwrap();
    }
}

async fn work(session: &dyn Broker, worker: usize) {
    churn(session, &queue(), |round, number| {
        let id = format!("{worker}-{round}-{number}");
        let unique = Unique::in_batch(&id).unwrap();
        let key = LimitKey::new(["k", "l", "m"][number % 3]).unwrap();
        member(&id, ["b", "c"][round / 4 % 2]).with_key(key).with_unique(unique)
    })
    .await;
}
