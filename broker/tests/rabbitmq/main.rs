//! What only the RabbitMQ broker does: what others put into its queues or take out of them, and a server that takes nothing.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod classes;
mod cluster;
mod dead;
mod delays;
mod differences;
mod directory;
mod faults;
mod first_use;
mod lanes;
mod load;
mod messages;
mod replies;
mod run_time;
mod urls;

use std::{sync::Arc, time::Duration};

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    message::BasicGetMessage,
    options::{
        BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
        QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable},
};
use manyhands_broker::{
    Beaten, Broker, BrokerExt, Claim, End, Enqueued, ErrorKind, Incarnation, NewTask, Payload, QueueName,
    QueueOptions, Settled, Settlement, Start, TaskName, connect, limits,
};
use manyhands_test_support::servers::RabbitMq;

/// How long something may take that is on its way.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a server that was killed may take until it leads its queues again.
const RESTART: Duration = Duration::from_secs(60);

/// Whether the server bounds how long a task runs: from 3.12 on each queue says so for itself, and ours say that they do not.
fn bounds_runs() -> bool {
    RabbitMq::release().unwrap() < (3, 12)
}

/// A namespace of its own on a server, and a look behind the broker.
struct Scene {
    url: String,
    namespace: String,
    behind: Channel,
    connection: Connection,
}

impl Scene {
    async fn new(url: String) -> Self {
        Self::new_behind(url.clone(), url).await
    }

    /// One whose sessions have another URL than the look behind them.
    async fn new_behind(url: String, behind: String) -> Self {
        let connection = Connection::connect(&behind, ConnectionProperties::default()).await.unwrap();
        let behind = connection.create_channel().await.unwrap();
        let namespace = format!("test-{}", Incarnation::generate());
        Self { url, namespace, behind, connection }
    }

    async fn shared() -> Self {
        Self::new(RabbitMq::shared_url().unwrap()).await
    }

    async fn session(&self) -> Arc<dyn Broker> {
        connect(&format!("{}?namespace={}", self.url, self.namespace).parse().unwrap()).await.unwrap()
    }

    fn name(&self, what: &str) -> String {
        format!("mh:{}:{what}", self.namespace)
    }

    /// Makes a queue of the server that refuses what is over its bound.
    async fn make_bounded(&self, name: &str, bound: u64) {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(bound.try_into().unwrap()));
        let options = QueueDeclareOptions::durable();
        self.behind.queue_declare(self.name(name).into(), options, arguments).await.unwrap();
    }

    /// Puts such a queue in the place of one that sessions know, and compare no more.
    async fn replace_bounded(&self, queue: &str, bound: u64) {
        let name = format!("work:{queue}");
        self.behind.queue_delete(self.name(&name).into(), QueueDeleteOptions::default()).await.unwrap();
        self.make_bounded(&name, bound).await;
        // What has waited finds it by all bits of its delay, and its name.
        let key = format!("{}{queue}", "*.".repeat(21));
        let (from, options) = (self.name("due").into(), QueueBindOptions::default());
        let bind =
            self.behind.queue_bind(self.name(&name).into(), from, key.into(), options, FieldTable::default());
        bind.await.unwrap();
        // And what is sent to an open queue.
        let (from, key) = (self.name("open").into(), queue.into());
        let bind = self.behind.queue_bind(self.name(&name).into(), from, key, options, FieldTable::default());
        bind.await.unwrap();
    }

    async fn put(&self, to: &str, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions::default();
        let publish = self.behind.basic_publish("".into(), self.name(to).into(), options, body, properties);
        publish.await.unwrap().await.unwrap();
        // An answer behind it on the same channel says that it is there.
        self.count(to).await;
    }

    /// Publishes something that must find a queue, and tells whether it does.
    async fn finds_way(&self, by: &str, key: &str) -> bool {
        let channel = self.connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publish = channel.basic_publish(
            self.name(by).into(),
            key.into(),
            options,
            b"x",
            BasicProperties::default(),
        );
        publish.await.unwrap().await.unwrap().take_message().is_none()
    }

    /// Whether there is no such queue, also none that belongs to somebody.
    async fn lacks(&self, queue: &str) -> bool {
        let channel = self.connection.create_channel().await.unwrap();
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(self.name(queue).into(), passive, FieldTable::default()).await;
        found.is_err_and(|error| error.to_string().contains("NOT_FOUND"))
    }

    async fn get(&self, from: &str) -> Option<BasicGetMessage> {
        let options = BasicGetOptions { no_ack: true };
        self.behind.basic_get(self.name(from).into(), options).await.unwrap()
    }

    async fn count(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = self.behind.queue_declare(self.name(queue).into(), passive, FieldTable::default());
        found.await.unwrap().message_count()
    }
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

fn task(on: &str) -> NewTask {
    NewTask::new(queue(on), TaskName::new("work").unwrap(), Payload::encode("x").unwrap())
}

fn headers(message: &BasicGetMessage) -> FieldTable {
    message.delivery.properties.headers().clone().unwrap_or_default()
}

async fn claim(broker: &dyn Broker, from: &str) -> Vec<manyhands_broker::ClaimedTask> {
    broker.claim(&Claim::new(queue(from), 9)).await.unwrap().tasks
}

async fn settle(broker: &dyn Broker, settlements: &[Settlement]) -> Result<Vec<Settled>, ErrorKind> {
    broker.settle(settlements).await.map_err(|e| e.kind())
}

/// Some time after the server takes messages again, they are settled.
async fn until_settled(broker: &dyn Broker, settlements: &[Settlement]) {
    let settled = async {
        while settle(broker, settlements).await != Ok(vec![Settled::Settled; settlements.len()]) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("there is room again");
}

#[tokio::test]
async fn a_queue_that_was_removed_is_made_again() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    broker.enqueue(&[task("q")], None).await.unwrap();
    scene.behind.queue_delete(scene.name("work:q").into(), QueueDeleteOptions::default()).await.unwrap();
    assert_eq!(broker.enqueue(&[task("q")], None).await.unwrap(), [Enqueued::Enqueued]);
    assert_eq!(claim(&*broker, "q").await.len(), 1);
}

/// What is on its way to a closed queue is refused by the server, though its session has not heard of the close.
#[tokio::test]
async fn a_closed_queue_is_shut() {
    let scene = Scene::shared().await;
    let (a, b) = (scene.session().await, scene.session().await);
    a.enqueue(&[task("q")], None).await.unwrap();
    assert!(scene.finds_way("open", "q").await);
    b.close(&queue("q")).await.unwrap();
    assert!(!scene.finds_way("open", "q").await);
    assert_eq!(
        a.enqueue(&[task("q"), task("r")], None).await.unwrap(),
        [Enqueued::Closed, Enqueued::Enqueued]
    );
    assert!(!scene.finds_way("open", "q").await, "nobody opens it again");
}

/// A version before this one has created a queue that is in no exchange; so has one that died in between.
#[tokio::test]
async fn a_queue_that_nobody_opened_is_opened() {
    let scene = Scene::shared().await;
    let broker = scene.session().await;
    broker.enqueue(&[task("q")], None).await.unwrap();
    let (work, open) = (scene.name("work:q"), scene.name("open"));
    scene.behind.queue_unbind(work.into(), open.into(), "q".into(), FieldTable::default()).await.unwrap();
    assert_eq!(broker.enqueue(&[task("q")], None).await.unwrap(), [Enqueued::Enqueued]);
    assert_eq!(claim(&*broker, "q").await.len(), 2);
}

/// What one session was told is done, every other one knows, at once.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_is_known_everywhere() {
    let scene = Scene::shared().await;
    let (a, b) = (scene.session().await, scene.session().await);
    for round in 0..100 {
        let q = queue(&format!("q{round}"));
        let options = QueueOptions::default().with_capacity(round + 1);
        a.declare(&q, Some(&options)).await.unwrap();
        let status = b.status(&q).await.unwrap().map(|status| status.options);
        assert_eq!(status, Some(options), "round {round}");
        b.close(&q).await.unwrap();
        assert_eq!(a.enqueue(&[task(q.as_str())], None).await.unwrap(), [Enqueued::Closed], "round {round}");
    }
}

/// Out of memory or disk, the server takes nothing; what runs goes on, and is settled when there is room. What was sent at that
/// moment may be there twice when it is sent again, and the second one says so.
#[tokio::test]
async fn an_alarm_costs_no_task() {
    let server = RabbitMq::start().unwrap();
    let scene = Scene::new(server.url()).await;
    let broker = scene.session().await;
    broker.enqueue(&[task("q"), task("q")], None).await.unwrap();
    let mut both = claim(&*broker, "q").await;
    let (held, plain) = (both.remove(0), both.remove(0));
    let sender = scene.session().await;
    sender.declare(&queue("sent"), None).await.unwrap();
    server.operate(&["set_vm_memory_high_watermark", "0.00001"]).unwrap();
    // The server hears what comes before it says that it takes nothing.
    let (doubtful, unknown) = loop {
        let task = task("sent");
        if let Err(error) = sender.enqueue(std::slice::from_ref(&task), None).await {
            break (task, error);
        }
    };
    assert_eq!(unknown.kind(), ErrorKind::Unavailable);
    let done = Settlement::new(plain.lease, End::complete(Vec::new()));
    assert_eq!(settle(&*broker, &[done]).await, Ok(vec![Settled::Settled]), "nothing is sent for it");
    let end = End::complete(vec![task("next")]);
    let settlement = [Settlement::new(held.lease.clone(), end)];
    for _ in 0..3 {
        assert_eq!(settle(&*broker, &settlement).await, Err(ErrorKind::Unavailable));
        let beaten = broker.beat(&[held.lease.clone().into()], limits::LEASE).await.unwrap();
        assert_eq!(beaten, [Beaten::Kept], "the lease is not lost with what cannot be sent");
    }
    server.operate(&["set_vm_memory_high_watermark", "0.4"]).unwrap();
    until_settled(&*broker, &settlement).await;
    let next = claim(&*broker, "next").await;
    assert!(!next.is_empty(), "the child");
    // Those that were sent before the alarm was heard of may be there, too: whether they are stored was never said.
    assert!(next.len() <= 2, "{next:?}");
    assert_eq!(sender.enqueue(std::slice::from_ref(&doubtful), None).await.unwrap(), [Enqueued::Enqueued]);
    let mut flags = Vec::new();
    while let Some(message) = scene.get("work:sent").await {
        if message.delivery.properties.message_id().as_ref().unwrap().to_string() == doubtful.id.to_string() {
            flags.push(headers(&message).contains_key("mh-repeated"));
        }
    }
    assert!(flags == [true] || flags == [false, true], "{flags:?}");
}

/// Who sends with patience waits until the server takes messages again; what was running is settled meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn who_sends_waits_through_an_alarm() {
    let server = RabbitMq::start().unwrap();
    let scene = Scene::new(server.url()).await;
    let (worker, sender) = (scene.session().await, scene.session().await);
    worker.enqueue(&[task("q")], None).await.unwrap();
    let held = claim(&*worker, "q").await.remove(0);
    sender.declare(&queue("sent"), None).await.unwrap();
    server.operate(&["set_vm_memory_high_watermark", "0.00001"]).unwrap();
    // The server hears what comes before it says that it takes nothing.
    while sender.enqueue(&[task("sent")], None).await.is_ok() {}
    let late = task("late");
    let id = late.id.clone();
    let waiting =
        tokio::spawn(async move { sender.enqueue_repeatedly(&[late], Duration::from_secs(120)).await });
    let done = Settlement::new(held.lease, End::complete(Vec::new()));
    assert_eq!(settle(&*worker, &[done]).await, Ok(vec![Settled::Settled]));
    assert!(claim(&*worker, "late").await.is_empty());
    assert!(!waiting.is_finished(), "{:?}", waiting.await);
    server.operate(&["set_vm_memory_high_watermark", "0.4"]).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), [Enqueued::Enqueued]);
    // It may have been sent more than once, and none of these is lost.
    let found = claim(&*worker, "late").await;
    assert!(!found.is_empty() && found.iter().all(|task| task.lease.id == id), "{found:?}");
}

/// One message of a batch is refused, by a bound that an operator set: the others are not stored again with every try.
#[tokio::test]
async fn what_is_stored_is_not_stored_again_for_anothers_sake() {
    let server = RabbitMq::start().unwrap();
    let scene = Scene::new(server.url()).await;
    let broker = scene.session().await;
    broker.enqueue(&[task("full"), task("q"), task("q")], None).await.unwrap();
    server.operate(&["set_policy", "bound", ":work:full$", r#"{"max-length":1}"#]).unwrap();
    // The bound holds from the second one that is too many.
    while broker.enqueue(&[task("full")], None).await.is_ok() {}
    let held = claim(&*broker, "q").await;
    let end = |to: &str| End::complete(vec![task(to), task(to), task(to)]);
    let settlements: Vec<_> = held
        .iter()
        .zip(["full", "free"])
        .map(|(task, to)| Settlement::new(task.lease.clone(), end(to)))
        .collect();
    for _ in 0..3 {
        assert_eq!(settle(&*broker, &settlements).await, Err(ErrorKind::Unavailable));
    }
    assert_eq!(scene.count("work:free").await, 3);
    server.operate(&["clear_policy", "bound"]).unwrap();
    until_settled(&*broker, &settlements).await;
    assert_eq!(scene.count("work:free").await, 3);
    assert_eq!(broker.status(&queue("q")).await.unwrap().unwrap().unsettled(), 0);
}

/// Waits until the server would know these queues after it was killed: it forgets a new one with all that it confirmed.
async fn until_noted(server: &RabbitMq, scene: &Scene, broker: &dyn Broker, queues: &[&str]) {
    let noted = |queue: &&str| server.has_noted(&scene.name(queue)).unwrap();
    until(broker, "q", async || queues.iter().all(noted)).await;
}

/// Looks again and again until it is so; whether it was a hint or the time-out that said so does not matter.
async fn until(broker: &dyn Broker, of: &str, mut so: impl AsyncFnMut() -> bool) {
    let wait = async {
        loop {
            let changed = broker.wait(&[queue(of)]);
            if so().await {
                return;
            }
            let _ = tokio::time::timeout(Duration::from_millis(200), changed).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("nothing holds it up");
}
