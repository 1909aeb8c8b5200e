//! What the tests share: a queue, a worker that is watched, and tasks.

mod flaky;
mod gate;
mod world;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use manyhands_broker::{
    Broker, Claim, ClaimedTask, End, Enqueued, Guard, NewTask, QueueName, Result, Settled, Settlement,
    TaskId,
    backends::memory::{
        MemoryBroker,
        adversary::{Adversary, Manners},
    },
};
use manyhands_worker::{App, Ending, Observer, Running, Shutdown, Summary, Task, Worker, WorkerBuilder};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, task::JoinHandle};

pub(crate) use self::{
    flaky::{AWAY, Flaky, Mode},
    gate::{Gate, Gauge, OnDrop, gated, listen},
    world::{Named, World, on_both},
};

/// How long an event is waited for. Only a broken worker takes that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A task for an async handler, on the queue `jobs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job(pub(crate) u32);

impl Task for Job {
    const NAME: &'static str = "job";
    const QUEUE: &'static str = "jobs";
    type Output = ();
}

/// A task for a blocking handler, on the queue `sums`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum(pub(crate) u32);

impl Task for Sum {
    const NAME: &'static str = "sum";
    const QUEUE: &'static str = "sums";
    type Output = ();
}

/// What follows from a job, on the queue `steps`, which most workers here do not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step(pub(crate) u32);

impl Task for Step {
    const NAME: &'static str = "step";
    const QUEUE: &'static str = "steps";
    type Output = ();
}

/// A task whose id is its number.
pub(crate) fn new<T: Task>(task: T, id: u32) -> NewTask {
    NewTask::of(&task).unwrap().with_id(TaskId::new(&id.to_string()).unwrap())
}

pub(crate) fn job(number: u32) -> NewTask {
    new(Job(number), number)
}

pub(crate) fn sum(number: u32) -> NewTask {
    new(Sum(number), number)
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

/// Waits for what must happen.
pub(crate) async fn soon<F: Future>(what: &str, event: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(output) => output,
        Err(_) => panic!("after {PATIENCE:?} still not: {what}"),
    }
}

/// Lets everybody go on who can: on the one thread of a test's runtime, all of them are asked before this returns.
pub(crate) async fn let_others_run() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// A queue in memory, and a session with it that belongs to the test.
#[derive(Debug)]
pub(crate) struct Bench {
    memory: MemoryBroker,
    world: World,
    pub(crate) broker: Arc<dyn Broker>,
}

impl Bench {
    /// For tests that assert what an adversary may change.
    pub(crate) fn new() -> Self {
        World::Well.bench()
    }

    /// A session for a worker, as the test's world is.
    pub(crate) fn session(&self) -> Arc<dyn Broker> {
        match self.world {
            World::Well => self.process(),
            World::Adversarial(seed) => self.adversary(Manners::TIRESOME, seed).1,
        }
    }

    /// Another process, to which the broker is always well; dropping it is its death.
    pub(crate) fn process(&self) -> Arc<dyn Broker> {
        Arc::new(Guard::new(self.memory.session()))
    }

    /// A session that does what it may: for the test to give it orders, and for a worker.
    pub(crate) fn adversary(&self, manners: Manners, seed: u64) -> (Adversary, Arc<dyn Broker>) {
        let adversary = Adversary::session_of(&self.memory, manners, seed);
        (adversary.clone(), Arc::new(Guard::new(adversary)))
    }

    /// A session for a worker that fails on command.
    pub(crate) fn flaky(&self) -> Arc<Flaky> {
        Arc::new(Flaky::new(self.session()))
    }

    /// Enqueues tasks that must all be accepted.
    pub(crate) async fn send(&self, tasks: impl IntoIterator<Item = NewTask>) {
        let tasks: Vec<_> = tasks.into_iter().collect();
        let answers = self.broker.enqueue(&tasks, None).await.unwrap();
        assert!(answers.iter().all(|answer| *answer == Enqueued::Enqueued), "enqueue answered {answers:?}");
    }

    /// Ready, scheduled, leased, dead; all 0 where there is no such queue.
    pub(crate) async fn counts(&self, name: &str) -> [u64; 4] {
        self.memory.check().unwrap();
        let status = self.broker.status(&queue(name)).await.unwrap();
        status.map_or([0; 4], |status| [status.ready, status.scheduled, status.leased, status.dead])
    }

    /// Waits until a queue has so many ready, scheduled, leased and dead tasks.
    pub(crate) async fn until(&self, name: &str, counts: [u64; 4]) {
        let stands = async {
            loop {
                let changed = self.broker.wait(&[queue(name)]);
                if self.counts(name).await == counts {
                    return;
                }
                // A claim rings for nobody, so the hint alone is not enough.
                let _ = tokio::time::timeout(Duration::from_millis(5), changed).await;
            }
        };
        soon(&format!("{name} has {counts:?} ready, scheduled, leased, dead tasks"), stands).await;
    }

    /// Makes whoever waits look again, as nothing tells of a clock that was moved.
    pub(crate) async fn ring(&self) {
        self.close("bell").await;
    }

    pub(crate) async fn close(&self, name: &str) {
        self.broker.close(&queue(name)).await.unwrap();
    }
}

/// Claims up to `max` tasks for a process where nothing runs.
pub(crate) async fn claim(broker: &dyn Broker, name: &str, max: usize) -> Vec<ClaimedTask> {
    broker.claim(&Claim::new(queue(name), max)).await.unwrap().tasks
}

/// Claims the one task that must be there.
pub(crate) async fn claim_one(broker: &dyn Broker, name: &str) -> ClaimedTask {
    let tasks = claim(broker, name, 1).await;
    tasks.into_iter().next().unwrap_or_else(|| panic!("nothing to claim on {name}"))
}

pub(crate) async fn complete(broker: &dyn Broker, task: &ClaimedTask, children: Vec<NewTask>) -> Settled {
    let settlement = Settlement::new(task.lease.clone(), End::complete(children));
    broker.settle(&[settlement]).await.unwrap()[0]
}

/// What a worker did, and with which task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Started(String),
    Ended(String, Ending),
    Settled(String, Settled),
}

/// Sends events; told on the worker's threads.
#[derive(Debug)]
struct Watcher(mpsc::UnboundedSender<Event>);

impl Watcher {
    fn tell(&self, event: impl FnOnce(String) -> Event, run: &Running<'_>) {
        // Nobody listens any more once a test is over.
        let _ = self.0.send(event(run.task.lease.id.to_string()));
    }
}

impl Observer for Watcher {
    fn started(&self, run: &Running<'_>) {
        self.tell(Event::Started, run);
    }

    fn ended(&self, run: &Running<'_>, ending: &Ending, _took: Duration) {
        self.tell(|id| Event::Ended(id, ending.clone()), run);
    }

    fn settled(&self, run: &Running<'_>, answer: Settled) {
        self.tell(|id| Event::Settled(id, answer), run);
    }
}

/// A worker that runs.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) shutdown: Shutdown,
    events: mpsc::UnboundedReceiver<Event>,
    running: JoinHandle<Result<Summary>>,
    /// Outlives the worker: its end is not the death of its process.
    _broker: Arc<dyn Broker>,
}

/// Starts a worker on a session.
pub(crate) fn start(
    broker: Arc<dyn Broker>,
    app: App,
    describe: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
) -> Started {
    let (sender, events) = mpsc::unbounded_channel();
    let builder = Worker::builder(Arc::clone(&broker)).app(app).observer(Arc::new(Watcher(sender)));
    let worker = describe(builder).build().unwrap();
    let shutdown = Shutdown::new();
    let order = shutdown.clone();
    let running = tokio::spawn(async move { worker.run(&order).await });
    Started { shutdown, events, running, _broker: broker }
}

impl Started {
    /// The next event.
    pub(crate) async fn event(&mut self) -> Event {
        soon("another event of the worker", self.events.recv()).await.unwrap()
    }

    /// Skips events until one is what is looked for.
    async fn next<T>(&mut self, what: &str, find: impl Fn(Event) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = find(self.events.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        soon(what, found).await
    }

    /// The next task that is started.
    pub(crate) async fn started(&mut self) -> String {
        let started = |event| if let Event::Started(id) = event { Some(id) } else { None };
        self.next("a handler starts", started).await
    }

    /// The next run that ended.
    pub(crate) async fn ended(&mut self) -> (String, Ending) {
        let ended = |event| if let Event::Ended(id, ending) = event { Some((id, ending)) } else { None };
        self.next("a handler ends", ended).await
    }

    /// The next answer to a settlement.
    pub(crate) async fn settled(&mut self) -> (String, Settled) {
        let settled = |event| if let Event::Settled(id, answer) = event { Some((id, answer)) } else { None };
        self.next("a task is settled", settled).await
    }

    /// The events that there are already.
    pub(crate) fn so_far(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.running.is_finished()
    }

    /// Waits for the worker's own end.
    pub(crate) async fn end(&mut self) -> Result<Summary> {
        soon("the worker ends", &mut self.running).await.unwrap()
    }

    /// Tells the worker to stop and waits until it did, with everything settled.
    pub(crate) async fn stop(mut self) {
        self.shutdown.stop();
        assert_eq!(self.end().await.unwrap().strays, 0, "handlers that did not stop");
    }
}

/// Collects what handlers say.
#[derive(Clone, Debug)]
pub(crate) struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T: Clone> Log<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn add(&self, entry: T) {
        self.0.lock().unwrap().push(entry);
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }
}
