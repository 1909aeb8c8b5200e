//! Calls that are the first to use a queue, all at once: one of them makes sure of it, and the others believe that one.

use futures_util::future::join_all;
use manyhands_test_support::relay::Relay;

use super::*;

/// How many calls are made at once.
const CALLS: u64 = 16;

/// What is sent to the server for so many calls at once, which enqueue one task each.
async fn said(broker: &dyn Broker, relay: &Relay, on: &str, calls: u64) -> u64 {
    let before = relay.stats().to_server;
    let tasks: Vec<_> = (0..calls).map(|_| [task(on)]).collect();
    for answer in join_all(tasks.iter().map(|task| broker.enqueue(task, None))).await {
        assert_eq!(answer.unwrap(), [Enqueued::Enqueued]);
    }
    relay.stats().to_server - before
}

#[tokio::test]
async fn first_calls_at_once_do_not_each_make_sure_of_the_queue() {
    let scene = Scene::shared().await;
    let relay = Relay::start(scene.url.rsplit_once(':').unwrap().1.parse().unwrap()).unwrap();
    let url = format!("{}?namespace={}", relay.url(&scene.url), scene.namespace);
    let broker = connect(&url.parse().unwrap()).await.unwrap();
    // Channels to publish on are made once, whatever the queue is.
    said(&*broker, &relay, "other", CALLS).await;
    let one = said(&*broker, &relay, "first", 1).await;
    let known = said(&*broker, &relay, "first", CALLS).await;
    let all = said(&*broker, &relay, "second", CALLS).await;
    let makes_sure = one - known / CALLS;
    assert!(
        all < known + 4 * makes_sure,
        "{CALLS} first calls say {all} bytes, {known} when the queue is known; one first call says {one}"
    );
}
