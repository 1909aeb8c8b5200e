//! What only the Redis broker does: a namespace that is removed under it, large tasks, a server without memory, one that evicts.

#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::{sync::Arc, time::Duration};

use manyhands_broker::{
    Beaten, Broker, Claim, End, Enqueued, ErrorKind, NewTask, Payload, QueueName, Settled, Settlement,
    TaskName, connect,
};
use manyhands_test_support::servers::Redis;

struct Server(Redis);

impl Server {
    fn start() -> Self {
        Self(Redis::options().clock().start().unwrap())
    }

    async fn session(&self) -> Arc<dyn Broker> {
        connect(&self.0.url().parse().unwrap()).await.unwrap()
    }

    /// Says something to the server as another client.
    async fn say(&self, words: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.0.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let (name, arguments) = words.split_first().unwrap();
        redis::cmd(name).arg(arguments).query_async(&mut connection).await.unwrap()
    }
}

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

fn task(bytes: usize) -> NewTask {
    let payload = Payload::from_json(&format!("\"{}\"", "x".repeat(bytes - 2))).unwrap();
    NewTask::new(queue(), TaskName::new("work").unwrap(), payload)
}

async fn enqueue(broker: &dyn Broker, tasks: &[NewTask]) {
    assert_eq!(broker.enqueue(tasks).await.unwrap(), vec![Enqueued::Enqueued; tasks.len()]);
}

/// Once, a script failed after it had taken the tasks: they were in no set, and their ids existed for ever.
#[tokio::test]
async fn a_namespace_that_is_removed_is_opened_again_and_nothing_after_it_is_lost() {
    let server = Server::start();
    let broker = server.session().await;
    enqueue(&*broker, &[task(9)]).await;
    server.say(&["FLUSHALL"]).await;
    enqueue(&*broker, &[task(9), task(9)]).await;
    let claim = Claim::new(queue(), 9);
    let error = broker.claim(&claim).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
    assert_eq!(broker.claim(&claim).await.unwrap().tasks.len(), 2, "the same call again");
}

/// A subscriber that is owed too much loses its connection, and with it a whole claim.
#[tokio::test]
async fn large_tasks_are_claimed_in_parts() {
    let server = Server::start();
    let broker = server.session().await;
    for _ in 0..10 {
        let ten: Vec<_> = (0..10).map(|_| task(400 * 1024)).collect();
        enqueue(&*broker, &ten).await;
    }
    let mut claims = Vec::new();
    loop {
        let tasks = broker.claim(&Claim::new(queue(), 100)).await.unwrap().tasks.len();
        if tasks == 0 {
            break;
        }
        claims.push(tasks);
    }
    assert_eq!(claims.iter().sum::<usize>(), 100);
    assert!(claims.iter().all(|tasks| *tasks <= 13), "{claims:?}");
}

/// A server that is full must still be told who lives and what is done, or it can never become empty again.
#[tokio::test]
async fn a_server_without_memory_refuses_producers_only() {
    let server = Server::start();
    let broker = server.session().await;
    enqueue(&*broker, &[task(9), task(9)]).await;
    let first = broker.claim(&Claim::new(queue(), 1)).await.unwrap().tasks.remove(0);
    server.say(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = broker.enqueue(&[task(9)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{}", error.report());
    let kept = broker.beat(std::slice::from_ref(&first.lease), Duration::from_secs(30)).await.unwrap();
    assert_eq!(kept, [Beaten::Kept]);
    let second = broker.claim(&Claim::new(queue(), 1)).await.unwrap().tasks.remove(0);
    for task in [first, second] {
        let end = End::complete(Vec::new());
        let settled = broker.settle(&[Settlement::new(task.lease, end)]).await.unwrap();
        assert_eq!(settled, [Settled::Settled]);
    }
}

#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    let server = Server::start();
    server.say(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let error = connect(&server.0.url().parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.report());
    assert!(error.to_string().contains("allkeys-lru"), "{error}");
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let server = Server::start();
    drop(server.session().await);
    server.say(&["HSET", "mh:{mh}", "oldest_writer", "2"]).await;
    let error = connect(&server.0.url().parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{}", error.report());
}

/// Whoever took over may have lost the last claims: epochs rise above all that were given before.
#[tokio::test]
async fn another_server_raises_the_epochs() {
    let server = Server::start();
    let broker = server.session().await;
    enqueue(&*broker, &[task(9), task(9)]).await;
    let before = broker.claim(&Claim::new(queue(), 1)).await.unwrap().tasks.remove(0).lease.epoch;
    // As a failover leaves it: the data is there, the run id is another.
    server.say(&["HSET", "mh:{mh}", "server", "another"]).await;
    let after =
        server.session().await.claim(&Claim::new(queue(), 1)).await.unwrap().tasks.remove(0).lease.epoch;
    assert!(after >= before + (1 << 20), "{after} after {before}");
}

/// The next call does not have to fail for the session to notice.
#[tokio::test]
async fn a_connection_that_the_server_closes_is_built_anew_without_an_error() {
    let server = Server::start();
    let broker = server.session().await;
    let hint = broker.wait(&[queue()]);
    server.say(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    tokio::time::timeout(Duration::from_secs(20), hint).await.expect("the loss is told to those who wait");
    enqueue(&*broker, &[task(9)]).await;
}

/// Another client removed what belongs to tasks: the others must not suffer.
#[tokio::test]
async fn tasks_without_a_body_are_dropped_and_the_others_go_on() {
    let server = Server::start();
    let broker = server.session().await;
    enqueue(&*broker, &[task(9), task(9)]).await;
    let lost = broker.claim(&Claim::new(queue(), 1)).await.unwrap().tasks.remove(0);
    server.say(&["DEL", "mh:{mh}:body:q"]).await;
    let other = task(9);
    enqueue(&*broker, std::slice::from_ref(&other)).await;
    let tasks = broker.claim(&Claim::new(queue(), 9)).await.unwrap().tasks;
    assert_eq!(tasks.iter().map(|task| &task.lease.id).collect::<Vec<_>>(), [&other.id]);
    let done = |lease| Settlement::new(lease, End::complete(Vec::new()));
    let settlements = [done(lost.lease), done(tasks[0].lease.clone())];
    assert_eq!(broker.settle(&settlements).await.unwrap(), [Settled::Lost, Settled::Settled]);
}

/// What a call costs the server: the commands that its script ran, and the call itself.
async fn commands<T>(server: &Server, call: impl Future<Output = T>) -> (T, u64) {
    server.say(&["CONFIG", "RESETSTAT"]).await;
    let answer = call.await;
    let redis::Value::BulkString(text) = server.say(&["INFO", "commandstats"]).await else {
        panic!("no statistics");
    };
    // What the test itself asked for is not the call's.
    let own = ["config", "info", "client", "hello", "select", "command", "ping"];
    let count = |line: &str| {
        let (name, numbers) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let numbers = numbers.split(',').next()?;
        (!own.iter().any(|own| name.starts_with(own))).then(|| numbers.parse::<u64>().unwrap())
    };
    (answer, String::from_utf8(text).unwrap().lines().filter_map(count).sum())
}

/// Each of these runs a thousand times a second.
#[tokio::test]
async fn the_usual_calls_take_few_commands() {
    let server = Server::start();
    let broker = server.session().await;
    enqueue(&*broker, &[task(9)]).await;
    let tasks: Vec<_> = (0..100).map(|_| task(9)).collect();
    let ((), enqueued) = commands(&server, enqueue(&*broker, &tasks)).await;
    let one_claim = Claim::new(queue(), 1);
    let (first, one) = commands(&server, broker.claim(&one_claim)).await;
    let claim = Claim::new(queue(), 100);
    let (claimed, hundred) = commands(&server, broker.claim(&claim)).await;
    let leases: Vec<_> = claimed.unwrap().tasks.into_iter().map(|task| task.lease).collect();
    assert_eq!(leases.len(), 100);
    let (empty, none) = commands(&server, broker.claim(&one_claim)).await;
    assert_eq!(empty.unwrap().tasks.len(), 0);
    let (beaten, beats) = commands(&server, broker.beat(&leases, Duration::from_secs(30))).await;
    assert_eq!(beaten.unwrap(), [Beaten::Kept; 100]);
    let done: Vec<_> =
        leases.into_iter().map(|lease| Settlement::new(lease, End::complete(Vec::new()))).collect();
    let (settled, completed) = commands(&server, broker.settle(&done)).await;
    assert_eq!(settled.unwrap(), [Settled::Settled; 100]);
    let lease = first.unwrap().tasks.remove(0).lease;
    let (settled, single) =
        commands(&server, broker.settle(&[Settlement::new(lease, End::complete(Vec::new()))])).await;
    assert_eq!(settled.unwrap(), [Settled::Settled]);
    let found = [enqueued, one, hundred, none, beats, completed, single];
    panic!("{found:?}");
}
