//! What becomes of the answer to a waiting sender when a connection, a server or a worker is lost.

use manyhands_broker::{BrokerExt, BrokerUrl, ClaimedTask, Outcome, TaskId, Wanted};
use manyhands_test_support::relay::{Fault, Relay};

use super::*;

/// How long is waited for what will not come.
const IN_VAIN: Duration = Duration::from_secs(3);

fn awaited() -> NewTask {
    task("q").with_result(Wanted::Reply)
}

fn seven() -> Outcome {
    Outcome::Done(Payload::encode(&7).unwrap())
}

async fn complete(worker: &dyn Broker, task: ClaimedTask) {
    let end = End::Complete { children: Vec::new(), result: Some(Payload::encode(&7).unwrap()) };
    let settlement = [Settlement::new(task.lease, end)];
    assert_eq!(settle(worker, &settlement).await, Ok(vec![Settled::Settled]));
}

async fn outcome(broker: &dyn Broker, id: &TaskId) -> Outcome {
    broker.outcomes(&queue("q"), std::slice::from_ref(id)).await.unwrap().remove(0)
}

/// A relay, and the URL of the scene through it.
fn relay(scene: &Scene) -> (Relay, BrokerUrl) {
    let relay = Relay::start(scene.url.rsplit_once(':').unwrap().1.parse().unwrap()).unwrap();
    let url = format!("{}?namespace={}", relay.url(&scene.url), scene.namespace).parse().unwrap();
    (relay, url)
}

/// The task is done all the same, and who waits is told at its deadline that nothing is known.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_while_the_sender_is_cut_off_is_unknown() {
    let scene = Scene::shared().await;
    let worker = scene.session().await;
    let (relay, through) = relay(&scene);
    let sender = connect(&through).await.unwrap();
    let sent = awaited();
    sender.enqueue(std::slice::from_ref(&sent), None).await.unwrap();
    let held = claim(&*worker, "q").await.remove(0);
    let (id, incarnation) = (sent.id.clone(), sender.incarnation());
    assert_eq!(outcome(&*sender, &id).await, Outcome::Pending { progress: None });
    let waiting = tokio::spawn(async move {
        let waited = sender.outcome(&queue("q"), &sent.id, IN_VAIN).await;
        (waited, sender)
    });
    relay.set(Fault::Cut).unwrap();
    // Nobody takes the answer from when the server has heard of it.
    until(&*worker, "q", async || scene.lacks(&format!("inbox:{incarnation}:1")).await).await;
    complete(&*worker, held).await;
    relay.heal().unwrap();
    let (waited, sender) = waiting.await.unwrap();
    assert_eq!(waited.unwrap(), Outcome::Unknown);
    assert_eq!(worker.status(&queue("q")).await.unwrap().unwrap().unsettled(), 0);
    // Asked once more, nobody waits for what cannot come.
    assert_eq!(sender.outcome(&queue("q"), &id, PATIENCE).await.unwrap(), Outcome::Unknown);
}

/// A sender that was cut off and is back is told what is settled from then on.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_after_a_reconnect_is_heard() {
    let scene = Scene::shared().await;
    let worker = scene.session().await;
    let (relay, through) = relay(&scene);
    let sender = connect(&through).await.unwrap();
    let sent = awaited();
    sender.enqueue(std::slice::from_ref(&sent), None).await.unwrap();
    let held = claim(&*worker, "q").await.remove(0);
    let id = sent.id.clone();
    assert_eq!(outcome(&*sender, &id).await, Outcome::Pending { progress: None });
    relay.set(Fault::Cut).unwrap();
    assert_eq!(outcome(&*sender, &id).await, Outcome::Unknown, "it may be told now, and not be heard");
    relay.heal().unwrap();
    until(&*worker, "q", async || sender.status(&queue("q")).await.is_ok()).await;
    complete(&*worker, held).await;
    assert_eq!(outcome(&*sender, &id).await, seven());
}

/// The task comes to a worker again, and the answer to where the sender is then.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_tells_when_it_is_back() {
    let mut server = RabbitMq::start().unwrap();
    let scene = Scene::new(server.url()).await;
    let (worker, sender) = (scene.session().await, scene.session().await);
    let sent = awaited();
    sender.enqueue(std::slice::from_ref(&sent), None).await.unwrap();
    let held = claim(&*worker, "q").await.remove(0);
    assert_eq!(outcome(&*sender, &sent.id).await, Outcome::Pending { progress: None });
    until_noted(&server, &scene, &*worker, &["directory", "work:q"]).await;
    server.kill().unwrap();
    server.restart().unwrap();
    let again = async {
        while sender.status(&queue("q")).await.is_err() {}
        loop {
            let changed = worker.wait(&[queue("q")]);
            if let Ok(mut reply) = worker.claim(&Claim::new(queue("q"), 1)).await
                && let Some(task) = reply.tasks.pop()
            {
                return task;
            }
            let _ = tokio::time::timeout(Duration::from_millis(200), changed).await;
        }
    };
    let again = tokio::time::timeout(RESTART, again).await.expect("the task comes again");
    assert_eq!(again.lease.id, sent.id);
    assert!(again.result_wanted);
    assert_eq!(settle(&*worker, &[Settlement::new(held.lease, End::Release)]).await, Ok(vec![Settled::Lost]));
    complete(&*worker, again).await;
    assert_eq!(outcome(&*sender, &sent.id).await, seven());
}

/// A worker that dies after the answer and before the acknowledgement leaves the task to be run again: the first answer stands.
/// What is no answer, or of no task of this sender, changes nothing.
#[tokio::test]
async fn the_first_answer_stands() {
    let scene = Scene::shared().await;
    let (worker, sender) = (scene.session().await, scene.session().await);
    let sent = awaited();
    sender.enqueue(std::slice::from_ref(&sent), None).await.unwrap();
    let tell = async |became: &str, id: &str, body: &[u8]| {
        let text = |text: &str| AMQPValue::LongString(text.into());
        let mut headers = FieldTable::default();
        headers.insert("mh-queue".into(), text("q"));
        headers.insert("mh-became".into(), text(became));
        let properties = BasicProperties::default().with_type("outcome".into()).with_message_id(id.into());
        let (to, key) = (scene.name("replies").into(), sender.incarnation().to_string().into());
        let options = BasicPublishOptions::default();
        let properties = properties.with_headers(headers);
        scene.behind.basic_publish(to, key, options, body, properties).await.unwrap().await.unwrap();
        // An answer behind it on the same channel says that it is there.
        scene.count("work:q").await;
    };
    let id = sent.id.to_string();
    tell("what we do not know", &id, b"1").await;
    tell("done", "another", b"1").await;
    tell("done", &id, b"\xff").await;
    tell("done", "no id at all", b"1").await;
    assert_eq!(outcome(&*sender, &sent.id).await, Outcome::Pending { progress: None });
    tell("done", &id, b"7").await;
    let held = claim(&*worker, "q").await.remove(0);
    let bury = End::Bury { error: "the second time it failed".to_owned() };
    assert_eq!(settle(&*worker, &[Settlement::new(held.lease, bury)]).await, Ok(vec![Settled::Settled]));
    assert_eq!(outcome(&*sender, &sent.id).await, seven());
}
