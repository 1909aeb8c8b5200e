//! Limits by key, where one statement finds several tasks of a key.

use manyhands_broker::{LimitKey, QueueOptions};

use super::*;

/// The first one that dies lets the second one go, which was found with it, held, and dies then, ready.
#[tokio::test]
async fn all_of_a_key_expire_at_once() {
    let (folder, clock, q) = (tempfile::tempdir().unwrap(), ManualClock::default(), queue("q"));
    let broker = session_at(folder.path(), clock.clone()).await;
    broker.declare(&q, Some(&QueueOptions::default().with_key_limit(1))).await.unwrap();
    let task = |id: &str| {
        let task = NewTask::new(q.clone(), TaskName::new("work").unwrap(), Payload::null());
        let task = task.with_id(TaskId::new(id).unwrap()).with_key(LimitKey::new("k").unwrap());
        task.with_expires(Duration::from_secs(1))
    };
    broker.enqueue(&[task("1"), task("2"), task("3")], None).await.unwrap();
    clock.advance(Duration::from_secs(1));
    assert!(broker.claim(&Claim::new(q.clone(), 9)).await.unwrap().tasks.is_empty());
    let status = broker.status(&q).await.unwrap().unwrap();
    assert_eq!([status.ready, status.held, status.leased, status.dead], [0, 0, 0, 3]);
    whole(&*broker).await;
}
