//! A worker whose connection to RabbitMQ ends goes on with what it runs, although the server hands that out again.

#![cfg(feature = "rabbitmq")]
#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use manyhands::{App, Context, Ending, Observer, Running, Shutdown, Task, TaskError, Worker};
use manyhands_broker::{BrokerExt, NewTask, Payload, QueueName, Settled, TaskName, connect};
use manyhands_test_support::{
    relay::{Fault, Relay},
    servers::RabbitMq,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};

/// How long something may take that is on its way.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Long;

impl Task for Long {
    const NAME: &'static str = "long";
    type Output = ();
}

/// What the worker does, in order.
#[derive(Debug)]
struct Log(Mutex<mpsc::UnboundedSender<String>>);

impl Log {
    fn say(&self, what: String) {
        // Who listens may have seen enough.
        let _ = self.0.lock().unwrap().send(what);
    }
}

impl Observer for Log {
    fn started(&self, _: &Running<'_>) {
        self.say("started".to_owned());
    }

    fn ended(&self, _: &Running<'_>, ending: &Ending, _: Duration) {
        self.say(format!("{ending:?}"));
    }

    fn settled(&self, _: &Running<'_>, answer: Settled) {
        self.say(format!("{answer:?}"));
    }
}

async fn next(log: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::time::timeout(PATIENCE, log.recv()).await.expect("the worker goes on").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_still_runs_is_not_begun_again() {
    let server = RabbitMq::start().unwrap();
    let relay = Relay::start(server.port()).unwrap();
    let other = connect(&server.url().parse().unwrap()).await.unwrap();
    let broker = connect(&relay.url(&server.url()).parse().unwrap()).await.unwrap();
    let queue = QueueName::new("default").unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let pass = Arc::clone(&gate);
    let app = App::new().handle(move |_: Long, _: Context| {
        let pass = Arc::clone(&pass);
        async move {
            pass.acquire().await.map_err(|_| TaskError::retry("closed"))?.forget();
            Ok(())
        }
    });
    let (said, mut log) = mpsc::unbounded_channel();
    let worker = Worker::builder(broker).app(app).concurrency(2).observer(Arc::new(Log(Mutex::new(said))));
    let (worker, shutdown) = (worker.build().unwrap(), Shutdown::new());
    let stop = shutdown.clone();
    let running = tokio::spawn(async move { worker.run(&stop).await });
    let task = || NewTask::new(queue.clone(), TaskName::new("long").unwrap(), Payload::null());
    other.enqueue(&[task()], None).await.unwrap();
    assert_eq!(next(&mut log).await, "started");
    relay.set(Fault::Cut).unwrap();
    relay.heal().unwrap();
    // It is begun behind the one before, which was handed out again by then.
    other.enqueue(&[task()], None).await.unwrap();
    assert_eq!(next(&mut log).await, "started");
    gate.add_permits(2);
    let mut ends = [next(&mut log).await, next(&mut log).await, next(&mut log).await, next(&mut log).await];
    ends.sort();
    assert_eq!(ends, ["Completed", "Completed", "Settled", "Settled"], "two runs of two tasks");
    let status = other.join(&queue, Some(PATIENCE)).await.unwrap().unwrap();
    assert_eq!((status.unsettled(), status.dead), (0, 0));
    shutdown.stop();
    running.await.unwrap().unwrap();
}
