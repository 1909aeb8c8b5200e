//! Outcomes that are told to who waits for them: what it costs, and what comes of it where it fails. What it means to who waits is in the conformance suite.

use manyhands_broker::{OutcomeWaiter, limits};
use manyhands_test_support::servers::Cluster;

use super::{contents::commands, *};

/// Tasks of which each has its own result, and those who wait for it.
fn awaited(broker: &dyn Broker, count: usize) -> (Vec<NewTask>, Vec<OutcomeWaiter>) {
    let tasks: Vec<_> = (0..count).map(|_| task(9).with_result(Wanted::Reply)).collect();
    let waiters = tasks.iter().map(|task| broker.wait_for_outcome(task).unwrap()).collect();
    (tasks, waiters)
}

/// Completes all that wait, with one call.
async fn complete(broker: &dyn Broker, result: impl Fn(usize) -> String) {
    let claimed = broker.claim(&Claim::new(queue(), limits::MAX_BATCH)).await.unwrap().tasks;
    let done = claimed.into_iter().enumerate().map(|(at, task)| {
        let result = Some(Payload::from_stored(result(at)));
        Settlement::new(task.lease, End::Complete { children: Vec::new(), result })
    });
    let done: Vec<_> = done.collect();
    assert_eq!(broker.settle(&done).await.unwrap(), vec![Settled::Settled; done.len()]);
}

fn done(result: &str) -> Outcome {
    Outcome::Done(Payload::from_stored(result.to_owned()))
}

async fn told(waiter: OutcomeWaiter) -> Option<Outcome> {
    tokio::time::timeout(Duration::from_secs(20), waiter).await.expect("nothing is told")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_told_and_does_not_ask() {
    let server = Server::start();
    let (a, b) = (server.session().await, server.session().await);
    let (tasks, waiters) = awaited(&*a, 100);
    enqueue(&*a, &tasks).await;
    complete(&*b, |at| at.to_string()).await;
    for (at, waiter) in waiters.into_iter().enumerate() {
        assert_eq!(told(waiter).await, Some(done(&at.to_string())));
    }
    // One after the other, as calls are: all that the server does for one, with the scripts known.
    let (_, commands) = commands(&server, async {
        let (tasks, waiters) = awaited(&*a, 1);
        let (task, waiter) = (&tasks[0], waiters.into_iter().next().unwrap());
        enqueue(&*a, &tasks).await;
        complete(&*b, |_| "7".to_owned()).await;
        let outcome = a.outcome_after(waiter, &queue(), &task.id, Duration::from_secs(20)).await;
        assert_eq!(outcome.unwrap(), done("7"));
    })
    .await;
    assert!(commands <= 43, "{commands} commands for a call");
}

#[tokio::test]
async fn nothing_is_told_to_who_does_not_wait() {
    let server = Server::start();
    let (a, b) = (server.session().await, server.session().await);
    enqueue(&*a, &[task(9).with_result(Wanted::Reply)]).await;
    let (tasks, waiters) = awaited(&*a, 1);
    drop(waiters);
    enqueue(&*a, &tasks).await;
    let bodies = server.say(&["HVALS", "mh:{mh}:body:q"]).await;
    let bodies: Vec<String> = redis::FromRedisValue::from_redis_value(bodies).unwrap();
    assert!(bodies.len() == 2 && bodies.iter().all(|body| !body.contains("reply")), "{bodies:?}");
    complete(&*b, |_| "7".to_owned()).await;
    assert_eq!(a.outcomes(&queue(), &[tasks[0].id.clone()]).await.unwrap(), [done("7")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_large_is_asked_for() {
    let server = Server::start();
    let (a, b) = (server.session().await, server.session().await);
    let (tasks, waiters) = awaited(&*a, limits::MAX_BATCH);
    enqueue(&*a, &tasks).await;
    // The last of what is told, and the first of what is not.
    let result = |at: usize| format!("\"{}\"", "x".repeat(4094 + at % 2));
    complete(&*b, result).await;
    for (at, waiter) in waiters.into_iter().enumerate() {
        assert_eq!(told(waiter).await, (at % 2 == 0).then(|| done(&result(at))));
        let outcomes = a.outcomes(&queue(), &[tasks[at].id.clone()]).await.unwrap();
        assert_eq!(outcomes, [done(&result(at))]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_cut_off_asks() {
    let server = Server::start();
    let (a, b) = (server.session().await, server.session().await);
    let (tasks, waiters) = awaited(&*a, 1);
    enqueue(&*a, &tasks).await;
    let (waiter, q) = (waiters.into_iter().next().unwrap(), queue());
    let waits = a.outcome_after(waiter, &q, &tasks[0].id, Duration::from_secs(60));
    let cut = async {
        server.cut().await;
        complete(&*b, |_| "7".to_owned()).await;
    };
    let (outcome, ()) = tokio::join!(waits, cut);
    assert_eq!(outcome.unwrap(), done("7"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_told_in_a_cluster() {
    let cluster = Cluster::start(3).unwrap();
    // Each on another server, so that news goes from one to another.
    for namespace in ["mh", "films", "books"] {
        let url = format!("{}?namespace={namespace}", cluster.url()).parse().unwrap();
        let (a, b) = (connect(&url).await.unwrap(), connect(&url).await.unwrap());
        let (tasks, waiters) = awaited(&*a, 3);
        enqueue(&*a, &tasks).await;
        complete(&*b, |_| "7".to_owned()).await;
        for waiter in waiters {
            assert_eq!(told(waiter).await, Some(done("7")), "in {namespace}");
        }
    }
}
