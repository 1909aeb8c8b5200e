//! The dead: what others put among them, and what happens while somebody looks.

use std::collections::BTreeSet;

use manyhands_broker::{DeadTask, Revived, TaskId};
use manyhands_test_support::relay::{Fault, Relay};

use super::*;

/// Enqueues tasks with payloads of so many bytes, and buries them.
async fn bury(broker: &dyn Broker, count: usize, bytes: usize) -> BTreeSet<TaskId> {
    let text = Payload::encode(&"x".repeat(bytes)).unwrap();
    let new = || NewTask::new(queue("q"), TaskName::new("work").unwrap(), text.clone());
    let sent: Vec<_> = (0..count).map(|_| new()).collect();
    broker.enqueue(&sent, None).await.unwrap();
    let mut left = sent.len();
    while left > 0 {
        let held = broker.claim(&Claim::new(queue("q"), left)).await.unwrap().tasks;
        left -= held.len();
        let end = |number: usize| End::Bury { error: format!("no {number}") };
        let ends: Vec<_> = held
            .into_iter()
            .enumerate()
            .map(|(number, task)| Settlement::new(task.lease, end(number)))
            .collect();
        broker.settle(&ends).await.unwrap();
    }
    sent.into_iter().map(|task| task.id).collect()
}

async fn list(broker: &dyn Broker) -> Vec<DeadTask> {
    broker.dead_letters().unwrap().list(&queue("q"), None, limits::MAX_BATCH).await.unwrap()
}

fn ids(tasks: &[DeadTask]) -> BTreeSet<TaskId> {
    tasks.iter().map(|task| task.id.clone()).collect()
}

/// The server counts how often a message was handed out, and throws it away in the end.
#[tokio::test]
async fn looking_wears_nothing_out() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    bury(&*broker, 2, 1).await;
    let dead = list(&*broker).await;
    // Each in its turn.
    for _ in 0..2000 {
        let get = scene.behind.basic_get(scene.name("dead:q").into(), BasicGetOptions::default());
        let back = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        get.await.unwrap().unwrap().nack(back).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(list(&*broker).await, dead, "in the old order, with the old marks");
    }
    for _ in 0..2 {
        let message = scene.get("dead:q").await.unwrap();
        let count = headers(&message).inner().get("x-delivery-count").cloned();
        assert!(matches!(count, Some(AMQPValue::LongLongInt(1..=9))), "{count:?}");
    }
}

/// What is no task of ours, or was given up by the server for a policy, is dead too: and has its place from the first look on.
#[tokio::test]
async fn what_others_made_dead_is_listed() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    bury(&*broker, 1, 1).await;
    scene.put("dead:q", b"\xff\x00 not ours", BasicProperties::default()).await;
    let mut headers = FieldTable::default();
    for (key, value) in [("format", 1), ("attempts", 2), ("max-attempts", 5), ("max-crashes", 3)] {
        headers.insert(format!("mh-{key}").into(), AMQPValue::LongLongInt(value));
    }
    let ours = BasicProperties::default().with_message_id("7".into()).with_type("work".into());
    scene.put("dead:q", b"\"x\"", ours.with_headers(headers)).await;

    let dead = list(&*broker).await;
    assert_eq!(dead.len(), 3);
    assert!(dead[1].payload.as_str().contains("not ours") && dead[1].error.contains("no task of ours"));
    assert_eq!((dead[2].id.to_string(), dead[2].attempts), ("7".to_owned(), 2));
    assert!(dead[2].error.contains("RabbitMQ"), "{dead:?}");
    assert_eq!(list(&*scene.session().await).await, dead);
    let power = broker.dead_letters().unwrap();
    assert_eq!(power.list(&queue("q"), Some(dead[0].mark), 9).await.unwrap(), dead[1..]);
    // What an operator can do with any dead task. Ours begins anew, and what is none is found out again.
    let revived = power.revive(&queue("q"), &[dead[1].id.clone(), dead[2].id.clone()]).await.unwrap();
    assert_eq!(revived, [Revived::Revived, Revived::Revived]);
    let claimed = claim(&*broker, "q").await;
    assert_eq!(
        claimed.iter().map(|task| (task.lease.id.to_string(), task.attempts)).collect::<Vec<_>>(),
        [("7".to_owned(), 0)]
    );
    let again = list(&*broker).await;
    assert!(again.len() == 2 && again[1].payload == dead[1].payload, "{again:?}");
    let all: Vec<_> = again.into_iter().map(|task| task.id).collect();
    assert_eq!(power.purge(&queue("q"), &all).await.unwrap(), [true, true]);
    assert_eq!(scene.count("dead:q").await, 0);
}

/// A connection that is cut at any moment loses none: a task that is revived may be there twice, and is never gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_loses_none() {
    const TASKS: usize = 8;
    const BYTES: usize = 100_000;
    let scene = Scene::shared().await;
    let direct = scene.session().await;
    let port = scene.url.rsplit_once(':').unwrap().1.parse().unwrap();
    let relay = Relay::start(port).unwrap();
    let through: manyhands_broker::BrokerUrl =
        format!("{}?namespace={}", relay.url(&scene.url), scene.namespace).parse().unwrap();
    for round in 0..10 {
        let sent = bury(&*direct, TASKS, BYTES).await;
        let operator = connect(&through).await.unwrap();
        let before = relay.stats();
        let all: Vec<_> = sent.iter().cloned().collect();
        let reviving =
            tokio::spawn(async move { operator.dead_letters().unwrap().revive(&queue("q"), &all).await });
        // While they are read in the first rounds, then while they are sent, then about when that is answered.
        let (read, told) =
            if round < 3 { (round * TASKS * BYTES / 3, 0) } else { (0, (round - 2) * TASKS * BYTES / 7) };
        let moment = relay.until(|stats| {
            stats.to_client >= before.to_client + read as u64
                && stats.to_server >= before.to_server + told as u64
        });
        moment.await.unwrap();
        relay.set(Fault::Cut).unwrap();
        let answer = reviving.await.unwrap();
        relay.heal().unwrap();
        let mut found = BTreeSet::new();
        until(&*direct, "q", async || {
            found = ids(&list(&*direct).await);
            for task in claim(&*direct, "q").await {
                found.insert(task.lease.id.clone());
                let end = Settlement::new(task.lease, End::Bury { error: "again".to_owned() });
                assert_eq!(settle(&*direct, &[end]).await, Ok(vec![Settled::Settled]));
            }
            found.is_superset(&sent) && direct.status(&queue("q")).await.unwrap().unwrap().ready == 0
        })
        .await;
        assert_eq!(found, sent, "round {round}, in which the operator was told {answer:?}");
        let all: Vec<_> = sent.into_iter().collect();
        let power = direct.dead_letters().unwrap();
        assert_eq!(power.purge(&queue("q"), &all).await.unwrap(), [true; TASKS], "round {round}");
        assert_eq!(scene.count("dead:q").await, 0, "also of those that were there twice");
    }
}

/// Killed while somebody looks, the server has all of them when it is back, at their places.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_none() {
    let mut server = RabbitMq::start().unwrap();
    let scene = Scene::new(server.url()).await;
    let broker = scene.session().await;
    bury(&*broker, 100, 1000).await;
    let dead = list(&*broker).await;
    until_noted(&server, &scene, &*broker, &["directory", "work:q", "dead:q"]).await;
    let url = format!("{}?namespace={}", scene.url, scene.namespace).parse().unwrap();
    let (looks, mut looked) = tokio::sync::mpsc::unbounded_channel();
    let looking = tokio::spawn(async move {
        // Until the server is gone.
        while broker.dead_letters().unwrap().list(&queue("q"), None, 9).await.is_ok() {
            looks.send(()).unwrap();
        }
    });
    for _ in 0..3 {
        looked.recv().await.unwrap();
    }
    server.kill().unwrap();
    looking.await.unwrap();
    server.restart().unwrap();
    let broker = connect(&url).await.unwrap();
    // A server that begins refuses for a moment what it does not lead yet.
    let again = async {
        loop {
            match broker.dead_letters().unwrap().list(&queue("q"), None, limits::MAX_BATCH).await {
                Ok(found) => return found,
                Err(refused) => assert_eq!(refused.kind(), ErrorKind::Unavailable, "{}", refused.report()),
            }
        }
    };
    assert_eq!(tokio::time::timeout(RESTART, again).await.expect("it leads in the end"), dead);
}

/// Also while somebody has the oldest in hand: then the next burial does it.
#[tokio::test]
async fn no_more_are_kept_than_the_bound() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    broker.declare(&queue("q"), None).await.unwrap();
    let surplus = 20;
    for number in 0..limits::MAX_DEAD + surplus {
        let to = scene.name("dead:q").into();
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let body = number.to_string();
        scene.behind.basic_publish("".into(), to, options, body.as_bytes(), properties).await.unwrap();
    }
    until(&*broker, "q", async || u64::from(scene.count("dead:q").await) == limits::MAX_DEAD + surplus).await;
    bury(&*broker, 1, 1).await;
    assert_eq!(u64::from(scene.count("dead:q").await), limits::MAX_DEAD);
    let oldest = scene.get("dead:q").await.unwrap();
    assert_eq!(oldest.delivery.data, (surplus + 1).to_string().as_bytes(), "the oldest are gone");
    assert_eq!(list(&*broker).await.len(), limits::MAX_BATCH);
}
