//! Queues and exchanges that somebody made before us, otherwise than we do: what loses tasks is refused and said, all else is taken as it is,
//! and nothing is removed.

use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use manyhands_broker::{Enqueued, ErrorKind};

use crate::{Scene, claim, queue, task};

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

impl Scene {
    async fn make(&self, name: &str, arguments: &[(&str, AMQPValue)]) {
        let mut table = FieldTable::default();
        for (argument, value) in arguments {
            table.insert((*argument).into(), value.clone());
        }
        let options = QueueDeclareOptions::durable();
        self.behind.queue_declare(self.name(name).into(), options, table).await.unwrap();
    }
}

#[tokio::test]
async fn a_queue_that_loses_tasks_is_refused_with_all_that_differs() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    scene.make("work:classic", &[]).await;
    scene.make_bounded("work:bounded", 5).await;
    let bounded = ["x-max-length is \"5\", and must not be there", "it has no x-dead-letter-exchange"];
    for (name, parts) in
        [("classic", &["it is a classic queue, and must be a quorum queue"][..]), ("bounded", &bounded)]
    {
        // Whoever comes, and however often.
        for _ in 0..2 {
            let error = broker.declare(&queue(name), None).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
            assert!(error.report().contains(&scene.name(&format!("work:{name}"))), "{}", error.report());
            for part in parts {
                assert!(error.report().contains(part), "{part}: {}", error.report());
            }
            assert!(error.advice().unwrap().contains("nothing is changed or removed"), "{error:?}");
            let error = broker.enqueue(&[task(name)], None).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        }
        // It is there, as it was.
        assert_eq!(scene.count(&format!("work:{name}")).await, 0);
    }
    // Other queues are used all the same, by the same session.
    assert_eq!(broker.enqueue(&[task("other")], None).await.unwrap(), [Enqueued::Enqueued]);
    assert_eq!(claim(&*broker, "other").await.len(), 1);
}

#[tokio::test]
async fn a_queue_that_differs_without_harm_is_used() {
    let scene = Scene::shared().await;
    let work = [
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", AMQPValue::LongLongInt(50_000)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(&scene.name("dead:q"))),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        ("x-quorum-initial-group-size", AMQPValue::LongLongInt(1)),
    ];
    scene.make("work:q", &work).await;
    scene.make("dead:q", &[("x-queue-type", text("quorum"))]).await;
    let broker = scene.session().await;
    assert_eq!(broker.enqueue(&[task("q")], None).await.unwrap(), [Enqueued::Enqueued]);
    assert_eq!(claim(&*broker, "q").await.len(), 1);
}

#[tokio::test]
async fn a_namespace_whose_own_things_differ_lets_no_session_begin() {
    let scene = Scene::shared().await;
    let url = format!("{}?namespace={}", scene.url, scene.namespace);
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let (name, none) = (scene.name("news"), FieldTable::default());
    scene.behind.exchange_declare(name.into(), ExchangeKind::Topic, durable, none).await.unwrap();
    let error = manyhands_broker::connect(&url.parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(error.report().contains("type is \"topic\", and must be \"fanout\""), "{}", error.report());

    let scene = Scene::shared().await;
    let url = format!("{}?namespace={}", scene.url, scene.namespace);
    scene.make("directory", &[]).await;
    let error = manyhands_broker::connect(&url.parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(error.report().contains("must be a quorum queue"), "{}", error.report());
}
