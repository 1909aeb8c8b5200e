//! A task that runs for long, among many that do not: those after it are acknowledged many at a time all the same, on another channel.

use manyhands_broker::{ClaimedTask, Interest, Lease};

use super::*;

/// More than may be acknowledged one by one, and than the server sends ahead.
const OTHERS: usize = 3000;

/// A task that is held, and many that came after it and are settled.
async fn hold_one_of_many(broker: &dyn Broker) -> Lease {
    for _ in 0..OTHERS / limits::MAX_BATCH {
        let tasks: Vec<_> = (0..limits::MAX_BATCH).map(|_| task("q")).collect();
        broker.enqueue(&tasks, None).await.unwrap();
    }
    let mut tasks = claim_some(broker, 100).await;
    let held = tasks.remove(0).lease;
    let mut left = OTHERS / limits::MAX_BATCH * limits::MAX_BATCH - 1;
    loop {
        // What is on its way to a consumer that ends, the server takes back, and counts. From two on a task must run alone, which it could
        // not before the slow one has ended.
        assert!(tasks.iter().all(|task| task.deaths < 2 && !task.alone), "{tasks:?}");
        left -= tasks.len();
        let ends: Vec<_> = tasks.into_iter().map(|task| done(task.lease)).collect();
        assert_eq!(settle(broker, &ends).await, Ok(vec![Settled::Settled; ends.len()]));
        if left == 0 {
            break;
        }
        tasks = claim_some(broker, 100).await;
    }
    assert_eq!(broker.status(&queue("q")).await.unwrap().unwrap().unsettled(), 1);
    held
}

fn done(lease: Lease) -> Settlement {
    Settlement::new(lease, End::complete(Vec::new()))
}

/// Waits for tasks as a worker does.
async fn claim_some(broker: &dyn Broker, max: usize) -> Vec<ClaimedTask> {
    let some = async {
        loop {
            let hint = broker.wait_for(Interest::Ready, &[queue("q")]);
            match broker.claim(&Claim::new(queue("q"), max)).await {
                Ok(reply) if !reply.tasks.is_empty() => return reply.tasks,
                Ok(_) => hint.await,
                // Its connections ended.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report()),
            }
        }
    };
    tokio::time::timeout(PATIENCE, some).await.expect("a task comes")
}

/// What the server says of each channel: how many deliveries are not acknowledged, and how many consume.
fn channels(server: &RabbitMq) -> Vec<(u32, u32)> {
    let said = server.ask(&["list_channels", "messages_unacknowledged", "consumer_count"]).unwrap();
    let rows = said.lines().filter_map(|row| row.split_once('\t'));
    rows.filter_map(|(open, consumers)| Some((open.parse().ok()?, consumers.trim().parse().ok()?))).collect()
}

#[tokio::test]
async fn nobody_consumes_where_a_slow_task_is_open() {
    let server = RabbitMq::start().unwrap();
    let broker = Scene::new(server.url()).await.session().await;
    let held = hold_one_of_many(&*broker).await;
    let open: Vec<_> = channels(&server).into_iter().filter(|(open, _)| *open > 0).collect();
    assert_eq!(open, [(1, 0)]);
    let several = channels(&server).len();
    assert_eq!(broker.beat(&[held.clone().into()], limits::LEASE).await.unwrap(), [Beaten::Kept]);
    let parent = [Settlement::new(held, End::complete(vec![task("child")]))];
    assert_eq!(settle(&*broker, &parent).await, Ok(vec![Settled::Settled]));
    assert_eq!(settle(&*broker, &parent).await, Ok(vec![Settled::Lost]));
    assert_eq!(broker.status(&queue("child")).await.unwrap().unwrap().ready, 1);
    assert_eq!(broker.status(&queue("q")).await.unwrap().unwrap().unsettled(), 0);
    let closed = tokio::task::spawn_blocking(move || while channels(&server).len() >= several {});
    tokio::time::timeout(PATIENCE, closed).await.expect("it is closed").unwrap();
}

/// What follows is as with one that is lost otherwise.
#[tokio::test]
async fn a_slow_task_is_handed_back() {
    let broker = Scene::shared().await.session().await;
    let held = hold_one_of_many(&*broker).await;
    let release = Settlement::new(held.clone(), End::Release);
    assert_eq!(settle(&*broker, &[release]).await, Ok(vec![Settled::Settled]));
    let again = claim_some(&*broker, 1).await.remove(0).lease;
    assert_eq!((&again.id, again.epoch), (&held.id, held.epoch + 1));
    assert_eq!(settle(&*broker, &[done(held)]).await, Ok(vec![Settled::Lost]));
    assert_eq!(settle(&*broker, &[done(again)]).await, Ok(vec![Settled::Settled]));
}

/// The server ends the channel on which it was delivered, where nobody consumes any more.
#[tokio::test]
async fn a_slow_task_runs_for_longer_than_the_server_allows() {
    if !bounds_runs() {
        return; // As ours say on newer servers: for as long as it takes.
    }
    let server = RabbitMq::options().config("consumer_timeout = 10000").start().unwrap();
    // How often the channels are looked at.
    server.operate(&["eval", "application:set_env(rabbit, channel_tick_interval, 500)."]).unwrap();
    let broker = Scene::new(server.url()).await.session().await;
    let held = hold_one_of_many(&*broker).await;
    let beat = [held.clone().into()];
    let lost = async {
        while broker.beat(&beat, limits::LEASE).await.is_ok_and(|beaten| beaten == [Beaten::Kept]) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, lost).await.expect("the server takes it away");
    let again = claim_some(&*broker, 1).await.remove(0).lease;
    assert_eq!(again.id, held.id);
    assert_ne!(again, held);
    assert_eq!(settle(&*broker, &[done(held)]).await, Ok(vec![Settled::Lost]));
    assert_eq!(settle(&*broker, &[done(again)]).await, Ok(vec![Settled::Settled]));
}
