//! Random histories of operations, run on the machine alone and on a real broker: both must agree in everything
//! that anybody can see.
//!
//! The machine is the reference. A broker's incarnations are its own, so the machine is told those of the real
//! sessions; everything else, the epochs among it, must come out the same by itself. After each step every
//! queue must stand as the machine's; after the last one all tasks are claimed and all ids are enqueued again,
//! so that what is stored but was not asked for yet is compared too.
//!
//! `MANYHANDS_TEST_LONG` set: twenty times as many histories. Histories that failed once are kept in
//! `model.proptest-regressions` beside this file and tried first.

#![allow(clippy::unwrap_used, reason = "a test's helper may fail the test")]

use std::{fmt::Debug, sync::Arc, time::Duration};

use manyhands_broker::{
    Broker, Claim, End, Guard, Lease, Namespace, NewTask, Payload, QueueName, QueueOptions, QueueStatus,
    Settlement, TaskId, TaskName,
    backends::{
        local::{LocalBroker, LocalConfig},
        memory::MemoryBroker,
    },
    clock::{Clock, ManualClock, Now},
    machine::Machine,
};
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

/// How long a death may go unnoticed. Only a broken broker takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

const SESSIONS: usize = 3;
const QUEUES: [&str; 2] = ["a", "b"];
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
    Advance { ms: u64 },
    Die { session: usize },
}

#[derive(Clone, Debug)]
struct TaskSpec {
    queue: usize,
    id: Option<usize>,
    max_attempts: u32,
    max_crashes: u32,
}

/// One of the leases that were ever given: any, or one of the last few.
#[derive(Clone, Debug)]
struct Earlier {
    recent: bool,
    index: Index,
}

#[derive(Clone, Debug)]
enum EndSpec {
    Complete(Vec<TaskSpec>),
    Retry(u64),
    Bury,
    Release,
    Park,
}

fn history() -> impl Strategy<Value = Vec<Op>> {
    vec(op(), 1..=80)
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
        1 => (session.clone(), queue).prop_map(|(session, queue)| Op::Close { session, queue }),
        10 => prop_oneof![2 => seconds(0..=40).prop_map(|s| s * 1000), 1 => 0..=40_000_u64]
            .prop_map(|ms| Op::Advance { ms }),
        3 => session.prop_map(|session| Op::Die { session }),
    ]
}

/// Often one of two, so that clocks meet the ends of leases, delays and memories exactly.
fn seconds(any: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = u64> {
    prop_oneof![Just(5), Just(10), any]
}

fn task() -> impl Strategy<Value = TaskSpec> {
    (0..QUEUES.len(), option::of(0..IDS.len()), 1..=3_u32, 1..=2_u32)
        .prop_map(|(queue, id, max_attempts, max_crashes)| TaskSpec { queue, id, max_attempts, max_crashes })
}

fn feeds() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![3 => Just(Vec::new()), 2 => vec(0..QUEUES.len(), 1..=2)]
}

fn earlier() -> impl Strategy<Value = Earlier> {
    (any::<bool>(), any::<Index>()).prop_map(|(recent, index)| Earlier { recent, index })
}

fn end() -> impl Strategy<Value = EndSpec> {
    prop_oneof![
        4 => vec(task(), 0..=2).prop_map(EndSpec::Complete),
        3 => seconds(0..=10).prop_map(EndSpec::Retry),
        1 => Just(EndSpec::Bury),
        2 => Just(EndSpec::Release),
        2 => Just(EndSpec::Park),
    ]
}

/// Capacity, and seconds for which ids are remembered.
const OPTIONS: [(u64, u64); 3] = [(2, 0), (4, 5), (8, 5)];

fn options(number: usize) -> QueueOptions {
    let (capacity, seconds) = OPTIONS[number];
    QueueOptions::default().with_capacity(capacity).with_remember_ids(Duration::from_secs(seconds))
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

    async fn session(&self, clock: &ManualClock) -> Box<dyn Broker> {
        match self {
            Self::Memory(first) => Box::new(Guard::new(first.session())),
            Self::Local { folder, .. } => Box::new(open(folder, clock).await),
        }
    }

    fn witness(&self) -> &dyn Broker {
        match self {
            Self::Memory(first) => first,
            Self::Local { witness, .. } => &**witness,
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Memory(first) => first.check(),
            Self::Local { .. } => Ok(()),
        }
    }
}

async fn open(folder: &tempfile::TempDir, clock: &ManualClock) -> Guard<LocalBroker> {
    let config = LocalConfig::new(folder.path(), Namespace::default()).with_clock(Arc::new(clock.clone()));
    Guard::new(LocalBroker::open(config).await.unwrap())
}

/// The machine and a broker, side by side.
struct Pair {
    clock: ManualClock,
    machine: Machine,
    store: Store,
    sessions: Vec<Box<dyn Broker>>,
    /// All that were ever given, the stale ones too.
    leases: Vec<Lease>,
    /// Counts the tasks made, so that each has a payload of its own.
    made: usize,
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
        let after = |e: TestCaseError| TestCaseError::fail(format!("after the last step: {e}"));
        self.look_books_through().await.map_err(after)?;
        self.take_everything().await.map_err(after)?;
        self.look_books_through().await.map_err(after)
    }

    /// Whatever the history was, it left nothing behind that no step leaves.
    async fn look_books_through(&self) -> Result<(), TestCaseError> {
        let report = self.store.witness().fsck().unwrap().fsck(false).await.unwrap();
        agree("fsck", &report.findings, &Vec::new())
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
                let text = |e: manyhands_broker::Error| (e.kind(), e.report());
                agree("declare", &real.map_err(text), &model.map_err(text))
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
                let real = self.sessions[*session].settle(&settlements).await.unwrap();
                agree("settle", &real, &self.machine.settle(&settlements, self.now()))
            }
            Op::Close { session, queue: name } => {
                self.sessions[*session].close(&queue(*name)).await.unwrap();
                self.machine.close(&queue(*name));
                Ok(())
            }
            Op::Advance { ms } => {
                self.clock.advance(Duration::from_millis(*ms));
                Ok(())
            }
            Op::Die { session } => self.die(*session).await,
        }
    }

    async fn enqueue(&mut self, session: usize, tasks: &[NewTask]) -> Result<(), TestCaseError> {
        let real = self.sessions[session].enqueue(tasks).await.unwrap();
        agree("enqueue", &real, &self.machine.enqueue(tasks, self.now()))
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
        self.machine.expire_holder(dead.incarnation());
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
        }
        agree("invariants of the machine", &self.machine.check(), &Ok(()))?;
        agree("invariants of the store", &self.store.check(), &Ok(()))
    }

    /// Looks at all that is left: every task that can be had, and which ids are still known.
    async fn take_everything(&mut self) -> Result<(), TestCaseError> {
        for number in 0..QUEUES.len() {
            for id in 0..IDS.len() {
                let spec = TaskSpec { queue: number, id: Some(id), max_attempts: 1, max_crashes: 1 };
                let task = self.tasks(&[spec]);
                self.enqueue(0, &task).await?;
            }
        }
        // Past all leases, delays and parks.
        self.clock.advance(Duration::from_secs(120));
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
        self.made += 1;
        let name = TaskName::new(if self.made.is_multiple_of(2) { "even" } else { "odd" }).unwrap();
        let payload = Payload::encode(&self.made).unwrap();
        let mut task = NewTask::new(queue(spec.queue), name, payload).with_max_attempts(spec.max_attempts);
        task.max_crashes = spec.max_crashes;
        match spec.id {
            Some(id) => task.with_id(TaskId::new(IDS[id]).unwrap()),
            None => task,
        }
    }

    fn end(&mut self, spec: &EndSpec) -> End {
        let error = "it failed".to_owned();
        match spec {
            EndSpec::Complete(children) => End::Complete { children: self.tasks(children) },
            EndSpec::Retry(delay) => End::Retry { error, delay: Duration::from_secs(*delay) },
            EndSpec::Bury => End::Bury { error },
            EndSpec::Release => End::Release,
            EndSpec::Park => End::Park,
        }
    }

    /// `None` as long as there was no lease at all.
    fn lease(&self, earlier: &Earlier) -> Option<Lease> {
        let first = if earlier.recent { self.leases.len().saturating_sub(4) } else { 0 };
        let some = &self.leases[first..];
        (!some.is_empty()).then(|| earlier.index.get(some).clone())
    }
}

fn agree<T: PartialEq + Debug>(what: &str, real: &T, model: &T) -> Result<(), TestCaseError> {
    prop_assert!(real == model, "{what}: the broker says {real:?}, the machine {model:?}");
    Ok(())
}

fn compare<F: Future<Output = (Store, Machine)>>(cases: u32, store: fn(ManualClock) -> F) {
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
            Pair { clock, machine, store, sessions, leases: Vec::new(), made: 0 }.run(&history).await
        })
    });
    assert!(found.is_ok(), "{}", found.map_or_else(|difference| difference.to_string(), |()| String::new()));
}
