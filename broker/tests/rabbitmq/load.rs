//! A producer and a worker that go on whatever happens to the servers, and what they were told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use manyhands_broker::{BrokerExt, TaskId};
use tokio::{sync::watch, task::JoinHandle};

use super::*;

/// How long anything may take. Only a session that does not heal takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many tasks wait at most.
const BACKLOG: usize = 200;

/// How long a call waits that is made again.
const PAUSE: Duration = Duration::from_millis(20);

/// What the two were told.
#[derive(Default)]
pub(crate) struct Told {
    /// Accepted tasks.
    pub(crate) accepted: BTreeSet<TaskId>,
    /// Settled tasks, each with how often: one that was doubled by an unknown outcome is settled twice.
    pub(crate) settled: BTreeMap<TaskId, usize>,
    /// Tasks whose settlement was asked for when a connection was lost: they may be settled though nobody heard of it.
    unheard: BTreeSet<TaskId>,
    /// Why calls failed, each with how often.
    pub(crate) errors: BTreeMap<String, usize>,
    /// The longest time between two settlements.
    pub(crate) stood: Duration,
}

impl Told {
    /// Accepted tasks that were never settled.
    pub(crate) fn lost(&self) -> usize {
        let known = |id: &&TaskId| self.settled.contains_key(id) || self.unheard.contains(id);
        self.accepted.iter().filter(|id| !known(id)).count()
    }

    /// How many settlements there are beyond one a task.
    pub(crate) fn again(&self) -> usize {
        self.settled.values().map(|times| times - 1).sum()
    }
}

struct Shared {
    told: Mutex<Told>,
    settled: watch::Sender<usize>,
    stop: watch::Sender<bool>,
    /// Nothing is left to be settled.
    over: watch::Sender<bool>,
}

/// The two, at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    session: Arc<dyn Broker>,
    producer: JoinHandle<()>,
    worker: JoinHandle<()>,
}

impl Load {
    pub(crate) async fn start(scene: &Scene) -> Self {
        let shared = Arc::new(Shared {
            told: Mutex::default(),
            settled: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            over: watch::Sender::new(false),
        });
        let (producer, worker) = (scene.session().await, scene.session().await);
        Self {
            producer: tokio::spawn(Arc::clone(&shared).produce(producer)),
            worker: tokio::spawn(Arc::clone(&shared).work(worker)),
            session: scene.session().await,
            shared,
        }
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.shared.told.lock().unwrap()
    }

    /// Waits until this many more were settled.
    pub(crate) async fn progress(&self, tasks: usize) {
        let mut settled = self.shared.settled.subscribe();
        let goal = *settled.borrow() + tasks;
        let reached = tokio::time::timeout(PATIENCE, settled.wait_for(|settled| *settled >= goal)).await;
        assert!(reached.is_ok(), "it does not go on: {:?}", self.told().errors);
    }

    /// Ends the producer, waits until nothing is unsettled, and tells what happened.
    pub(crate) async fn end(mut self) -> Told {
        self.shared.stop.send_replace(true);
        (&mut self.producer).await.unwrap();
        let limit = Instant::now() + PATIENCE;
        loop {
            match self.session.join(&queue("q"), Some(PATIENCE)).await {
                Ok(_) => break,
                // The server is away; that it is back is told to nobody.
                Err(error) if error.kind() == ErrorKind::Unavailable && Instant::now() < limit => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => panic!("{} {:?}", error.report(), self.told().errors),
            }
        }
        // It may not have read yet what it was told of the last ones.
        self.shared.over.send_replace(true);
        tokio::time::timeout(PATIENCE, &mut self.worker).await.unwrap().unwrap();
        std::mem::take(&mut *self.shared.told.lock().unwrap())
    }
}

impl Shared {
    /// Notes why a call failed that is to be made again, and waits a little.
    async fn failed(&self, error: manyhands_broker::Error) {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
        *self.told.lock().unwrap().errors.entry(error.report()).or_default() += 1;
        // That the server is back is told to nobody.
        tokio::time::sleep(PAUSE).await;
    }

    async fn produce(self: Arc<Self>, broker: Arc<dyn Broker>) {
        let mut settled = self.settled.subscribe();
        while !*self.stop.borrow() {
            let tasks: [_; 4] = std::array::from_fn(|_| task("q"));
            let answers = loop {
                match broker.enqueue(&tasks, None).await {
                    Ok(answers) => break answers,
                    Err(error) => self.failed(error).await,
                }
            };
            assert!(answers.iter().all(|answer| *answer == Enqueued::Enqueued), "{answers:?}");
            let waiting = {
                let mut told = self.told.lock().unwrap();
                told.accepted.extend(tasks.into_iter().map(|task| task.id));
                told.accepted.len().saturating_sub(told.settled.len())
            };
            if waiting > BACKLOG {
                let _ = tokio::time::timeout(PAUSE, settled.changed()).await;
            }
        }
    }

    async fn work(self: Arc<Self>, broker: Arc<dyn Broker>) {
        let claim = Claim::new(queue("q"), 8);
        let mut last = Instant::now();
        while !*self.over.borrow() {
            let hint = broker.wait(&[queue("q")]);
            let claimed = match broker.claim(&claim).await {
                Ok(reply) => reply.tasks,
                Err(error) => {
                    self.failed(error).await;
                    continue;
                }
            };
            if claimed.is_empty() {
                let _ = tokio::time::timeout(PAUSE, hint).await;
                continue;
            }
            let done = End::complete(Vec::new());
            let ends: Vec<_> =
                claimed.into_iter().map(|task| Settlement::new(task.lease, done.clone())).collect();
            let settled = loop {
                match broker.settle(&ends).await {
                    Ok(settled) => break settled,
                    Err(error) => {
                        self.told.lock().unwrap().unheard.extend(ends.iter().map(|end| end.lease.id.clone()));
                        self.failed(error).await;
                    }
                }
            };
            let count = {
                let mut told = self.told.lock().unwrap();
                told.stood = told.stood.max(last.elapsed());
                last = Instant::now();
                for (end, _) in ends.iter().zip(settled).filter(|(_, settled)| *settled == Settled::Settled) {
                    *told.settled.entry(end.lease.id.clone()).or_default() += 1;
                }
                told.settled.len()
            };
            // Who waits for it looks at what was told.
            self.settled.send_replace(count);
        }
    }
}
