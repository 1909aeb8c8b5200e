//! A store with work in every state, and what is asked of it.

use async_trait::async_trait;

use super::*;

/// How long an event of another process is waited for. Only a broken broker takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the leases of those last that die.
const SHORT: Duration = Duration::from_secs(1);

/// A store that nobody else has.
#[async_trait]
pub(crate) trait Store: Sync {
    async fn session(&self) -> Arc<dyn Broker>;

    /// Moves the store's clock.
    fn advance(&self, by: Duration);
}

pub(crate) fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

/// A task whose id is given, and is also its payload.
pub(crate) fn task(id: &str) -> NewTask {
    let task = NewTask::new(queue(), TaskName::new("work").unwrap(), Payload::encode(id).unwrap());
    task.with_id(TaskId::new(id).unwrap())
}

/// An id that is a UUID.
pub(crate) const UUID: &str = "0199f0a0-1111-7222-8333-444455556666";

/// Everything in [`fill`] that is to be settled one day.
pub(crate) const UNSETTLED: [&str; 7] = [UUID, "alone", "back", "later", "leased", "new", "newer"];

pub(crate) async fn enqueue(broker: &dyn Broker, ids: &[&str]) {
    let tasks: Vec<NewTask> = ids.iter().map(|id| task(id)).collect();
    assert_eq!(broker.enqueue(&tasks, None).await.unwrap(), vec![Enqueued::Enqueued; ids.len()]);
}

pub(crate) async fn settle(broker: &dyn Broker, task: &ClaimedTask, end: End) -> Settled {
    broker.settle(&[Settlement::new(task.lease.clone(), end)]).await.unwrap()[0]
}

pub(crate) fn complete() -> End {
    End::complete(Vec::new())
}

/// Puts work of every state into a store: `alone` must run alone, `back` was given back, `new`, `newer` and [`UUID`] were never
/// claimed, `later` is scheduled, `leased` is held, `dead` is, and `done` is remembered. Returns who holds, and what.
pub(crate) async fn fill(store: &impl Store) -> (Arc<dyn Broker>, ClaimedTask) {
    let broker = store.session().await;
    enqueue(&*broker, &["alone"]).await;
    for _ in 0..2 {
        let victim = store.session().await;
        claim_soon(&*victim, Claim::new(queue(), 1).with_lease(SHORT)).await;
        drop(victim);
        store.advance(SHORT);
    }
    enqueue(&*broker, &["leased", "later", "dead", "done", "back"]).await;
    // Not idle: the one that must run alone stays.
    let claim = Claim::new(queue(), 5).with_idle(false);
    let wait = async {
        while broker.status(&queue()).await.unwrap().unwrap().ready < 6 {
            let changed = broker.wait(&[queue()]);
            // Where nobody else tells of a death, a claim does.
            let nothing = Claim::new(queue(), 1).with_idle(false).with_feeds(vec![full(&*broker).await]);
            broker.claim(&nothing).await.unwrap();
            let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("what the dead held is taken back");
    let mut tasks = broker.claim(&claim).await.unwrap().tasks.into_iter();
    let mut next = || tasks.next().unwrap();
    let leased = next();
    let retry = End::Retry { error: "it failed".to_owned(), delay: Duration::from_secs(60) };
    let bury = End::Bury { error: "it cannot succeed".to_owned() };
    for end in [retry, bury, complete(), End::Release] {
        assert_eq!(settle(&*broker, &next(), end).await, Settled::Settled);
    }
    enqueue(&*broker, &["new", "newer", UUID]).await;
    let status = broker.status(&queue()).await.unwrap().unwrap();
    assert_eq!((status.ready, status.scheduled, status.leased, status.dead), (5, 1, 1, 1));
    (broker, leased)
}

/// A queue that has no room.
async fn full(broker: &dyn Broker) -> QueueName {
    let name = QueueName::new("full").unwrap();
    let options = manyhands_broker::QueueOptions::default().with_capacity(1);
    broker.declare(&name, Some(&options)).await.unwrap();
    broker.enqueue(&[task("filler").on(name.clone())], None).await.unwrap();
    name
}

async fn claim_soon(broker: &dyn Broker, claim: Claim) -> ClaimedTask {
    let wait = async {
        loop {
            let changed = broker.wait(std::slice::from_ref(&claim.queue));
            if let Some(task) = broker.claim(&claim).await.unwrap().tasks.pop() {
                return task;
            }
            let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("a task is ready")
}

pub(crate) async fn fsck(broker: &dyn Broker, repair: bool) -> Report {
    broker.fsck().unwrap().fsck(repair).await.unwrap()
}

/// Queue, id and what is wrong, in order.
pub(crate) fn found(report: &Report) -> Vec<(String, String, String)> {
    let mut all: Vec<_> = report
        .findings
        .iter()
        .map(|f| (f.queue.clone().unwrap_or_default(), f.id.clone().unwrap_or_default(), f.wrong.clone()))
        .collect();
    all.sort();
    all
}

/// A kind of damage: how it is done, what is found (id, what), and the tasks that are dead afterwards instead of settled.
pub(crate) struct Damage<'d> {
    pub(crate) done: &'static str,
    pub(crate) found: &'d [(&'d str, &'d str)],
    pub(crate) dead: &'static [&'static str],
}

pub(crate) const fn damage(
    done: &'static str,
    found: &'static [(&'static str, &'static str)],
) -> Damage<'static> {
    Damage { done, found, dead: &[] }
}

/// Looks, repairs, looks again, and then settles all that is left.
pub(crate) async fn named_and_mended(
    store: &impl Store,
    broker: &dyn Broker,
    leased: &ClaimedTask,
    damage: &Damage<'_>,
) {
    let done = damage.done;
    let wanted: Vec<_> = damage
        .found
        .iter()
        .map(|(id, wrong)| ("q".to_owned(), (*id).to_owned(), (*wrong).to_owned()))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let look = fsck(broker, false).await;
    assert_eq!(found(&look), wanted, "a look after: {done}");
    assert!(look.findings.iter().all(|finding| !finding.repaired), "{done}");
    assert_eq!(found(&fsck(broker, false).await), wanted, "a look changes nothing: {done}");
    let repair = fsck(broker, true).await;
    assert_eq!(found(&repair), wanted, "a repair of: {done}");
    assert_eq!(repair.unrepaired(), 0, "{done}: {:?}", repair.findings);
    assert_eq!(found(&fsck(broker, false).await), [], "after the repair of: {done}");
    all_can_be_settled(store, broker, &queue(), leased, damage).await;
    assert_eq!(found(&fsck(broker, false).await), [], "at the end of: {done}");
}

/// Settles everything on a queue, which is all that was there but the dead.
pub(crate) async fn all_can_be_settled(
    store: &impl Store,
    broker: &dyn Broker,
    queue: &QueueName,
    leased: &ClaimedTask,
    damage: &Damage<'_>,
) {
    let mut settled = BTreeSet::new();
    if settle(broker, leased, complete()).await == Settled::Settled {
        settled.insert(leased.lease.id.to_string());
    }
    store.advance(Duration::from_secs(61));
    for _ in 0..30 {
        for task in broker.claim(&Claim::new(queue.clone(), 9)).await.unwrap().tasks {
            assert_eq!(settle(broker, &task, complete()).await, Settled::Settled, "{}", damage.done);
            assert!(task.crashes == 0, "{}: nobody is charged: {task:?}", damage.done);
            assert!(settled.insert(task.lease.id.to_string()), "{}: twice: {task:?}", damage.done);
        }
    }
    let wanted: BTreeSet<String> =
        UNSETTLED.iter().filter(|id| !damage.dead.contains(id)).map(|id| (*id).to_owned()).collect();
    assert_eq!(settled, wanted, "what can be settled after: {}", damage.done);
    let status = broker.status(queue).await.unwrap().unwrap();
    assert_eq!(status.unsettled(), 0, "{}", damage.done);
    assert_eq!(status.dead, 1 + damage.dead.len() as u64, "the dead after: {}", damage.done);
}

/// Two sessions work in all ways while a third looks through the store, again and again: whatever it sees is whole.
pub(crate) async fn clean_while_others_work(store: &impl Store) {
    let (broker, leased) = fill(store).await;
    let workers: Vec<_> = [store.session().await, store.session().await]
        .into_iter()
        .enumerate()
        .map(|(worker, session)| tokio::spawn(async move { work(&*session, worker).await }))
        .collect();
    let mut looks = 0;
    while looks < 5 || workers.iter().any(|worker| !worker.is_finished()) {
        let report = fsck(&*broker, looks % 2 == 1).await;
        assert_eq!(found(&report), [], "look {looks}");
        assert!(report.queues >= 1 && report.tasks >= 8, "{report:?}");
        looks += 1;
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let none = damage("nothing", &[]);
    all_can_be_settled(store, &*broker, &queue(), &leased, &none).await;
}

async fn work(session: &dyn Broker, worker: usize) {
    let other = QueueName::new("other").unwrap();
    churn(session, &other, |round, number| task(&format!("{worker}-{round}-{number}")).on(other.clone()))
        .await;
}

/// Enqueues tasks of a queue, made of a round and a number in it, claims what there is, and ends it in all the ways that there are.
pub(crate) async fn churn(session: &dyn Broker, queue: &QueueName, make: impl Fn(usize, usize) -> NewTask) {
    for round in 0..60 {
        let tasks: Vec<NewTask> = (0..8).map(|number| make(round, number)).collect();
        session.enqueue(&tasks, None).await.unwrap();
        let claimed = session.claim(&Claim::new(queue.clone(), 8)).await.unwrap().tasks;
        // Of five: with keys in threes and ends in fours, some keys would meet some ends only.
        let end = |number: usize| match number % 5 {
            0 => End::Release,
            1 => End::Retry { error: "it failed".to_owned(), delay: Duration::ZERO },
            2 => End::Bury { error: "it cannot succeed".to_owned() },
            // For longer than this takes: each would come back alone.
            3 => End::Crash { error: "it was killed".to_owned(), delay: Duration::from_secs(60) },
            _ => complete(),
        };
        let settlements: Vec<_> = claimed
            .iter()
            .enumerate()
            .map(|(number, task)| Settlement::new(task.lease.clone(), end(number)))
            .collect();
        let answers = session.settle(&settlements).await.unwrap();
        assert!(answers.iter().all(|answer| *answer == Settled::Settled));
    }
}
