//! What is a task among the messages that others put into a queue, and what becomes of those that are none.

use super::*;

#[tokio::test]
async fn a_message_that_is_no_task_is_buried_as_it_is() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    broker.declare(&queue("q"), None).await.unwrap();
    scene.put("work:q", b"\xff\x00 not ours", BasicProperties::default().with_message_id("7".into())).await;
    broker.enqueue(&[task("q")], None).await.unwrap();
    assert_eq!(claim(&*broker, "q").await.len(), 1, "the one that is a task");
    assert_eq!(broker.status(&queue("q")).await.unwrap().unwrap().dead, 1);
    let dead = scene.get("dead:q").await.unwrap();
    assert_eq!(dead.delivery.data, b"\xff\x00 not ours");
    assert_eq!(dead.delivery.properties.message_id().as_ref().unwrap().as_str(), "7");
    assert!(headers(&dead).contains_key("mh-error"));
}

/// A client in any language sends one with an id, a type, and JSON for its body.
#[tokio::test]
async fn a_message_without_headers_is_a_task() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    broker.declare(&queue("q"), None).await.unwrap();
    let sent = BasicProperties::default().with_message_id("7".into()).with_type("work".into());
    let (open, options) = (scene.name("open"), BasicPublishOptions::default());
    let sending =
        scene.behind.basic_publish(open.into(), "q".into(), options, b" {\"n\": 1.50}\n", sent.clone());
    sending.await.unwrap().await.unwrap();
    scene.put("work:q", b"1}\n{", sent).await;
    let tasks = claim(&*broker, "q").await;
    let [task] = tasks.as_slice() else { panic!("the one whose body is JSON: {tasks:?}") };
    assert_eq!((task.lease.id.to_string(), task.name.as_str()), ("7".to_owned(), "work"));
    assert_eq!(task.payload.as_str(), "{\"n\": 1.50}");
    let done = Settlement::new(task.lease.clone(), End::complete(Vec::new()));
    assert_eq!(settle(&*broker, &[done]).await, Ok(vec![Settled::Settled]));
    assert_eq!(broker.status(&queue("q")).await.unwrap().unwrap().dead, 1);
    assert_eq!(scene.get("dead:q").await.unwrap().delivery.data, b"1}\n{", "as it came");
}

#[tokio::test]
async fn a_task_of_a_newer_version_is_put_off() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    broker.declare(&queue("q"), None).await.unwrap();
    let mut newer = FieldTable::default();
    newer.insert("mh-format".into(), AMQPValue::LongLongInt(9));
    newer.insert("mh-what-we-do-not-know".into(), AMQPValue::LongLongInt(1));
    scene.put("work:q", b"1", BasicProperties::default().with_headers(newer)).await;
    assert_eq!(claim(&*broker, "q").await.len(), 0);
    let status = broker.status(&queue("q")).await.unwrap().unwrap();
    assert_eq!((status.scheduled, status.dead), (1, 0));
    let waiting = scene.get("delay-32s:q").await.unwrap();
    assert!(headers(&waiting).contains_key("mh-what-we-do-not-know"), "kept as it was");
}
