//! What is done to the server, and to what it stores, behind the sessions.

use super::*;

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

/// A server that is full must still be told who lives and what is done, or it can never become empty again.
#[tokio::test]
async fn a_server_without_memory_refuses_producers_only() {
    let server = Server::start();
    let broker = server.session().await;
    let tasks: Vec<_> = (0..9).map(|_| task(9)).collect();
    enqueue(&*broker, &tasks).await;
    let first = broker.claim(&Claim::new(queue(), 1)).await.unwrap().tasks.remove(0);
    server.say(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = broker.enqueue(&[task(9)], None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{}", error.report());
    assert!(error.to_string().contains("\"q\""), "the queue is named: {error}");
    let kept = broker.beat(&[first.lease.clone().into()], Duration::from_secs(30)).await.unwrap();
    assert_eq!(kept, [Beaten::Kept]);
    let others = broker.claim(&Claim::new(queue(), 6)).await.unwrap().tasks;
    let id = &tasks[5].id;
    assert_eq!(broker.cancel(&queue(), std::slice::from_ref(id)).await.unwrap(), [Cancel::Asked]);
    let error = || "no".to_owned();
    let ends = [
        End::complete(vec![task(9)]),
        End::Retry { error: error(), delay: Duration::from_secs(5) },
        End::Bury { error: error() },
        End::Release,
        End::Park,
        End::Release,
        End::Crash { error: error(), delay: Duration::from_secs(5) },
    ];
    // Each in a call of its own: each begins with a write that needs no memory.
    for (task, end) in std::iter::once(first).chain(others).zip(ends) {
        let settled = broker.settle(&[Settlement::new(task.lease, end)]).await.unwrap();
        assert_eq!(settled, [Settled::Settled]);
    }
    broker.pause(&queue(), "operator@host").await.unwrap();
    broker.resume(&queue()).await.unwrap();
    let id = &tasks[8].id;
    assert_eq!(broker.cancel(&queue(), std::slice::from_ref(id)).await.unwrap(), [Cancel::Cancelled]);
    let dead = broker.dead_letters().unwrap();
    let buried = dead.list(&queue(), None, 9).await.unwrap().remove(0).id;
    assert_eq!(dead.revive(&queue(), std::slice::from_ref(&buried)).await.unwrap(), [Revived::Revived]);
    let purged = dead.purge(&queue(), std::slice::from_ref(&buried)).await.unwrap();
    assert_eq!(purged, [false], "it is not dead any more");
    let other = QueueName::new("other").unwrap();
    broker.close(&other).await.unwrap();
    assert!(broker.status(&other).await.unwrap().unwrap().closed);
    let status = broker.status(&queue()).await.unwrap().unwrap();
    let counts = (status.ready, status.scheduled, status.leased, status.dead);
    assert_eq!(
        counts,
        (4, 3, 0, 0),
        "released, never claimed, a child and revived; retried, parked and crashed"
    );
    let waiting = [State::Ready, State::Scheduled, State::Held];
    assert_eq!(broker.lookup().unwrap().purge(&queue(), &waiting, 9).await.unwrap(), 7);
    server.say(&["CONFIG", "SET", "maxmemory", "0"]).await;
    enqueue(&*broker, &[task(9)]).await;
}

/// As an administrator does it, or a server that is started anew without its scripts.
#[tokio::test]
async fn scripts_that_the_server_forgot_are_told_again() {
    let server = Server::start();
    let broker = server.session().await;
    let forget = || server.say(&["SCRIPT", "FLUSH"]);
    forget().await;
    enqueue(&*broker, &[task(9), task(9)]).await;
    forget().await;
    let tasks = broker.claim(&Claim::new(queue(), 2)).await.unwrap().tasks;
    forget().await;
    let leases: Vec<_> = tasks.iter().map(|task| task.lease.clone()).collect();
    assert_eq!(
        broker.beat(&manyhands_broker::Beat::all(&leases), Duration::from_secs(30)).await.unwrap(),
        [Beaten::Kept; 2]
    );
    forget().await;
    let ends = [End::complete(vec![task(9)]), End::Bury { error: "no".to_owned() }];
    let ends: Vec<_> = leases.into_iter().zip(ends).map(|(lease, end)| Settlement::new(lease, end)).collect();
    assert_eq!(broker.settle(&ends).await.unwrap(), [Settled::Settled; 2]);
    forget().await;
    let status = broker.status(&queue()).await.unwrap().unwrap();
    assert_eq!((status.ready, status.leased, status.dead), (1, 0, 1));
}

/// Every call is made while the server cuts all connections. What is called again until it is answered loses no task and doubles no child.
#[tokio::test]
async fn sessions_that_are_killed_all_the_time_lose_and_double_nothing() {
    const TASKS: usize = 60;
    let server = Server::start();
    let broker = server.session().await;
    let out = QueueName::new("out").unwrap();
    let ids: Vec<_> = (0..TASKS).map(|n| TaskId::new(&format!("task-{n}")).unwrap()).collect();
    let tasks: Vec<_> = ids.iter().map(|id| task(9).with_id(id.clone())).collect();
    let mut kills = 0;
    macro_rules! until_answered {
        ($call:expr) => {
            loop {
                kills += 1;
                let (answer, ()) = tokio::join!($call, server.cut());
                match answer {
                    Ok(answer) => break answer,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report()),
                }
            }
        };
    }
    until_answered!(broker.enqueue(&tasks, None));
    let (mut clock, claim, q) = (Duration::ZERO, Claim::new(queue(), 5), queue());
    loop {
        let claimed = until_answered!(broker.claim(&claim)).tasks;
        if claimed.is_empty() {
            // What was claimed by a call whose answer was lost.
            clock += Duration::from_secs(31);
            server.0.set_clock(clock).unwrap();
        }
        for claimed in claimed {
            let end = End::complete(vec![task(9).on(out.clone())]);
            let settlement = [Settlement::new(claimed.lease, end)];
            until_answered!(broker.settle(&settlement));
        }
        let status = until_answered!(broker.status(&q)).unwrap();
        if status.unsettled() == 0 {
            break;
        }
    }
    let children = until_answered!(broker.status(&out)).unwrap().ready;
    assert_eq!(children, TASKS as u64, "one child a task");
    let answers = until_answered!(broker.enqueue(&tasks, None));
    assert_eq!(answers, vec![Enqueued::Exists; TASKS]);
    assert!(kills > TASKS, "{kills}");
}

#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    let server = Server::start();
    server.say(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let error = connect(&server.0.url().parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.report());
    assert!(error.to_string().contains("allkeys-lru"), "{error}");
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
    // It ran, and what ends a plain task is not in its body; to be tried again it would need that.
    let again = Settlement::new(
        lost.lease.clone(),
        End::Retry { error: "once more".to_owned(), delay: Duration::ZERO },
    );
    assert_eq!(broker.settle(&[again]).await.unwrap(), [Settled::Lost]);
    let settlements = [done(lost.lease), done(tasks[0].lease.clone())];
    assert_eq!(broker.settle(&settlements).await.unwrap(), [Settled::Settled; 2]);
}

#[tokio::test]
async fn a_paused_queue_is_paused_after_a_restart() {
    let mut server = Server(Redis::options().append_only().start().unwrap());
    let broker = server.session().await;
    enqueue(&*broker, &[task(9)]).await;
    broker.pause(&queue(), "operator@host").await.unwrap();
    server.say(&["CONFIG", "SET", "appendfsync", "always"]).await;
    server.0.restart().unwrap();
    let broker = server.session().await;
    let status = broker.status(&queue()).await.unwrap().unwrap();
    assert!(status.paused && status.ready == 1, "{status:?}");
    assert_eq!(status.pause.map(|pause| pause.by).as_deref(), Some("operator@host"));
    assert!(broker.claim(&Claim::new(queue(), 1)).await.unwrap().tasks.is_empty());
}
