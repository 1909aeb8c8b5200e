//! How much is asked of the server, and what is left on it.

use super::*;

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

/// What a call costs the server: the commands that its script ran, and the call itself.
pub(super) async fn commands<T>(server: &Server, call: impl Future<Output = T>) -> (T, u64) {
    server.say(&["CONFIG", "RESETSTAT"]).await;
    let answer = call.await;
    let told = server.say(&["INFO", "commandstats"]).await;
    let text: String = redis::FromRedisValue::from_redis_value(told).unwrap();
    // What the test itself asked for is not the call's.
    let own = ["config", "info", "client", "hello", "select", "command", "ping"];
    let count = |line: &str| {
        let (name, numbers) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let numbers = numbers.split(',').next()?;
        (!own.iter().any(|own| name.starts_with(own))).then(|| numbers.parse::<u64>().unwrap())
    };
    (answer, text.lines().filter_map(count).sum())
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
    let (beaten, beats) =
        commands(&server, broker.beat(&manyhands_broker::Beat::all(&leases), Duration::from_secs(30))).await;
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
    // A new option of tasks must not cost those that have none. A hundred are enqueued, claimed and completed by a few commands together.
    // Those that make a table of a list are among them.
    let most = [13, 15, 23, 8, 8, 10, 8];
    assert!(found.iter().zip(most).all(|(found, most)| *found <= most), "{found:?}, at most {most:?}");
}

/// What the options of tasks cost besides: so many commands for each of a hundred.
#[tokio::test]
async fn options_of_tasks_cost_a_few_commands_each() {
    let server = Server::start();
    let broker = server.session().await;
    broker.declare(&queue(), Some(&QueueOptions::default().with_key_limit(1))).await.unwrap();
    let batch = BatchName::new("b").unwrap();
    let key = |n: usize| LimitKey::new(&format!("key {n}")).unwrap();
    // Half of them are held.
    let keyed: Vec<_> = (0..100).map(|n| task(9).with_key(key(n / 2))).collect();
    let ((), enqueued) = commands(&server, enqueue(&*broker, &keyed)).await;
    let claim = Claim::new(queue(), 100);
    let (claimed, hundred) = commands(&server, broker.claim(&claim)).await;
    let tasks = claimed.unwrap().tasks;
    assert_eq!(tasks.len(), 50);
    let beats: Vec<_> = tasks
        .iter()
        .map(|task| Beat { lease: task.lease.clone(), progress: Some(Payload::encode(&7).unwrap()) })
        .collect();
    let (_, told) = commands(&server, broker.beat(&beats, Duration::from_secs(30))).await;
    let done: Vec<_> =
        tasks.into_iter().map(|task| Settlement::new(task.lease, End::complete(Vec::new()))).collect();
    let (_, settled) = commands(&server, broker.settle(&done)).await;
    let member = |_| task(9).on(QueueName::new("other").unwrap()).in_batch(batch.clone());
    let members: Vec<_> = (0..100).map(member).collect();
    let ((), batched) = commands(&server, enqueue(&*broker, &members)).await;
    let token = Some(Token::next(broker.incarnation()));
    let plain: Vec<_> = (0..100).map(|_| task(9).on(QueueName::new("plain").unwrap())).collect();
    let (_, first) = commands(&server, broker.enqueue(&plain, token)).await;
    let (_, again) = commands(&server, broker.enqueue(&plain, token)).await;
    let found = [enqueued, hundred, told, settled, batched, first, again];
    let most = [810, 518, 304, 812, 414, 17, 3];
    assert!(found.iter().zip(most).all(|(found, most)| *found <= most), "{found:?}, at most {most:?}");
}

/// Many whose results are wanted end by a few commands together, with all that is kept of them.
#[tokio::test]
async fn results_cost_a_few_commands_together() {
    let server = Server::start();
    let broker = server.session().await;
    let kept = Wanted::Keep(Duration::from_secs(60));
    let wanted = |n: usize| {
        let task = task(9).with_result(kept);
        // With an id of its own, it is remembered; without a limit of attempts.
        if n.is_multiple_of(2) {
            task.with_id(TaskId::new(&format!("given-{n}")).unwrap())
        } else {
            task.with_max_attempts(1)
        }
    };
    let tasks: Vec<_> = (0..100).map(wanted).collect();
    let ids: Vec<_> = tasks.iter().map(|task| task.id.clone()).collect();
    let ((), enqueued) = commands(&server, enqueue(&*broker, &tasks)).await;
    let (claimed, hundred) = commands(&server, broker.claim(&Claim::new(queue(), 100))).await;
    let tasks = claimed.unwrap().tasks;
    let result = |n: usize| Some(Payload::encode(&n).unwrap());
    let done: Vec<_> = tasks
        .into_iter()
        .enumerate()
        .map(|(n, task)| {
            Settlement::new(task.lease, End::Complete { children: Vec::new(), result: result(n) })
        })
        .collect();
    // One of them is of a lease that is not held.
    let mut others = done.clone();
    others[50].lease.epoch += 1;
    let (settled, completed) = commands(&server, broker.settle(&others)).await;
    let expected: Vec<_> = (0..100).map(|n| if n == 50 { Settled::Lost } else { Settled::Settled }).collect();
    assert_eq!(settled.unwrap(), expected);
    let (outcomes, asked) = commands(&server, broker.outcomes(&queue(), &ids)).await;
    let expected: Vec<_> = (0..100)
        .map(|n| {
            if n == 50 {
                Outcome::Pending { progress: None }
            } else {
                Outcome::Done(Payload::encode(&n).unwrap())
            }
        })
        .collect();
    assert_eq!(outcomes.unwrap(), expected);
    assert_eq!(broker.settle(&done[50..51]).await.unwrap(), [Settled::Settled]);
    assert_eq!(broker.settle(&done).await.unwrap(), [Settled::Lost; 100]);
    let again = broker.enqueue(&[wanted(50)], None).await.unwrap();
    assert_eq!(again, [Enqueued::Exists], "a given id is remembered");
    let found = [enqueued, hundred, completed, asked];
    let most = [15, 25, 26, 110];
    assert!(found.iter().zip(most).all(|(found, most)| *found <= most), "{found:?}, at most {most:?}");
}

/// A list cannot let go of what is in its middle: what stays there must be neither handed out nor counted.
#[tokio::test]
async fn what_leaves_a_list_is_not_counted_and_may_come_again() {
    let server = Server::start();
    let broker = server.session().await;
    let (named, all) = (|id: &TaskId| task(9).with_id(id.clone()), 0..700);
    let ids: Vec<_> = all.map(|n| TaskId::new(&n.to_string()).unwrap()).collect();
    let forgetful = QueueOptions::default().with_remember_ids(Duration::ZERO);
    for order in [Order::Fifo, Order::Lifo] {
        broker.declare(&queue(), Some(&forgetful.clone().with_order(order))).await.unwrap();
        for ids in ids.chunks(200) {
            enqueue(&*broker, &ids.iter().map(named).collect::<Vec<_>>()).await;
        }
        // Twice: there may be two ghosts of one id.
        for again in [&ids[1..699], &ids[3..5], &ids[3..5]] {
            for ids in again.chunks(200) {
                let cancelled = broker.cancel(&queue(), ids).await.unwrap();
                assert_eq!(cancelled, vec![Cancel::Cancelled; ids.len()]);
            }
            assert_eq!(broker.status(&queue()).await.unwrap().unwrap().ready, 2, "{order}");
            enqueue(&*broker, &[named(&ids[3]), named(&ids[4])]).await;
        }
        let mut found = Vec::new();
        while broker.status(&queue()).await.unwrap().unwrap().ready > 0 {
            let reply = broker.claim(&Claim::new(queue(), 3)).await.unwrap();
            // More ghosts than one claim looks at: it says that there is more.
            let all = reply.tasks.len() == 3 || found.len() + reply.tasks.len() == 4;
            assert!(all || reply.next == Some(Duration::ZERO), "{reply:?}");
            found.extend(reply.tasks);
        }
        let wanted = match order {
            Order::Lifo => ["4", "3", "699", "0"],
            _ => ["0", "699", "3", "4"],
        };
        let names: Vec<_> = found.iter().map(|task| task.lease.id.to_string()).collect();
        assert_eq!(names, wanted, "{order}");
        let done = found.into_iter().map(|task| Settlement::new(task.lease, End::complete(Vec::new())));
        broker.settle(&done.collect::<Vec<_>>()).await.unwrap();
        // For the other order, and without what is configured.
        server.say(&["FLUSHALL"]).await;
        broker.claim(&Claim::new(queue(), 1)).await.unwrap_err();
    }
}

/// A reply that is too large for one costs more than one call, not the connection.
#[tokio::test]
async fn large_results_and_dead_tasks_are_told_in_parts() {
    let server = Server::start();
    let broker = server.session().await;
    let large = task(900 * 1024).payload;
    let mut ids = Vec::new();
    for _ in 0..20 {
        let keep = task(900 * 1024).with_result(Wanted::Keep(Duration::from_secs(60)));
        enqueue(&*broker, &[keep.clone(), task(900 * 1024)]).await;
        let tasks = broker.claim(&Claim::new(queue(), 2)).await.unwrap().tasks;
        let ends = [
            End::Complete { children: Vec::new(), result: Some(large.clone()) },
            End::Bury { error: "no".to_owned() },
        ];
        let ends: Vec<_> =
            tasks.into_iter().zip(ends).map(|(task, end)| Settlement::new(task.lease, end)).collect();
        broker.settle(&ends).await.unwrap();
        ids.push(keep.id);
    }
    assert_eq!(broker.outcomes(&queue(), &ids).await.unwrap(), vec![Outcome::Done(large.clone()); 20]);
    let dead = broker.dead_letters().unwrap().list(&queue(), None, 19).await.unwrap();
    assert_eq!(dead.len(), 19);
    assert!(dead.iter().all(|task| task.payload == large));
}

/// What is kept for a time is let go of although the queue is told nothing new.
#[tokio::test]
async fn what_is_over_leaves_nothing_behind() {
    let server = Server::start();
    let broker = server.session().await;
    let seconds = Duration::from_secs;
    let options = QueueOptions::default().with_remember_ids(seconds(100));
    broker.declare(&queue(), Some(&options)).await.unwrap();
    let full = |id: &str| {
        task(9)
            .with_id(TaskId::new(id).unwrap())
            .with_unique(Unique::and_for(id, seconds(200)).unwrap())
            .with_result(Wanted::Keep(seconds(300)))
            .with_expires(seconds(10))
    };
    let later = full("scheduled").with_start(Start::After(seconds(5)));
    enqueue(&*broker, &[full("completed"), full("released"), full("lapsed"), full("cancelled"), later]).await;
    let ids = ["cancelled", "scheduled"].map(|id| TaskId::new(id).unwrap());
    assert_eq!(broker.cancel(&queue(), &ids).await.unwrap(), [Cancel::Cancelled; 2]);
    let claimed = broker.claim(&Claim::new(queue(), 2)).await.unwrap().tasks;
    let ends = [End::complete(Vec::new()), End::Release];
    let ends: Vec<_> =
        claimed.into_iter().zip(ends).map(|(task, end)| Settlement::new(task.lease, end)).collect();
    broker.settle(&ends).await.unwrap();
    server.0.set_clock(seconds(11)).unwrap();
    let task = broker.claim(&Claim::new(queue(), 9)).await.unwrap().tasks.remove(0);
    broker.settle(&[Settlement::new(task.lease, End::Bury { error: "no".to_owned() })]).await.unwrap();
    let dead = broker.dead_letters().unwrap();
    let ids = ["lapsed", "released"].map(|id| TaskId::new(id).unwrap());
    assert_eq!(dead.purge(&queue(), &ids).await.unwrap(), [true, true]);
    // A claim in each of these times.
    for after in [120, 230, 400] {
        server.0.set_clock(seconds(after)).unwrap();
        broker.claim(&Claim::new(queue(), 9)).await.unwrap();
    }
    let left: Vec<String> =
        redis::FromRedisValue::from_redis_value(server.say(&["KEYS", "*"]).await).unwrap();
    let left: std::collections::BTreeSet<_> = left.into_iter().collect();
    assert_eq!(left.iter().map(String::as_str).collect::<Vec<_>>(), ["mh:{mh}", "mh:{mh}:info:q"]);
}

async fn keys(server: &Server) -> Vec<String> {
    let mut keys: Vec<String> =
        redis::FromRedisValue::from_redis_value(server.say(&["KEYS", "*"]).await).unwrap();
    keys.sort();
    keys
}

async fn count(server: &Server, words: &[&str]) -> u64 {
    redis::FromRedisValue::from_redis_value(server.say(words).await).unwrap()
}

/// The answers of calls, limits and batches end too.
#[tokio::test]
async fn what_calls_keys_and_batches_need_leaves_nothing_behind() {
    let server = Server::start();
    let broker = server.session().await;
    let seconds = Duration::from_secs;
    let options = QueueOptions::default().with_key_limit(1).with_key_interval(seconds(5));
    broker.declare(&queue(), Some(&options)).await.unwrap();
    let full = |n: usize| {
        let unique = Unique::in_batch(&format!("seen {n}")).unwrap();
        task(9)
            .with_key(LimitKey::new("k").unwrap())
            .in_batch(BatchName::new("b").unwrap())
            .with_unique(unique)
    };
    let tasks: Vec<_> = (0..3).map(full).collect();
    let token = Some(Token::next(broker.incarnation()));
    broker.enqueue(&tasks, token).await.unwrap();
    let calls = format!("mh:{{mh}}:calls:{}", broker.incarnation());
    assert_eq!(count(&server, &["EXISTS", &calls]).await, 1);
    for round in 0..3 {
        server.0.set_clock(seconds(6 * round)).unwrap();
        let task = broker.claim(&Claim::new(queue(), 9)).await.unwrap().tasks.remove(0);
        broker.settle(&[Settlement::new(task.lease, End::complete(Vec::new()))]).await.unwrap();
    }
    for after in [120, 700, 4000, 4100] {
        server.0.set_clock(seconds(after)).unwrap();
        broker.claim(&Claim::new(queue(), 9)).await.unwrap();
    }
    assert_eq!(count(&server, &["EXISTS", &calls]).await, 0);
    assert_eq!(keys(&server).await, ["mh:{mh}", "mh:{mh}:info:q"]);
}

/// The keys of a batch can be a million, which no script drops at once: they are free from its end on, and go bit by bit, past those of
/// batches that go on.
#[tokio::test]
async fn keys_of_ended_batches_are_swept_in_steps() {
    let server = Server::start();
    let broker = server.session().await;
    let member = |name: &str, key: String| {
        task(9).in_batch(BatchName::new(name).unwrap()).with_unique(Unique::in_batch(&key).unwrap())
    };
    let settle_all = async || {
        loop {
            let tasks = broker.claim(&Claim::new(queue(), 256)).await.unwrap().tasks;
            if tasks.is_empty() {
                return;
            }
            let done = tasks.into_iter().map(|task| Settlement::new(task.lease, End::complete(Vec::new())));
            broker.settle(&done.collect::<Vec<_>>()).await.unwrap();
        }
    };
    // Batches that go on, begun before and after the one that ends: each has a key of a settled task, and a task that waits.
    let later = Start::After(Duration::from_secs(1_000_000));
    let goes_on = async |name: &str| {
        let tasks = [member(name, format!("{name}1")), member(name, format!("{name}2")).with_start(later)];
        enqueue(&*broker, &tasks).await;
    };
    for number in 0..12 {
        goes_on(&format!("before{number}")).await;
    }
    let anchor = member("ends", "anchor".to_owned()).with_start(Start::After(Duration::from_secs(100)));
    enqueue(&*broker, &[anchor]).await;
    for part in 0..4 {
        let keys = (0..200).map(|n| member("ends", format!("{}", 200 * part + n)));
        enqueue(&*broker, &keys.collect::<Vec<_>>()).await;
    }
    goes_on("after").await;
    settle_all().await;
    assert_eq!(count(&server, &["ZCARD", "mh:{mh}:seen:q"]).await, 813);
    server.0.set_clock(Duration::from_secs(101)).unwrap();
    settle_all().await;
    let again = member("again", "7".to_owned());
    enqueue(&*broker, std::slice::from_ref(&again)).await;
    let held = broker.enqueue(&[member("again", "after1".to_owned())], None).await.unwrap();
    assert!(matches!(held[..], [Enqueued::Duplicate(_)]), "a key of a batch that goes on: {held:?}");
    // Paused, so that it only does what every claim does besides.
    broker.pause(&queue(), "operator@host").await.unwrap();
    let mut left = count(&server, &["ZCARD", "mh:{mh}:seen:q"]).await;
    for round in 2..20 {
        server.0.set_clock(Duration::from_secs(100 * round)).unwrap();
        broker.claim(&Claim::new(queue(), 1)).await.unwrap();
        let now = count(&server, &["ZCARD", "mh:{mh}:seen:q"]).await;
        assert!(left - now <= 256, "{left} to {now} in one step");
        left = now;
    }
    assert_eq!(left, 13, "those of the batches that go on");
    let held = broker.enqueue(&[member("ends", "7".to_owned())], None).await.unwrap();
    assert_eq!(held, [Enqueued::Duplicate(again.id)], "what was taken again is not swept");
    assert!(broker.fsck().unwrap().fsck(false).await.unwrap().is_clean());
}

/// A settlement makes no idle worker ask for tasks, and a new task nobody ask for outcomes.
#[tokio::test]
async fn nobody_is_woken_in_vain() {
    let server = Server::start();
    let (broker, other) = (server.session().await, server.session().await);
    let elsewhere = QueueName::new("elsewhere").unwrap();
    enqueue(&*broker, &[task(9)]).await;
    let claimed = broker.claim(&Claim::new(queue(), 1)).await.unwrap().tasks.remove(0);
    let mut claims = other.wait_for(Interest::Ready, &[queue()]);
    broker.settle(&[Settlement::new(claimed.lease, End::complete(Vec::new()))]).await.unwrap();
    let last = other.wait(std::slice::from_ref(&elsewhere));
    enqueue(&*broker, &[task(9).on(elsewhere)]).await;
    // It comes after all that was told before.
    last.await;
    assert!(
        (&mut claims).now_or_never().is_none(),
        "neither a settlement nor another queue's task is ready here"
    );
    let outcomes = other.wait_for(Interest::Settled, &[queue()]);
    enqueue(&*broker, &[task(9)]).await;
    claims.await;
    assert!(outcomes.now_or_never().is_none(), "a ready task is no outcome");
}
