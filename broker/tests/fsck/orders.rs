//! Queues in each order, with everything that a task can be given: clean as they are, and damaged.

use manyhands_broker::{Order, QueueOptions, Unique, Wanted};

use super::*;

/// A damage of one queue: its order, how it is done, the id, and what is found.
pub(crate) type Disorder = (Order, &'static str, &'static str, &'static str);

/// Puts work with keys, times, results and priorities into the queue, some of it given back, tried again, cancelled and settled. `first`
/// to `sixth` have the sequences 1 to 6. Returns who holds `third`, and its lease.
pub(crate) async fn fill_ordered(store: &impl Store, order: Order) -> (Arc<dyn Broker>, ClaimedTask) {
    let broker = store.session().await;
    broker.declare(&queue(), Some(&QueueOptions::default().with_order(order))).await.unwrap();
    let hour = Duration::from_secs(3600);
    let ids = ["first", "second", "third", "fourth", "fifth", "sixth"];
    let given = ids.iter().zip([3, 1, 2, 1, 5, 4]).map(|(id, priority)| {
        let given = task(id).with_unique(Unique::and_for(&format!("key-{id}"), hour).unwrap());
        let given = given.with_expires(hour).with_result(Wanted::Keep(hour));
        if order == Order::Priority { given.with_priority(priority) } else { given }
    });
    let given: Vec<NewTask> = given.collect();
    assert_eq!(broker.enqueue(&given, None).await.unwrap(), vec![Enqueued::Enqueued; 6]);
    let mut tasks = broker.claim(&Claim::new(queue(), 6)).await.unwrap().tasks;
    assert_eq!(tasks.len(), 6);
    tasks.sort_by_key(|task| ids.iter().position(|id| task.lease.id.to_string() == *id));
    let end = |number: usize| match number {
        0 => Some(End::Release),
        1 => Some(End::Retry { error: "it failed".to_owned(), delay: Duration::ZERO }),
        3 => Some(End::Bury { error: "it cannot succeed".to_owned() }),
        4 => Some(complete()),
        5 => Some(End::Retry { error: "it failed".to_owned(), delay: Duration::from_secs(60) }),
        _ => None,
    };
    for (number, task) in tasks.iter().enumerate() {
        if let Some(end) = end(number) {
            assert_eq!(settle(&*broker, task, end).await, Settled::Settled);
        }
    }
    let held = tasks.swap_remove(2);
    let new = |id: &str| {
        task(id).with_unique(Unique::until_settled(&format!("key-{id}")).unwrap()).with_expires(hour)
    };
    broker.enqueue(&[new("new"), new("newer"), new("newest"), new("gone")], None).await.unwrap();
    broker.cancel(&queue(), &[TaskId::new("gone").unwrap()]).await.unwrap();
    assert_eq!(found(&fsck(&*broker, false).await), [], "{order}");
    (broker, held)
}

/// Each is named, mended, and then everything can be settled.
pub(crate) async fn each_disorder(
    store: &impl Store,
    order: Order,
    id: &str,
    wrong: &str,
    damage: impl AsyncFnOnce(),
) {
    let (broker, held) = fill_ordered(store, order).await;
    damage().await;
    let wanted = [("q".to_owned(), id.to_owned(), wrong.to_owned())];
    assert_eq!(found(&fsck(&*broker, false).await), wanted, "{order}: {wrong}");
    let report = fsck(&*broker, true).await;
    assert_eq!((found(&report), report.unrepaired()), (wanted.to_vec(), 0), "{order}: {wrong}");
    assert_eq!(found(&fsck(&*broker, false).await), [], "{order}: after the repair of: {wrong}");
    ends(store, &*broker, &held).await;
}

/// All that is left can be settled, each once, and its key is free.
async fn ends(store: &impl Store, broker: &dyn Broker, held: &ClaimedTask) {
    let mut settled = BTreeSet::new();
    if settle(broker, held, complete()).await == Settled::Settled {
        settled.insert("third".to_owned());
    }
    store.advance(Duration::from_secs(61));
    for _ in 0..9 {
        for task in broker.claim(&Claim::new(queue(), 9)).await.unwrap().tasks {
            assert_eq!(settle(broker, &task, complete()).await, Settled::Settled);
            assert!(settled.insert(task.lease.id.to_string()), "twice: {task:?}");
        }
    }
    let wanted = ["first", "new", "newer", "newest", "second", "sixth", "third"].map(str::to_owned);
    assert_eq!(settled, BTreeSet::from(wanted));
    assert_eq!(found(&fsck(broker, false).await), [], "at the end");
}

pub(crate) const ORDERS: [Order; 3] = [Order::Fifo, Order::Lifo, Order::Priority];

/// Nothing is found where nothing is wrong.
pub(crate) async fn clean_in_order(store: &impl Store, order: Order) {
    let (broker, held) = fill_ordered(store, order).await;
    ends(store, &*broker, &held).await;
}
