//! A RabbitMQ server that holds back what it owes: calls are answered, tasks are ready, a slot is free, and nothing is delivered. No session
//! can see that; the worker's watchdog does, has the session rebuilt, and the worker goes on by itself.

#![cfg(feature = "rabbitmq")]
#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use manyhands::{App, Context, Shutdown, Task, Worker};
use manyhands_broker::{Broker, NewTask, Payload, QueueName, TaskName, connect};
use manyhands_test_support::servers::RabbitMq;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// How long it may take until a task comes: the watchdog looks for half a minute before it believes what it sees.
const PATIENCE: Duration = Duration::from_secs(150);

/// How many tasks are sent at a time: more than the worker has slots. As many as it has asked for count as handed to it, though it gets none,
/// and only what is behind those counts as ready.
const TASKS: usize = 10;

/// How often the queue is removed at most, until the server holds something back.
const ROUNDS: u32 = 5;

/// Removes the queue of the server and makes it again, within milliseconds.
const REMAKE: &str = r#"
    Name = rabbit_misc:r(<<"/">>, queue, <<"mh:mh:work:default">>),
    {ok, Queue} = rabbit_amqqueue:lookup(Name),
    {ok, _} = rabbit_amqqueue:delete(Queue, false, false, <<"test">>),
    {new, _} = rabbit_amqqueue:declare(Name, true, false, amqqueue:get_arguments(Queue), none, <<"test">>).
"#;

#[derive(Serialize, Deserialize)]
struct Number(u32);

impl Task for Number {
    const NAME: &'static str = "number";
    type Output = ();
}

/// Counts how often the watchdog says that it has a session rebuilt.
#[derive(Default)]
struct Rebuilds(Arc<AtomicUsize>);

/// Whether the message of an event is the one.
struct IsOne(bool);

impl Visit for IsOne {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 |= field.name() == "message"
            && format!("{value:?}").contains("the session with the broker is rebuilt");
    }
}

impl Subscriber for Rebuilds {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().ends_with("watchdog")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut one = IsOne(false);
        event.record(&mut one);
        self.0.fetch_add(usize::from(one.0), Ordering::SeqCst);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn number(n: u32) -> NewTask {
    let (queue, name) = (QueueName::new("default").unwrap(), TaskName::new("number").unwrap());
    NewTask::new(queue, name, Payload::encode(&Number(n)).unwrap())
}

/// Sends tasks of this number until it works: the first call meets the queue without a way to it.
async fn send(producer: &dyn Broker, n: u32) {
    let tasks: Vec<_> = (0..TASKS).map(|_| number(n)).collect();
    while producer.enqueue(&tasks, None).await.is_err() {
        tokio::task::yield_now().await;
    }
}

/// Waits until so many of this number have run.
async fn until_ran(ran: &mut mpsc::UnboundedReceiver<u32>, n: u32) {
    let wait = async {
        let mut left = TASKS;
        while left > 0 {
            left -= usize::from(ran.recv().await.unwrap() == n);
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the worker goes on by itself");
}

/// An operator removes the queue and makes it again at once, as it was. 3.10 does not always tell its consumers, and then hands what comes
/// to the new queue to nobody until their connections end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_from_whom_the_server_holds_tasks_back_goes_on() {
    let rebuilds = Arc::new(AtomicUsize::new(0));
    tracing::subscriber::set_global_default(Rebuilds(Arc::clone(&rebuilds))).unwrap();
    let server = RabbitMq::start().unwrap();
    let url = server.url().parse().unwrap();
    let (broker, producer) = (connect(&url).await.unwrap(), connect(&url).await.unwrap());
    let (said, mut ran) = mpsc::unbounded_channel();
    let app = App::new().handle(move |Number(n), _: Context| {
        // Who listens has seen enough when the test ends.
        let _ = said.send(n);
        async { Ok(()) }
    });
    let worker = Worker::builder(broker).app(app).concurrency(2).build().unwrap();
    let shutdown = Shutdown::new();
    let stop = shutdown.clone();
    let running = tokio::spawn(async move { worker.run(&stop).await });
    send(&*producer, 0).await;
    until_ran(&mut ran, 0).await;
    for round in 1..=ROUNDS {
        tokio::task::block_in_place(|| server.operate(&["eval", REMAKE])).unwrap();
        send(&*producer, round).await;
        until_ran(&mut ran, round).await;
        if rebuilds.load(Ordering::SeqCst) > 0 {
            break;
        }
    }
    assert!(rebuilds.load(Ordering::SeqCst) > 0, "the server held nothing back in {ROUNDS} rounds");
    assert!(!running.is_finished(), "it is the same worker");
    shutdown.stop();
    running.await.unwrap().unwrap();
}
