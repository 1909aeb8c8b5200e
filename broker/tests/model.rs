//! Random histories of operations, run on the machine alone and on a real broker: both must agree in everything
//! that anybody can see.
//!
//! The machine is the reference. A broker's incarnations are its own, so the machine is told those of the real
//! sessions; everything else, the epochs among it, must come out the same by itself. After each step every
//! queue must stand as the machine's, with the same dead; after the last one the outcomes of all ids are asked for, all ids
//! and keys are enqueued again, all dead are revived and all tasks are claimed, so that what is stored but was not asked for
//! yet is compared too.
//!
//! `MANYHANDS_TEST_LONG` set: twenty times as many histories. Histories that failed once are kept in
//! `model.proptest-regressions` beside this file and tried first.

#![allow(clippy::unwrap_used, reason = "a test's helper may fail the test")]

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, SystemTime},
};

use manyhands_broker::{
    Broker, Claim, DeadLetters, End, ErrorKind, Guard, Incarnation, Lease, Namespace, NewTask, Order,
    Payload, QueueName, QueueOptions, QueueStatus, Settlement, Start, TaskId, TaskName, Unique, Wanted,
    backends::{
        local::{LocalBroker, LocalConfig},
        memory::MemoryBroker,
        redis::{RedisBroker, RedisConfig},
    },
    clock::{Clock, ManualClock, Now},
    machine::Machine,
};
use manyhands_test_support::servers::Redis;
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::Index,
    test_runner::{Config, FileFailurePersistence, TestRunner},
};

#[test]
fn memory_agrees_with_the_machine() {
    compare(200, Store::memory);
}

#[test]
fn local_agrees_with_the_machine() {
    compare(40, Store::local);
}

#[test]
fn redis_agrees_with_the_machine() {
    let server = Arc::new(Redis::options().clock().start().unwrap());
    compare(40, |clock| Store::redis(Arc::clone(&server), clock));
}

/// How long a death may go unnoticed. Only a broken broker takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

const SESSIONS: usize = 3;
const QUEUES: [&str; 2] = ["a", "b"];
const KEYS: [&str; 2] = ["k", "l"];
/// The ids that users give; one of them is stored in another way than the others.
const IDS: [&str; 5] = ["1", "2", "3", "4", "0198c0de-0000-7000-8000-000000000001"];

// What happens in a history.

#[derive(Clone, Debug)]
enum Op {
    Enqueue { session: usize, tasks: Vec<TaskSpec> },
    Declare { session: usize, queue: usize, options: Option<usize> },
    Claim { session: usize, queue: usize, max: usize, idle: bool, feeds: Vec<usize>, lease: u64 },
    Beat { session: usize, leases: Vec<Earlier>, lease: u64 },
    Settle { session: usize, ends: Vec<(Earlier, EndSpec)> },
    Close { session: usize, queue: usize },
    Pause { session: usize, queue: usize, paused: bool },
    Cancel { session: usize, queue: usize, ids: Vec<Named> },
    Outcomes { session: usize, queue: usize, ids: Vec<Named> },
    List { session: usize, queue: usize, after: Option<u64>, max: usize },
    Revive { session: usize, queue: usize, ids: Vec<Named> },
    Purge { session: usize, queue: usize, ids: Vec<Named> },
    Advance { ms: u64 },
    Die { session: usize },
}

/// A task, with what it asks for in seconds.
#[derive(Clone, Debug)]
struct TaskSpec {
    queue: usize,
    id: Option<usize>,
    max_attempts: u32,
    max_crashes: u32,
    start: Option<u64>,
    priority: Option<i64>,
    expires: Option<u64>,
    unique: Option<(usize, u64)>,
    keep: Option<u64>,
}

impl TaskSpec {
    /// One that asks for nothing.
    fn plain(queue: usize, id: Option<usize>) -> Self {
        Self {
            queue,
            id,
            max_attempts: 1,
            max_crashes: 1,
            start: None,
            priority: None,
            expires: None,
            unique: None,
            keep: None,
        }
    }
}

/// One of the ids that users give, or that of a task that was ever enqueued: any, or one of the last few.
#[derive(Clone, Debug)]
enum Named {
    Given(usize),
    Made(Earlier),
}

/// One of those that there ever were: any, or one of the last few.
#[derive(Clone, Debug)]
struct Earlier {
    recent: bool,
    index: Index,
}

impl Earlier {
    /// `None` as long as there was none at all.
    fn of<T: Clone>(&self, all: &[T]) -> Option<T> {
        let first = if self.recent { all.len().saturating_sub(4) } else { 0 };
        let some = &all[first..];
        (!some.is_empty()).then(|| self.index.get(some).clone())
    }
}

#[derive(Clone, Debug)]
enum EndSpec {
    Complete(Vec<TaskSpec>, Option<u8>),
    Retry(u64),
    Bury,
    Release,
    Park,
}

/// Queues are mostly configured before they are used: later, their order cannot change any more.
fn history() -> impl Strategy<Value = Vec<Op>> {
    let options = prop::option::weighted(0.8, 0..OPTIONS.len());
    let begin = vec(options, QUEUES.len()).prop_map(|options| {
        let declare = |(queue, options)| Op::Declare { session: 0, queue, options };
        options.into_iter().enumerate().map(declare).collect::<Vec<_>>()
    });
    (begin, vec(op(), 1..=80)).prop_map(|(begin, rest)| [begin, rest].concat())
}

fn op() -> impl Strategy<Value = Op> {
    let (session, queue) = (0..SESSIONS, 0..QUEUES.len());
    prop_oneof![
        15 => (session.clone(), vec(task(), 1..=4)).prop_map(|(session, tasks)| Op::Enqueue { session, tasks }),
        5 => (session.clone(), queue.clone(), option::of(0..OPTIONS.len()))
            .prop_map(|(session, queue, options)| Op::Declare { session, queue, options }),
        24 => (session.clone(), queue.clone(), 1..=4_usize, any::<bool>(), feeds(), seconds(1..=30)).prop_map(
            |(session, queue, max, idle, feeds, lease)| Op::Claim { session, queue, max, idle, feeds, lease }
        ),
        6 => (session.clone(), vec(earlier(), 1..=3), seconds(1..=30))
            .prop_map(|(session, leases, lease)| Op::Beat { session, leases, lease }),
        20 => (session.clone(), vec((earlier(), end()), 1..=3))
            .prop_map(|(session, ends)| Op::Settle { session, ends }),
        1 => (session.clone(), queue.clone()).prop_map(|(session, queue)| Op::Close { session, queue }),
        3 => (session.clone(), queue.clone(), prop::bool::weighted(0.3))
            .prop_map(|(session, queue, paused)| Op::Pause { session, queue, paused }),
        6 => (session.clone(), queue.clone(), named())
            .prop_map(|(session, queue, ids)| Op::Cancel { session, queue, ids }),
        4 => (session.clone(), queue.clone(), named())
            .prop_map(|(session, queue, ids)| Op::Outcomes { session, queue, ids }),
        2 => (session.clone(), queue.clone(), option::of(0..6_u64), 1..=3_usize)
            .prop_map(|(session, queue, after, max)| Op::List { session, queue, after, max }),
        5 => (session.clone(), queue.clone(), named())
            .prop_map(|(session, queue, ids)| Op::Revive { session, queue, ids }),
        2 => (session.clone(), queue, named())
            .prop_map(|(session, queue, ids)| Op::Purge { session, queue, ids }),
        // As long as a dead task is kept, and longer than half of that.
        2 => prop_oneof![Just(7 * DAY), Just(4 * DAY)].prop_map(|ms| Op::Advance { ms }),
        10 => prop_oneof![2 => seconds(0..=40).prop_map(|s| s * 1000), 1 => 0..=40_000_u64]
            .prop_map(|ms| Op::Advance { ms }),
        3 => session.prop_map(|session| Op::Die { session }),
    ]
}

/// A day in milliseconds.
const DAY: u64 = 86_400_000;

/// Often one of two, so that clocks meet the ends of leases, delays and memories exactly.
fn seconds(any: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = u64> {
    prop_oneof![Just(5), Just(10), any]
}

fn task() -> impl Strategy<Value = TaskSpec> {
    let key = (0..KEYS.len(), prop_oneof![Just(0), seconds(0..=10)]);
    let limits = (1..=3_u32, 1..=2_u32);
    // A priority in a queue of another order refuses the whole call.
    let asks = (
        prop::option::weighted(0.2, seconds(0..=10)),
        prop::option::weighted(0.15, -2..=2_i64),
        prop::option::weighted(0.3, seconds(0..=20)),
        prop::option::weighted(0.3, key),
        prop::option::weighted(0.4, prop_oneof![3 => seconds(0..=20), 2 => Just(100)]),
    );
    (0..QUEUES.len(), option::of(0..IDS.len()), limits, asks).prop_map(|(queue, id, limits, asks)| {
        let ((max_attempts, max_crashes), (start, priority, expires, unique, keep)) = (limits, asks);
        TaskSpec { queue, id, max_attempts, max_crashes, start, priority, expires, unique, keep }
    })
}

fn named() -> impl Strategy<Value = Vec<Named>> {
    let one = prop_oneof![1 => (0..IDS.len()).prop_map(Named::Given), 2 => earlier().prop_map(Named::Made)];
    vec(one, 1..=3)
}

fn feeds() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![3 => Just(Vec::new()), 2 => vec(0..QUEUES.len(), 1..=2)]
}

fn earlier() -> impl Strategy<Value = Earlier> {
    (any::<bool>(), any::<Index>()).prop_map(|(recent, index)| Earlier { recent, index })
}

fn end() -> impl Strategy<Value = EndSpec> {
    prop_oneof![
        4 => (vec(task(), 0..=2), option::of(any::<u8>()))
            .prop_map(|(children, result)| EndSpec::Complete(children, result)),
        3 => seconds(0..=10).prop_map(EndSpec::Retry),
        1 => Just(EndSpec::Bury),
        2 => Just(EndSpec::Release),
        2 => Just(EndSpec::Park),
    ]
}

/// Capacity, order, and seconds for which ids are remembered.
const OPTIONS: [(u64, Order, u64); 4] =
    [(2, Order::Fifo, 0), (4, Order::Lifo, 5), (8, Order::Priority, 5), (8, Order::Priority, 0)];

fn options(number: usize) -> QueueOptions {
    let (capacity, order, seconds) = OPTIONS[number];
    let options = QueueOptions::default().with_capacity(capacity).with_order(order);
    options.with_remember_ids(Duration::from_secs(seconds))
}

fn queue(number: usize) -> QueueName {
    QueueName::new(QUEUES[number]).unwrap()
}

// What it happens to.

/// A real broker, as the test reaches behind its sessions.
enum Store {
    Memory(MemoryBroker),
    Local {
        /// Lives as long as the history, so that there is always somebody to notice the dead.
        witness: Box<dyn Broker>,
        folder: tempfile::TempDir,
    },
    /// A namespace of its own on a server that all histories share.
    Redis {
        witness: Box<dyn Broker>,
        server: Arc<Redis>,
        namespace: Namespace,
    },
}

impl Store {
    async fn memory(clock: ManualClock) -> (Self, Machine) {
        (Self::Memory(MemoryBroker::with_clock(Arc::new(clock))), Machine::new(1))
    }

    async fn local(clock: ManualClock) -> (Self, Machine) {
        // A new database takes the second in which it was made as its generation.
        let generation = clock.now().wall / 1000;
        let folder = tempfile::tempdir().unwrap();
        let witness = Box::new(open(&folder, &clock).await);
        (Self::Local { witness, folder }, Machine::new(generation))
    }

    async fn redis(server: Arc<Redis>, clock: ManualClock) -> (Self, Machine) {
        // As a new database does.
        let generation = clock.now().wall / 1000;
        let namespace = Namespace::new(&format!("history-{}", Incarnation::generate())).unwrap();
        server.set_clock(Duration::ZERO).unwrap();
        let witness = open_redis(&server, &namespace).await;
        (Self::Redis { witness, server, namespace }, Machine::new(generation))
    }

    async fn session(&self, clock: &ManualClock) -> Box<dyn Broker> {
        match self {
            Self::Memory(first) => Box::new(Guard::new(first.session())),
            Self::Local { folder, .. } => Box::new(open(folder, clock).await),
            Self::Redis { server, namespace, .. } => open_redis(server, namespace).await,
        }
    }

    /// Whether a process that dies is noticed at once, and not by its leases that run out.
    fn notices_deaths(&self) -> bool {
        !matches!(self, Self::Redis { .. })
    }

    /// The clock was moved.
    fn moved(&self, clock: &ManualClock) {
        if let Self::Redis { server, .. } = self {
            // Both begin with the year 2026.
            server.set_clock(Duration::from_millis(clock.now().steady)).unwrap();
        }
    }

    fn witness(&self) -> &dyn Broker {
        match self {
            Self::Memory(first) => first,
            Self::Local { witness, .. } | Self::Redis { witness, .. } => &**witness,
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Memory(first) => first.check(),
            Self::Local { .. } | Self::Redis { .. } => Ok(()),
        }
    }
}

async fn open(folder: &tempfile::TempDir, clock: &ManualClock) -> Guard<LocalBroker> {
    let config = LocalConfig::new(folder.path(), Namespace::default()).with_clock(Arc::new(clock.clone()));
    Guard::new(LocalBroker::open(config).await.unwrap())
}

async fn open_redis(server: &Redis, namespace: &Namespace) -> Box<dyn Broker> {
    let config = RedisConfig::new(&server.url(), namespace.clone()).unwrap();
    Box::new(Guard::new(RedisBroker::open(config).await.unwrap()))
}

/// The machine and a broker, side by side.
struct Pair {
    clock: ManualClock,
    machine: Machine,
    store: Store,
    sessions: Vec<Box<dyn Broker>>,
    /// All that were ever given, the stale ones too.
    leases: Vec<Lease>,
    /// The tasks that were ever made, so many that each has a payload of its own.
    made: Vec<TaskId>,
}

/// What a call says that may be refused, in words that can be compared.
type Said<T> = Result<T, (ErrorKind, String)>;

fn said<T>(answer: manyhands_broker::Result<T>) -> Said<T> {
    answer.map_err(|e| (e.kind(), e.report()))
}

impl Pair {
    fn now(&self) -> Now {
        self.clock.now()
    }

    async fn run(&mut self, history: &[Op]) -> Result<(), TestCaseError> {
        for (number, op) in history.iter().enumerate() {
            let at = |e: TestCaseError| TestCaseError::fail(format!("step {number}, {op:?}: {e}"));
            self.step(op).await.map_err(at)?;
            self.compare_queues().await.map_err(at)?;
        }
        self.take_everything().await.map_err(|e| TestCaseError::fail(format!("after the last step: {e}")))
    }

    async fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::Enqueue { session, tasks } => {
                let tasks = self.tasks(tasks);
                self.enqueue(*session, &tasks).await
            }
            Op::Declare { session, queue: name, options: number } => {
                let (name, options) = (queue(*name), number.map(options));
                let real = self.sessions[*session].declare(&name, options.as_ref()).await;
                let model = self.machine.declare(&name, options.as_ref());
                agree("declare", &said(real), &said(model))
            }
            Op::Claim { session, queue: name, max, idle, feeds, lease } => {
                let claim = Claim::new(queue(*name), *max)
                    .with_idle(*idle)
                    .with_feeds(feeds.iter().map(|feed| queue(*feed)).collect())
                    .with_lease(Duration::from_secs(*lease));
                self.claim(*session, &claim).await.map(drop)
            }
            Op::Beat { session, leases, lease } => {
                let leases: Vec<Lease> = leases.iter().filter_map(|earlier| self.lease(earlier)).collect();
                let lease = Duration::from_secs(*lease);
                let real = self.sessions[*session].beat(&leases, lease).await.unwrap();
                agree("beat", &real, &self.machine.beat(&leases, lease, self.now()))
            }
            Op::Settle { session, ends } => {
                let mut settlements = Vec::new();
                for (earlier, end) in ends {
                    let end = self.end(end);
                    settlements.extend(self.lease(earlier).map(|lease| Settlement::new(lease, end)));
                }
                let real = self.sessions[*session].settle(&settlements).await;
                let model = self.machine.settle(&settlements, self.now());
                agree("settle", &said(real), &said(model))
            }
            Op::Close { session, queue: name } => {
                self.sessions[*session].close(&queue(*name)).await.unwrap();
                self.machine.close(&queue(*name));
                Ok(())
            }
            Op::Pause { session, queue: name, paused } => {
                self.sessions[*session].pause(&queue(*name), *paused).await.unwrap();
                self.machine.pause(&queue(*name), *paused);
                Ok(())
            }
            Op::Cancel { session, queue: name, ids } => {
                let (name, ids, now) = (queue(*name), self.ids(ids), self.now());
                let real = self.sessions[*session].cancel(&name, &ids).await.unwrap();
                agree("cancel", &real, &self.machine.cancel(&name, &ids, now))
            }
            Op::Outcomes { session, queue: name, ids } => {
                let ids = self.ids(ids);
                self.outcomes(*session, &queue(*name), &ids).await
            }
            Op::List { session, queue: name, after, max } => {
                let name = queue(*name);
                let real = self.dead_letters(*session).list(&name, *after, *max).await.unwrap();
                agree("list", &real, &self.machine.dead(&name, *after, *max))
            }
            Op::Revive { session, queue: name, ids } => {
                let ids = self.ids(ids);
                self.revive(*session, &queue(*name), &ids).await
            }
            Op::Purge { session, queue: name, ids } => {
                let (name, ids) = (queue(*name), self.ids(ids));
                let real = self.dead_letters(*session).purge(&name, &ids).await.unwrap();
                agree("purge", &real, &self.machine.purge(&name, &ids))
            }
            Op::Advance { ms } => {
                self.advance(Duration::from_millis(*ms));
                Ok(())
            }
            Op::Die { session } => self.die(*session).await,
        }
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.store.moved(&self.clock);
    }

    async fn enqueue(&mut self, session: usize, tasks: &[NewTask]) -> Result<(), TestCaseError> {
        let real = self.sessions[session].enqueue(tasks).await;
        let model = self.machine.enqueue(tasks, self.now());
        agree("enqueue", &said(real), &said(model))
    }

    async fn outcomes(&self, session: usize, name: &QueueName, ids: &[TaskId]) -> Result<(), TestCaseError> {
        let real = self.sessions[session].outcomes(name, ids).await.unwrap();
        agree("outcomes", &real, &self.machine.outcomes(name, ids, self.now()))
    }

    async fn revive(
        &mut self,
        session: usize,
        name: &QueueName,
        ids: &[TaskId],
    ) -> Result<(), TestCaseError> {
        let real = self.dead_letters(session).revive(name, ids).await.unwrap();
        let now = self.now();
        agree("revive", &real, &self.machine.revive(name, ids, now))
    }

    fn dead_letters(&self, session: usize) -> &dyn DeadLetters {
        self.sessions[session].dead_letters().unwrap()
    }

    /// Claims on both sides and tells how many tasks that gave.
    async fn claim(&mut self, session: usize, claim: &Claim) -> Result<usize, TestCaseError> {
        let session = &self.sessions[session];
        let real = session.claim(claim).await.unwrap();
        let model = self.machine.claim(claim, session.incarnation(), self.now());
        agree("claim", &real, &model)?;
        self.leases.extend(real.tasks.iter().map(|task| task.lease.clone()));
        Ok(real.tasks.len())
    }

    /// Lets a session die, waits until it is noticed, and starts another in its place.
    async fn die(&mut self, session: usize) -> Result<(), TestCaseError> {
        let dead = self.sessions.remove(session);
        if self.store.notices_deaths() {
            self.machine.expire_holder(dead.incarnation(), self.now());
        }
        drop(dead);
        let queues = QUEUES.map(|name| QueueName::new(name).unwrap());
        let noticed = async {
            loop {
                let changed = self.store.witness().wait(&queues);
                if self.compare_queues().await.is_ok() {
                    return;
                }
                // Whether it was the hint or the time-out does not matter: both ask again.
                let _ = tokio::time::timeout(Duration::from_millis(200), changed).await;
            }
        };
        if tokio::time::timeout(PATIENCE, noticed).await.is_err() {
            self.compare_queues().await?;
        }
        let session_again = self.store.session(&self.clock).await;
        self.sessions.insert(session, session_again);
        Ok(())
    }

    async fn compare_queues(&self) -> Result<(), TestCaseError> {
        for name in QUEUES.map(|name| QueueName::new(name).unwrap()) {
            let real: Option<QueueStatus> = self.store.witness().status(&name).await.unwrap();
            agree(&format!("status of {name}"), &real, &self.machine.status(&name))?;
            let real = self.store.witness().dead_letters().unwrap().list(&name, None, 256).await.unwrap();
            agree(&format!("the dead of {name}"), &real, &self.machine.dead(&name, None, 256))?;
        }
        agree("invariants of the machine", &self.machine.check(), &Ok(()))?;
        agree("invariants of the store", &self.store.check(), &Ok(()))
    }

    /// Looks at all that is left: every task that can be had, and which ids are still known.
    async fn take_everything(&mut self) -> Result<(), TestCaseError> {
        for (number, name) in QUEUES.map(|name| QueueName::new(name).unwrap()).iter().enumerate() {
            self.sessions[0].pause(name, false).await.unwrap();
            self.machine.pause(name, false);
            let given = IDS.map(|id| TaskId::new(id).unwrap());
            let ids: Vec<TaskId> = self.made.iter().cloned().chain(given).collect();
            for ids in ids.chunks(256) {
                self.outcomes(0, name, ids).await?;
            }
            for key in 0..KEYS.len() {
                let spec = TaskSpec { unique: Some((key, 0)), ..TaskSpec::plain(number, None) };
                let task = self.tasks(&[spec]);
                self.enqueue(0, &task).await?;
            }
            for id in 0..IDS.len() {
                let task = self.tasks(&[TaskSpec::plain(number, Some(id))]);
                self.enqueue(0, &task).await?;
            }
            let dead = self.machine.dead(name, None, 256);
            let dead: Vec<TaskId> = dead.into_iter().map(|task| task.id).collect();
            self.revive(0, name, &dead).await?;
        }
        self.compare_queues().await?;
        // Past all leases, delays and parks.
        self.advance(Duration::from_secs(120));
        for number in 0..QUEUES.len() {
            let claim = Claim::new(queue(number), 3);
            while self.claim(0, &claim).await? > 0 {
                self.compare_queues().await?;
            }
        }
        Ok(())
    }

    fn tasks(&mut self, specs: &[TaskSpec]) -> Vec<NewTask> {
        specs.iter().map(|spec| self.task(spec)).collect()
    }

    fn task(&mut self, spec: &TaskSpec) -> NewTask {
        let made = self.made.len() + 1;
        let name = TaskName::new(if made.is_multiple_of(2) { "even" } else { "odd" }).unwrap();
        let payload = Payload::encode(&made).unwrap();
        let mut task = NewTask::new(queue(spec.queue), name, payload).with_max_attempts(spec.max_attempts);
        task.max_crashes = spec.max_crashes;
        let start = match spec.start.map(Duration::from_secs) {
            None => Start::Now,
            // As a time of the clock that the history moves.
            Some(delay) if made.is_multiple_of(3) => {
                let now = Duration::from_millis(self.now().wall);
                Start::At(SystemTime::UNIX_EPOCH + now + delay)
            }
            Some(delay) => Start::After(delay),
        };
        task = task.with_start(start);
        task.priority = spec.priority;
        task.expires = spec.expires.map(Duration::from_secs);
        task.unique =
            spec.unique.map(|(key, hold)| Unique::and_for(KEYS[key], Duration::from_secs(hold)).unwrap());
        task.result = spec.keep.map_or(Wanted::No, |keep| Wanted::Keep(Duration::from_secs(keep)));
        if let Some(id) = spec.id {
            task = task.with_id(TaskId::new(IDS[id]).unwrap());
        }
        self.made.push(task.id.clone());
        task
    }

    fn ids(&self, named: &[Named]) -> Vec<TaskId> {
        let id = |named: &Named| match named {
            Named::Given(id) => Some(TaskId::new(IDS[*id]).unwrap()),
            Named::Made(earlier) => earlier.of(&self.made),
        };
        named.iter().filter_map(id).collect()
    }

    fn end(&mut self, spec: &EndSpec) -> End {
        let error = "it failed".to_owned();
        match spec {
            EndSpec::Complete(children, result) => End::Complete {
                children: self.tasks(children),
                result: result.map(|result| Payload::encode(&result).unwrap()),
            },
            EndSpec::Retry(delay) => End::Retry { error, delay: Duration::from_secs(*delay) },
            EndSpec::Bury => End::Bury { error },
            EndSpec::Release => End::Release,
            EndSpec::Park => End::Park,
        }
    }

    /// `None` as long as there was no lease at all.
    fn lease(&self, earlier: &Earlier) -> Option<Lease> {
        earlier.of(&self.leases)
    }
}

fn agree<T: PartialEq + Debug>(what: &str, real: &T, model: &T) -> Result<(), TestCaseError> {
    prop_assert!(real == model, "{what}: the broker says {real:?}, the machine {model:?}");
    Ok(())
}

fn compare<F: Future<Output = (Store, Machine)>>(cases: u32, store: impl Fn(ManualClock) -> F) {
    let long = std::env::var_os("MANYHANDS_TEST_LONG").is_some();
    let config = Config {
        cases: if long { 20 * cases } else { cases },
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        source_file: Some(file!()),
        ..Config::default()
    };
    let found = TestRunner::new(config).run(&history(), |history| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let clock = ManualClock::default();
            let (store, machine) = store(clock.clone()).await;
            let mut sessions = Vec::new();
            for _ in 0..SESSIONS {
                sessions.push(store.session(&clock).await);
            }
            Pair { clock, machine, store, sessions, leases: Vec::new(), made: Vec::new() }.run(&history).await
        })
    });
    assert!(found.is_ok(), "{}", found.map_or_else(|difference| difference.to_string(), |()| String::new()));
}
