//! Tasks that are sent ahead: what it costs, when it is done, and what comes of it where it fails. What it means to who claims is in the conformance suite.

use std::collections::BTreeSet;

use manyhands_test_support::relay::{Fault, Relay};

use super::{contents::commands, *};

/// A session that waits for tasks of a queue that is there, with room for some.
async fn waiting(broker: &dyn Broker) -> manyhands_broker::Waiter {
    broker.declare(&queue(), None).await.unwrap();
    let interest = broker.wait_for(Interest::Ready, &[queue()]);
    assert!(claim(broker).await.tasks.is_empty());
    interest
}

async fn claim(broker: &dyn Broker) -> manyhands_broker::ClaimReply {
    broker.claim(&Claim::new(queue(), 3)).await.unwrap()
}

/// Cuts the connections of one session, and no other one.
async fn cut_off(server: &Server, broker: &dyn Broker) {
    let clients = server.say(&["CLIENT", "LIST"]).await;
    let clients: String = redis::FromRedisValue::from_redis_value(clients).unwrap();
    let of = |line: &&str| line.contains(&format!("{}", broker.incarnation()));
    let ids: Vec<_> = clients.lines().filter(of).map(|line| line.split([' ', '=']).nth(1).unwrap()).collect();
    assert!(!ids.is_empty(), "{clients}");
    for id in ids {
        server.say(&["CLIENT", "KILL", "ID", id]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_gets_what_comes_without_asking() {
    let server = Server::start();
    let (a, b) = (server.session().await, server.session().await);
    // The first call brings the script there.
    enqueue(&*b, &[task(9).on(QueueName::new("other").unwrap())]).await;
    let interest = waiting(&*a).await;
    let ((), sent) = commands(&server, async {
        enqueue(&*b, &[task(9)]).await;
        interest.await;
    })
    .await;
    let (reply, asked) = commands(&server, claim(&*a)).await;
    assert_eq!((reply.tasks.len(), asked), (1, 0), "a claim of what is here already");
    assert!(reply.leased.is_some() && reply.next == Some(Duration::ZERO), "{reply:?}");
    assert!(sent <= 19, "{sent} commands to enqueue and send");
    let lease = reply.tasks[0].lease.clone();
    assert!(claim(&*b).await.tasks.is_empty());
    assert_eq!(
        a.beat(&Beat::all(std::slice::from_ref(&lease)), Duration::from_secs(30)).await.unwrap(),
        [Beaten::Kept]
    );
    let interest = a.wait_for(Interest::Ready, &[queue()]);
    let done = [Settlement::new(lease, End::complete(Vec::new()))];
    assert_eq!(a.settle(&done).await.unwrap(), [Settled::Settled]);
    // It has room again, and was not asked whether it has.
    enqueue(&*b, &[task(9)]).await;
    interest.await;
    let (reply, asked) = commands(&server, claim(&*a)).await;
    assert_eq!((reply.tasks.len(), asked), (1, 0), "a claim of what is here already");
}

#[tokio::test]
async fn a_result_is_wanted_of_what_is_sent_ahead() {
    let server = Server::start();
    let (a, b) = (server.session().await, server.session().await);
    let interest = waiting(&*a).await;
    let wanted = task(9).with_result(Wanted::Keep(Duration::from_secs(60)));
    let id = wanted.id.clone();
    enqueue(&*b, &[wanted]).await;
    interest.await;
    let reply = claim(&*a).await;
    assert!(reply.leased.is_some() && reply.tasks[0].result_wanted, "{reply:?}");
    let result = Payload::encode(&7).unwrap();
    let done = End::Complete { children: Vec::new(), result: Some(result.clone()) };
    let lease = reply.tasks[0].lease.clone();
    assert_eq!(a.settle(&[Settlement::new(lease, done)]).await.unwrap(), [Settled::Settled]);
    assert_eq!(b.outcomes(&queue(), &[id]).await.unwrap(), [Outcome::Done(result)]);
}

#[tokio::test]
async fn what_is_not_plain_or_not_alone_is_for_all() {
    let server = Server::start();
    let (a, b) = (server.session().await, server.session().await);
    for tasks in [vec![task(9), task(9)], vec![task(9).with_expires(Duration::from_secs(60))]] {
        let _interest = waiting(&*a).await;
        enqueue(&*b, &tasks).await;
        let reply = claim(&*b).await;
        assert_eq!((reply.tasks.len(), reply.leased), (tasks.len(), None));
        for task in reply.tasks {
            let done = Settlement::new(task.lease, End::complete(Vec::new()));
            assert_eq!(b.settle(&[done]).await.unwrap(), [Settled::Settled]);
        }
    }
}

#[tokio::test]
async fn who_is_gone_is_sent_nothing() {
    let server = Server::start();
    let (a, b) = (server.session().await, server.session().await);
    let _interest = waiting(&*a).await;
    cut_off(&server, &*a).await;
    enqueue(&*b, &[task(9)]).await;
    let reply = claim(&*b).await;
    assert_eq!((reply.tasks.len(), reply.leased), (1, None));
    // The other one is there again, and is served as before.
    let interest = waiting(&*a).await;
    enqueue(&*b, &[task(9)]).await;
    interest.await;
    assert!(claim(&*a).await.leased.is_some());
}

/// A connection that is given up lives on while a call waits over it, and the server sends to it, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_two_connections_gets_it_once() {
    let server = Server::start();
    let relay = Relay::start(server.0.port()).unwrap();
    let url = relay.url(&server.0.url()).parse().unwrap();
    let (a, b) = (connect(&url).await.unwrap(), server.session().await);
    let mut interest = waiting(&*a).await;
    relay.set(Fault::Unheard).unwrap();
    let call = |a: &Arc<dyn Broker>| {
        let a = Arc::clone(a);
        tokio::spawn(async move { a.status(&queue()).await })
    };
    let first = call(&a);
    // A call gives up after a time, and the second one later than the first: time is what is needed between them, and nothing happens in it to be awaited.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let second = call(&a);
    assert_eq!(first.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    let mut got = BTreeSet::new();
    for number in 0..20 {
        assert!(claim(&*a).await.tasks.is_empty(), "one came twice");
        enqueue(&*b, &[task(9)]).await;
        interest.await;
        let tasks = claim(&*a).await.tasks;
        assert_eq!(tasks.len(), 1, "after {number}");
        assert!(got.insert(tasks[0].lease.id.clone()), "it came twice: {:?}", tasks[0].lease);
        interest = a.wait_for(Interest::Ready, &[queue()]);
        let done = Settlement::new(tasks[0].lease.clone(), End::complete(Vec::new()));
        assert_eq!(a.settle(&[done]).await.unwrap(), [Settled::Settled]);
    }
    relay.heal().unwrap();
    let _ = second.await.unwrap();
}

/// A script is not stopped in its middle, so the first that it writes must need memory.
#[tokio::test]
async fn a_full_server_sends_nothing() {
    let server = Server::start();
    let (a, b) = (server.session().await, server.session().await);
    enqueue(&*b, &[task(9)]).await;
    assert_eq!(claim(&*a).await.tasks.len(), 1);
    server.say(&["CONFIG", "SET", "maxmemory", "1"]).await;
    // Claims go on, and leave room as ever.
    let _interest = waiting(&*a).await;
    let error = b.enqueue(&[task(9)], None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    server.say(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert!(claim(&*a).await.tasks.is_empty());
    let status = b.status(&queue()).await.unwrap().unwrap();
    assert_eq!((status.ready, status.leased), (0, 1));
}

#[tokio::test]
async fn credit_is_forgotten_with_who_has_it() {
    let server = Server::start();
    let a = server.session().await;
    let _interest = waiting(&*a).await;
    let left = server.say(&["PTTL", "mh:{mh}:credit:q"]).await;
    let left: i64 = redis::FromRedisValue::from_redis_value(left).unwrap();
    assert!((1..=3000).contains(&left), "{left}");
    a.withdraw().await.unwrap();
    assert_eq!(server.say(&["EXISTS", "mh:{mh}:credit:q"]).await, redis::Value::Int(0));
}
