//! What starts later, and a server that does not do as it should meanwhile.

use std::{collections::BTreeSet, time::Instant};

use super::*;

/// Delayed tasks of a queue that is full go to it all the same, over its capacity. And where the server does not let them, as
/// somebody put one with a bound of its own in the queue's place, they wait, and hold up nobody else's.
#[tokio::test]
async fn a_full_queue_holds_up_nobody_elses_delays() {
    const CAPACITY: u64 = 3;
    for bound in [None, Some(CAPACITY)] {
        let scene = Scene::shared().await;
        let broker = scene.session().await;
        let full = queue("full");
        broker.declare(&full, Some(&QueueOptions::default().with_capacity(CAPACITY))).await.unwrap();
        if let Some(bound) = bound {
            scene.replace_bounded("full", bound).await;
        }
        let delayed = |on: &str, seconds| task(on).with_start(Start::After(Duration::from_secs(seconds)));
        // While it has room. They fall due before all others, and what fills it is there first.
        let early: Vec<_> = [1, 1, 2].map(|seconds| delayed("full", seconds)).into();
        assert_eq!(broker.enqueue(&early, None).await.unwrap(), vec![Enqueued::Enqueued; early.len()]);
        let ready: Vec<_> = (0..CAPACITY).map(|_| task("full")).collect();
        assert_eq!(broker.enqueue(&ready, None).await.unwrap(), vec![Enqueued::Enqueued; ready.len()]);
        let is_full = async || broker.enqueue(&[task("full")], None).await.unwrap() == [Enqueued::Full];
        assert!(is_full().await);

        let sent: Vec<_> = [1, 1, 2, 3].map(|seconds| delayed("other", seconds)).into();
        assert_eq!(broker.enqueue(&sent, None).await.unwrap(), vec![Enqueued::Enqueued; sent.len()]);
        let mut left: BTreeSet<_> = sent.iter().map(|task| task.id.clone()).collect();
        until(&*broker, "other", async || {
            for task in claim(&*broker, "other").await {
                assert!(left.remove(&task.lease.id), "{task:?}");
                let end = Settlement::new(task.lease, End::complete(Vec::new()));
                assert_eq!(settle(&*broker, &[end]).await, Ok(vec![Settled::Settled]));
            }
            left.is_empty()
        })
        .await;
        // All the time, as nobody claims from it.
        assert!(is_full().await);
        if bound.is_none() {
            let all = CAPACITY + early.len() as u64;
            until(&*broker, "full", async || broker.status(&full).await.unwrap().unwrap().ready == all).await;
        } else {
            assert!(scene.count("work:full").await < 6, "the server refuses what is over its bound");
        }
    }
}

/// What waited for an older version goes to its queue from where that put it, and is counted until then.
#[tokio::test]
async fn lines_of_an_older_version_are_emptied() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    broker.enqueue(&[task("q")], None).await.unwrap();
    let stored = claim(&*broker, "q").await.remove(0);
    let ready = Settlement::new(stored.lease, End::complete(Vec::new()));
    assert_eq!(settle(&*broker, &[ready]).await, Ok(vec![Settled::Settled]));
    drop(broker);
    // As that version made them: the line, the directory, and the message.
    let mut arguments = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(1_000_000));
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(&scene.name("work:q")));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(2000));
    let line = scene.name("waiting-2s:q").into();
    scene.behind.queue_declare(line, QueueDeclareOptions::durable(), arguments).await.unwrap();
    scene.behind.queue_purge(scene.name("directory").into(), QueuePurgeOptions::default()).await.unwrap();
    let directory = br#"{"format":1,"queues":{"q":{"capacity":1000000,"remember_ids_ms":3600000,"revision":1,"configured":false,"closed":true,"levels":[1]}}}"#;
    scene.put("directory", directory, BasicProperties::default()).await;
    let mut headers = FieldTable::default();
    for (key, value) in [("format", 1), ("attempts", 1), ("max-attempts", 5), ("max-crashes", 3)] {
        headers.insert(format!("mh-{key}").into(), AMQPValue::LongLongInt(value));
    }
    let id = Incarnation::generate().to_string();
    let properties = BasicProperties::default().with_message_id(id.into()).with_type("work".into());
    let properties = properties.with_delivery_mode(2).with_headers(headers);
    scene.put("waiting-2s:q", b"\"x\"", properties).await;

    let broker = scene.session().await;
    assert_eq!(broker.status(&queue("q")).await.unwrap().unwrap().scheduled, 1);
    assert!(!broker.claim(&Claim::new(queue("q"), 1)).await.unwrap().ended);
    let mut found = Vec::new();
    until(&*broker, "q", async || {
        found.extend(claim(&*broker, "q").await);
        !found.is_empty()
    })
    .await;
    assert_eq!(found[0].attempts, 1);
    // It goes on in the new lines.
    let retry = End::Retry { error: "again".to_owned(), delay: Duration::from_secs(3) };
    let retry = Settlement::new(found.remove(0).lease, retry);
    assert_eq!(settle(&*broker, &[retry]).await, Ok(vec![Settled::Settled]));
    assert_eq!(scene.count("delay-2s:q").await, 1);
}

/// A line that somebody removed is made again when it is needed, and what was on its way to it, or to a queue that was
/// removed, is not lost: it can be found.
#[tokio::test]
async fn what_finds_no_way_is_kept() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    let delayed = || [task("q").with_start(Start::After(Duration::from_secs(3)))];
    let remove = async |name: &str| {
        let options = QueueDeleteOptions::default();
        scene.behind.queue_delete(scene.name(name).into(), options).await.unwrap();
    };
    assert_eq!(broker.enqueue(&delayed(), None).await.unwrap(), [Enqueued::Enqueued]);
    remove("delay-1s:q").await;
    until(&*broker, "q", async || scene.count("unrouted").await == 1).await;
    let kept = scene.get("unrouted").await.unwrap();
    assert_eq!(kept.delivery.data, b"\"x\"");
    remove("delay-2s:q").await;
    assert_eq!(broker.enqueue(&delayed(), None).await.unwrap(), [Enqueued::Enqueued], "it is made again");
    remove("work:q").await;
    until(&*broker, "q", async || scene.count("unrouted").await == 1).await;
    // Also the queue is found again by what waits.
    let sent: Vec<_> = [task("q")].into_iter().chain(delayed()).collect();
    assert_eq!(broker.enqueue(&sent, None).await.unwrap(), [Enqueued::Enqueued, Enqueued::Enqueued]);
    until(&*broker, "q", async || scene.count("work:q").await == 2).await;
}

/// Nobody but the server is needed, not even while it is killed on the way.
#[tokio::test]
async fn a_delay_outlives_everybody() {
    let mut server = RabbitMq::start().unwrap();
    let began = Instant::now();
    let namespace = {
        let scene = Scene::new(server.url()).await;
        let broker = scene.session().await;
        let sent: Vec<_> =
            [7, 6, 5].map(|seconds| task("q").with_start(Start::After(Duration::from_secs(seconds)))).into();
        assert_eq!(broker.enqueue(&sent, None).await.unwrap(), vec![Enqueued::Enqueued; 3]);
        until(&*broker, "q", async || scene.count("delay-2s:q").await > 0).await;
        let lines = ["delay-4s:q", "delay-2s:q", "delay-1s:q"];
        until_noted(&server, &scene, &*broker, &[&["directory", "work:q"], &lines[..]].concat()).await;
        scene.namespace
    };
    server.kill().unwrap();
    server.restart().unwrap();
    let mut scene = Scene::new(server.url()).await;
    scene.namespace = namespace;
    let broker = scene.session().await;
    let mut left = 3;
    until(&*broker, "q", async || {
        left -= claim(&*broker, "q").await.len();
        left == 0
    })
    .await;
    assert!(began.elapsed() >= Duration::from_secs(7), "early");
}
