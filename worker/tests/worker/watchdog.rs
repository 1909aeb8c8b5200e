//! A session that answers and hands nothing out: it is rebuilt, and in the end its worker ends. Time passes as fast as it can here: whenever
//! nothing else is to be done, the next timer is due.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use manyhands_broker::{
    Beat, Beaten, Broker, Capabilities, Claim, ClaimReply, Enqueued, Error, ErrorKind, Incarnation, Interest,
    LimitKey, NewTask, Outcome, QueueName, QueueOptions, QueueStatus, Result, Settled, Settlement, Start,
    TaskId, Token, Waiter, Workers,
};
use manyhands_worker::{App, Context};
use tokio::sync::watch;

use crate::support::{Bench, Job, Step, claim, job, new, queue, start};

/// Much longer than it takes until a worker ends that gets nothing.
const LONG: Duration = Duration::from_secs(1800);

/// What a claim gets that gets no task.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// An answer with nothing in it.
    Nothing,
    /// No answer, and an error when the session is rebuilt.
    Silence,
}

/// A session that hands nothing out before it was rebuilt so many times.
#[derive(Debug)]
struct Wedged {
    inner: Arc<dyn Broker>,
    manner: Manner,
    wanted: u32,
    rebuilt: watch::Sender<u32>,
}

impl Wedged {
    fn new(inner: Arc<dyn Broker>, manner: Manner, wanted: u32) -> Arc<Self> {
        Arc::new(Self { inner, manner, wanted, rebuilt: watch::Sender::new(0) })
    }

    fn rebuilt(&self) -> u32 {
        *self.rebuilt.borrow()
    }
}

#[async_trait]
impl Broker for Wedged {
    fn backend(&self) -> &'static str {
        self.inner.backend()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn incarnation(&self) -> Incarnation {
        self.inner.incarnation()
    }

    async fn declare(&self, queue: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        self.inner.declare(queue, options).await
    }

    async fn enqueue(&self, tasks: &[NewTask], token: Option<Token>) -> Result<Vec<Enqueued>> {
        self.inner.enqueue(tasks, token).await
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReply> {
        if self.rebuilt() >= self.wanted {
            return self.inner.claim(claim).await;
        }
        match self.manner {
            Manner::Nothing => Ok(ClaimReply::default()),
            Manner::Silence => {
                let _ = self.rebuilt.subscribe().changed().await;
                Err(Error::new(ErrorKind::Unavailable, "claim", "the session was rebuilt"))
            }
        }
    }

    async fn beat(&self, beats: &[Beat], lease: Duration) -> Result<Vec<Beaten>> {
        self.inner.beat(beats, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.inner.settle(settlements).await
    }

    async fn close(&self, queue: &QueueName) -> Result<()> {
        self.inner.close(queue).await
    }

    async fn status(&self, queue: &QueueName) -> Result<Option<QueueStatus>> {
        self.inner.status(queue).await
    }

    async fn max_run(&self) -> Result<Option<Duration>> {
        self.inner.max_run().await
    }

    async fn outcomes(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Outcome>> {
        self.inner.outcomes(queue, ids).await
    }

    fn workers(&self) -> Option<&dyn Workers> {
        self.inner.workers()
    }

    fn wait_for(&self, interest: Interest, queues: &[QueueName]) -> Waiter {
        self.inner.wait_for(interest, queues)
    }

    async fn withdraw(&self) -> Result<()> {
        self.inner.withdraw().await
    }

    async fn rebuild(&self) {
        self.rebuilt.send_modify(|rebuilt| *rebuilt += 1);
    }
}

fn jobs() -> App {
    App::new().handle(async |Job(_), _: Context| Ok(()))
}

/// Jobs that never end.
fn endless() -> App {
    App::new().handle(async |Job(_), _: Context| std::future::pending().await)
}

async fn helps(manner: Manner, rebuilds: u32) {
    let bench = Bench::new();
    let session = Wedged::new(bench.session(), manner, rebuilds);
    bench.send([job(1)]).await;
    let mut worker = start(session.clone(), jobs(), |builder| builder);
    let mut rebuilt = session.rebuilt.subscribe();
    rebuilt.wait_for(|times| *times == rebuilds).await.unwrap();
    assert_eq!(worker.settled().await.0, "1");
    // Time stands still but for this: that something does not happen is no event that could be awaited.
    tokio::time::sleep(LONG).await;
    assert_eq!(session.rebuilt(), rebuilds, "all is well since then");
    worker.stop().await;
}

async fn does_not_help(manner: Manner) {
    let bench = Bench::new();
    let session = Wedged::new(bench.session(), manner, u32::MAX);
    bench.send([job(1)]).await;
    let mut worker = start(session.clone(), jobs(), |builder| builder);
    let mut rebuilt = session.rebuilt.subscribe();
    rebuilt.wait_for(|times| *times == 3).await.unwrap();
    assert!(worker.is_running());
    let error = worker.end().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "so that the program ends with 3");
    assert!(error.to_string().contains("\"jobs\"") && error.advice().is_some(), "{}", error.report());
    assert_eq!(session.rebuilt(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_hands_nothing_out_is_rebuilt() {
    helps(Manner::Nothing, 1).await;
    helps(Manner::Nothing, 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_does_not_answer_is_rebuilt() {
    helps(Manner::Silence, 1).await;
    helps(Manner::Silence, 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_gets_nothing_after_three_rebuilds_ends() {
    does_not_help(Manner::Nothing).await;
    does_not_help(Manner::Silence).await;
}

/// One queue gets its tasks, another does not: that is as bad.
#[tokio::test(start_paused = true)]
async fn every_queue_is_watched_on_its_own() {
    let bench = Bench::new();
    bench.send([job(1).on(queue("first")), job(2).on(queue("second"))]).await;
    let session = Wedged::new(bench.session(), Manner::Nothing, 1);
    let queues = vec![(queue("empty"), 1), (queue("first"), 1), (queue("second"), 1)];
    let mut worker = start(session.clone(), jobs(), |builder| builder.queues(queues).concurrency(2));
    session.rebuilt.subscribe().wait_for(|times| *times == 1).await.unwrap();
    let (one, other) = (worker.settled().await.0, worker.settled().await.0);
    assert!(one != other, "both came");
    worker.stop().await;
}

/// Lets a worker wait in front of tasks that it rightly does not get, for long.
async fn waits(bench: &Bench, app: App, queues: &[&str], slots: usize) {
    let session = Wedged::new(bench.session(), Manner::Nothing, 0);
    let queues = queues.iter().map(|name| (queue(name), 1)).collect();
    let worker = start(session.clone(), app, |builder| {
        builder.queues(queues).concurrency(slots).grace(Duration::ZERO)
    });
    // Time stands still but for this: that something does not happen is no event that could be awaited.
    tokio::time::sleep(LONG).await;
    assert!(worker.is_running());
    assert_eq!(session.rebuilt(), 0);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_paused_or_has_nothing_to_claim_now_is_no_reason() {
    let bench = Bench::new();
    bench.send([job(1)]).await;
    bench.broker.pause(&queue("jobs"), "a test").await.unwrap();
    bench.send([job(2).on(queue("later")).with_start(Start::After(Duration::from_secs(3600)))]).await;
    bench.close("closed").await;
    waits(&bench, jobs(), &["jobs", "later", "closed", "missing"], 5).await;
    assert_eq!(bench.counts("jobs").await, [1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn slots_that_are_taken_are_no_reason() {
    let bench = Bench::new();
    bench.send((1..=5).map(job)).await;
    waits(&bench, endless(), &["jobs"], 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_for_keys_is_no_reason() {
    let bench = Bench::new();
    let options = QueueOptions::default().with_key_limit(1);
    bench.broker.declare(&queue("jobs"), Some(&options)).await.unwrap();
    bench.send((1..=5).map(|n| job(n).with_key(LimitKey::new("host").unwrap()))).await;
    waits(&bench, endless(), &["jobs"], 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_full_behind_this_one_is_no_reason() {
    let bench = Bench::new();
    let options = QueueOptions::default().with_capacity(1);
    bench.broker.declare(&queue("steps"), Some(&options)).await.unwrap();
    bench.send([new(Step(1), 1), job(2)]).await;
    waits(&bench, jobs().feeds("jobs", "steps"), &["jobs"], 3).await;
    assert_eq!(bench.counts("jobs").await, [1, 0, 0, 0]);
}

/// This worker is never idle, so it does not get it.
#[tokio::test(start_paused = true)]
async fn a_task_that_must_run_alone_is_no_reason() {
    let bench = Bench::new();
    bench.send([job(1).on(queue("suspects"))]).await;
    for _ in 0..2 {
        let session = bench.process();
        assert_eq!(claim(&*session, "suspects", 1).await.len(), 1);
    }
    bench.send([job(2)]).await;
    // The queue that is named first is asked first, and its job never ends.
    waits(&bench, endless(), &["jobs", "suspects"], 3).await;
    assert_eq!(bench.counts("suspects").await, [1, 0, 0, 0]);
}
