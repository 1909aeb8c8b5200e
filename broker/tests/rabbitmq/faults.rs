//! What ends a session's connections, or makes them useless: it is noticed, nothing is settled twice, and nothing is published for what is no longer held.
//!
//! `MANYHANDS_TEST_LONG` set: the server is killed twenty times.

use std::time::Instant;

use futures_util::StreamExt;
use lapin::options::BasicConsumeOptions;
use manyhands_broker::ClaimedTask;

use super::{load::Load, *};

/// A task that was enqueued and claimed.
async fn hold(broker: &dyn Broker) -> ClaimedTask {
    broker.enqueue(&[task("q")], None).await.unwrap();
    claim(broker, "q").await.remove(0)
}

/// Claims until a task comes; calls fail while there is no connection.
async fn claim_again(broker: &dyn Broker) -> ClaimedTask {
    let mut errors = Vec::new();
    let again = async {
        loop {
            match broker.claim(&Claim::new(queue("q"), 9)).await {
                Ok(mut reply) if !reply.tasks.is_empty() => return reply.tasks.remove(0),
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
                    errors.push(error.report());
                }
            }
        }
    };
    let came = tokio::time::timeout(PATIENCE, again).await;
    came.unwrap_or_else(|_| panic!("it does not come again: {errors:?}"))
}

/// What is held no longer cannot be settled, and nothing follows from it; it comes again, and what it is now is not touched.
async fn is_lost_and_comes_again(broker: &dyn Broker, held: &ClaimedTask) {
    let again = claim_again(broker).await;
    assert_eq!(again.lease.id, held.lease.id);
    assert_ne!(again.lease, held.lease);
    let stale = Settlement::new(held.lease.clone(), End::complete(vec![task("child")]));
    assert_eq!(settle(broker, &[stale]).await, Ok(vec![Settled::Lost]));
    assert_eq!(broker.status(&queue("child")).await.unwrap(), None, "nothing is published for it");
    let beats = [held.lease.clone().into(), again.lease.clone().into()];
    assert_eq!(broker.beat(&beats, limits::LEASE).await.unwrap(), [Beaten::Lost, Beaten::Kept]);
    let done = Settlement::new(again.lease, End::complete(vec![task("child")]));
    assert_eq!(settle(broker, &[done]).await, Ok(vec![Settled::Settled]));
    assert_eq!(broker.status(&queue("child")).await.unwrap().unwrap().ready, 1);
    assert_eq!(broker.status(&queue("q")).await.unwrap().unwrap().unsettled(), 0);
}

#[tokio::test]
async fn an_operator_closes_all_connections() {
    let server = RabbitMq::start().unwrap();
    let broker = Scene::new(server.url()).await.session().await;
    let held = hold(&*broker).await;
    server.operate(&["close_all_connections", "maintenance"]).unwrap();
    is_lost_and_comes_again(&*broker, &held).await;
}

#[tokio::test]
async fn a_session_is_rebuilt_by_order() {
    let broker = Scene::shared().await.session().await;
    let held = hold(&*broker).await;
    broker.rebuild().await;
    is_lost_and_comes_again(&*broker, &held).await;
}

/// Before 3.12, no queue can say for how long a delivery may stay unacknowledged: the server does, and ends the channel. Later, ours say that it is not for them.
#[tokio::test]
async fn a_task_runs_for_longer_than_the_server_allows() {
    let server = RabbitMq::options().config("consumer_timeout = 1000").start().unwrap();
    // How often the channels are looked at.
    server.operate(&["eval", "application:set_env(rabbit, channel_tick_interval, 500)."]).unwrap();
    let scene = Scene::new(server.url()).await;
    let broker = scene.session().await;
    let held = hold(&*broker).await;
    let beat = [held.lease.clone().into()];
    if !bounds_runs() {
        // What concerns another queue is what ours is spared.
        scene.make_bounded("other", 9).await;
        scene.put("other", b"x", BasicProperties::default()).await;
        let channel = scene.connection.create_channel().await.unwrap();
        let (name, options) = (scene.name("other").into(), BasicConsumeOptions::default());
        let consume = channel.basic_consume(name, "".into(), options, FieldTable::default());
        let mut consumer = consume.await.unwrap();
        consumer.next().await.unwrap().unwrap();
        let taken = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("it is taken away");
        assert!(!matches!(taken, Some(Ok(_))), "{taken:?}");
        assert_eq!(broker.beat(&beat, limits::LEASE).await.unwrap(), [Beaten::Kept]);
        return;
    }
    let lost = async {
        // The call that meets it fails, and says why; the next one has a new session, which has no such lease.
        while broker.beat(&beat, limits::LEASE).await.is_ok_and(|beaten| beaten == [Beaten::Kept]) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, lost).await.expect("the server takes it away");
    is_lost_and_comes_again(&*broker, &held).await;
}

/// The server ends the consumer.
#[tokio::test]
async fn a_queue_is_removed_while_it_is_waited_for() {
    let scene = Scene::shared().await;
    let (worker, producer) = (scene.session().await, scene.session().await);
    producer.declare(&queue("q"), None).await.unwrap();
    let _hint = worker.wait(&[queue("q")]);
    assert!(claim(&*worker, "q").await.is_empty());
    let beside = scene.connection.create_channel().await.unwrap();
    let consume = beside.basic_consume(
        scene.name("work:q").into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut consumer = consume.await.unwrap();
    scene.behind.queue_delete(scene.name("work:q").into(), QueueDeleteOptions::default()).await.unwrap();
    // Made again at once, 3.10.8 hands its messages to those who consumed the old one, and none of them gets any.
    assert!(consumer.next().await.is_none(), "who consumes is told");
    let sent = async { while producer.enqueue(&[task("q")], None).await.is_err() {} };
    tokio::time::timeout(PATIENCE, sent).await.expect("the queue is made again");
    let again = claim_again(&*worker).await;
    let done = Settlement::new(again.lease, End::complete(Vec::new()));
    assert_eq!(settle(&*worker, &[done]).await, Ok(vec![Settled::Settled]));
}

/// It takes connections and bytes, and answers nobody.
#[tokio::test]
async fn a_server_stands_still() {
    let server = RabbitMq::start().unwrap();
    let broker = Scene::new(server.url()).await.session().await;
    let held = hold(&*broker).await;
    server.suspend().unwrap();
    // A worker stops what was not confirmed for so long.
    let patience = limits::LEASE * 2 / 3;
    let beaten =
        tokio::time::timeout(patience, broker.beat(&[held.lease.clone().into()], limits::LEASE)).await;
    let error = beaten.expect("it is noticed in time").unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.advice().is_some(), "{}", error.report());
    server.resume().unwrap();
    is_lost_and_comes_again(&*broker, &held).await;
}

/// Nothing of a connection that does not come about stays behind.
#[tokio::test]
async fn a_server_never_speaks() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("amqp://u:s3cret@127.0.0.1:{}", silent.local_addr().unwrap().port());
    let error = connect(&url.parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("did not let us connect in time"), "{}", error.report());
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.starts_with("lapin-io-loop")).count()
    };
    let ended = async {
        while threads() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the client's threads end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_killed_while_it_works() {
    let rounds = if std::env::var_os("MANYHANDS_TEST_LONG").is_some() { 20 } else { 1 };
    let mut server = RabbitMq::start().unwrap();
    let scene = Scene::new(server.url()).await;
    let broker = scene.session().await;
    broker.declare(&queue("q"), None).await.unwrap();
    until_noted(&server, &scene, &*broker, &["directory", "work:q", "dead:q"]).await;
    let load = Load::start(&scene).await;
    let mut longest = Duration::ZERO;
    for _ in 0..rounds {
        load.progress(50).await;
        server.kill().unwrap();
        server.restart().unwrap();
        let back = Instant::now();
        load.progress(1).await;
        longest = longest.max(back.elapsed());
    }
    let told = load.end().await;
    report(&format!(
        "killed {rounds} times: {longest:.1?} after it was back at most, {} again",
        told.again()
    ));
    assert_eq!(told.lost(), 0, "{:?}", told.errors);
}

#[expect(clippy::print_stdout, reason = "what is measured is the result")]
fn report(text: &str) {
    println!("{text}");
}
