//! A producer and a worker that go on whatever happens to the server, and what they were told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use tokio::{sync::watch, task::JoinHandle};

use super::*;

/// How long anything may take. Only a session that does not heal takes that long.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many tasks wait at most.
const BACKLOG: usize = 200;

/// How long a lease lasts: what is lost is claimed again soon.
const LEASE: Duration = Duration::from_secs(3);

/// How long a call waits that is made again.
const PAUSE: Duration = Duration::from_millis(20);

/// What the two were told.
#[derive(Default)]
pub(crate) struct Told {
    /// Accepted tasks, and when.
    pub(crate) accepted: Vec<(TaskId, Instant)>,
    pub(crate) claimed: Vec<(TaskId, u64)>,
    pub(crate) settled: Vec<(TaskId, u64)>,
    /// Why calls failed, each with how often.
    pub(crate) errors: BTreeMap<String, usize>,
    /// The longest time between two calls that were accepted.
    pub(crate) stood: Duration,
}

impl Told {
    /// Epochs only grow: those of each task, and, as the worker's session goes from server to server, their generations.
    pub(crate) fn check(&self) {
        let mut last: BTreeMap<&TaskId, u64> = BTreeMap::new();
        let mut generation = 0;
        for (id, epoch) in &self.claimed {
            assert!(
                last.insert(id, *epoch).is_none_or(|last| last < *epoch),
                "{id} has the epoch {epoch} twice"
            );
            assert!(generation <= epoch >> 20, "the generation {} after {generation}", epoch >> 20);
            generation = epoch >> 20;
        }
        let fenced: BTreeSet<_> = self.settled.iter().collect();
        assert_eq!(fenced.len(), self.settled.len(), "none is settled twice under one epoch");
    }

    /// How many generations the epochs are of.
    pub(crate) fn generations(&self) -> usize {
        self.claimed.iter().map(|(_, epoch)| epoch >> 20).collect::<BTreeSet<_>>().len()
    }

    /// How many of those that were accepted were never said to be settled. Where an answer was lost with the server, they may be.
    pub(crate) fn unsettled(&self) -> usize {
        let settled: BTreeSet<_> = self.settled.iter().map(|(id, _)| id).collect();
        self.accepted.iter().filter(|(id, _)| !settled.contains(id)).count()
    }

    /// What was accepted and never ran, by when it was accepted.
    pub(crate) fn lost(&self) -> Vec<Instant> {
        let ran: BTreeSet<_> = self.claimed.iter().map(|(id, _)| id).collect();
        let lost = self.accepted.iter().filter(|(id, _)| !ran.contains(id));
        lost.map(|(_, accepted)| *accepted).collect()
    }

    /// How many settlements there are beyond one a task.
    pub(crate) fn again(&self) -> usize {
        self.settled.len() - self.settled.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len()
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
    pub(crate) async fn start(url: &str) -> Self {
        let shared = Shared {
            told: Mutex::default(),
            settled: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            over: watch::Sender::new(false),
        };
        let shared = Arc::new(shared);
        let open = || async { connect(&url.parse().unwrap()).await.unwrap() };
        let (producer, worker) = (open().await, open().await);
        Self {
            producer: tokio::spawn(Arc::clone(&shared).produce(producer)),
            worker: tokio::spawn(Arc::clone(&shared).work(worker)),
            session: open().await,
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

    /// Waits until epochs are of more than these many generations: the worker's session goes on with another server.
    pub(crate) async fn beyond(&self, generations: usize) {
        let mut settled = self.shared.settled.subscribe();
        let another = settled.wait_for(|_| self.told().generations() > generations);
        let came = tokio::time::timeout(PATIENCE, another).await.is_ok();
        assert!(came, "it goes on with no other server: {:?}", self.told().errors);
    }

    /// Ends the producer, waits until nothing is unsettled, and tells what happened.
    pub(crate) async fn end(self) -> Told {
        self.shared.stop.send_replace(true);
        self.producer.await.unwrap();
        let limit = Instant::now() + PATIENCE;
        loop {
            match self.session.join(&queue(), Some(PATIENCE)).await {
                Ok(_) => break,
                // The server is away; that it is back is told to nobody.
                Err(error) if error.kind() == ErrorKind::Unavailable && Instant::now() < limit => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => panic!("{} {:?}", error.report(), self.shared.told.lock().unwrap().errors),
            }
        }
        // It may not have read yet what it was told of the last ones.
        self.shared.over.send_replace(true);
        tokio::time::timeout(PATIENCE, self.worker).await.expect("the worker goes on").unwrap();
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
        let (mut last, mut settled) = (Instant::now(), self.settled.subscribe());
        while !*self.stop.borrow() {
            let tasks: [_; 4] = std::array::from_fn(|_| task(9));
            let token = Token::next(broker.incarnation());
            let answers = loop {
                match broker.enqueue(&tasks, Some(token)).await {
                    Ok(answers) => break answers,
                    Err(error) => self.failed(error).await,
                }
            };
            assert!(
                answers.iter().all(|answer| matches!(answer, Enqueued::Enqueued | Enqueued::Exists)),
                "{answers:?}"
            );
            let waiting = {
                let (now, mut told) = (Instant::now(), self.told.lock().unwrap());
                told.stood = told.stood.max(now - last);
                last = now;
                told.accepted.extend(tasks.into_iter().map(|task| (task.id, now)));
                told.accepted.len().saturating_sub(told.settled.len())
            };
            if waiting > BACKLOG {
                // What was lost with a server waits for ever: then this only slows down.
                let _ = tokio::time::timeout(PAUSE, settled.changed()).await;
            }
        }
    }

    async fn work(self: Arc<Self>, broker: Arc<dyn Broker>) {
        let claim = Claim::new(queue(), 8).with_lease(LEASE);
        while !*self.over.borrow() {
            let hint = broker.wait(&[queue()]);
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
            let leases: Vec<_> = claimed.into_iter().map(|task| task.lease).collect();
            let fences: Vec<_> = leases.iter().map(|lease| (lease.id.clone(), lease.epoch)).collect();
            self.told.lock().unwrap().claimed.extend(fences.clone());
            let ends: Vec<_> =
                leases.into_iter().map(|lease| Settlement::new(lease, End::complete(Vec::new()))).collect();
            let settled = loop {
                match broker.settle(&ends).await {
                    Ok(settled) => break settled,
                    Err(error) => self.failed(error).await,
                }
            };
            let settled = fences.into_iter().zip(settled).filter(|(_, settled)| *settled == Settled::Settled);
            let settled = {
                let mut told = self.told.lock().unwrap();
                told.settled.extend(settled.map(|(fence, _)| fence));
                told.settled.len()
            };
            // Who waits for it looks at what was told.
            self.settled.send_replace(settled);
        }
    }
}
