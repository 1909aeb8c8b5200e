//! Every broker, held to the contract: one trial a case and backend, named `backend::area::case`.

#![allow(clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use libtest_mimic::{Arguments, Trial};
use manyhands_broker::{
    Broker, Capabilities, Guard, Incarnation, Namespace,
    backends::{
        local::{LocalBroker, LocalConfig},
        memory::{
            MemoryBroker,
            adversary::{Adversary, Manners},
        },
        rabbitmq::{RabbitMqBroker, RabbitMqConfig},
        redis::RedisBroker,
    },
    capabilities::{
        Arrivals, Capacity, Children, Control, Crashes, Delay, Fences, Ids, Join, Operators, Orders,
        Redelivery, Results, Returns,
    },
    clock::ManualClock,
    conformance::{Failure, Harness, Stage, VICTIMS_LEASE, cases},
};
use manyhands_test_support::servers;

#[derive(Clone, Copy)]
struct Memory;

struct MemoryStage {
    clock: ManualClock,
    first: MemoryBroker,
}

#[async_trait]
impl Harness for Memory {
    async fn stage(&self) -> Result<Box<dyn Stage>, Failure> {
        let clock = ManualClock::default();
        let first = MemoryBroker::with_clock(Arc::new(clock.clone()));
        Ok(Box::new(MemoryStage { clock, first }))
    }
}

#[async_trait]
impl Stage for MemoryStage {
    async fn session(&self) -> Result<Arc<dyn Broker>, Failure> {
        Ok(Arc::new(Guard::new(self.first.session())))
    }

    async fn kill(&self, session: Arc<dyn Broker>) -> Result<(), Failure> {
        last(session)
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

impl Drop for MemoryStage {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.first.check(), Ok(()), "the machine's invariants after the case");
        }
    }
}

/// The memory broker at its worst, as far as the cases allow it: they fix who gets what, and repeat nothing.
#[derive(Clone, Copy)]
struct Adversarial;

struct AdversarialStage {
    memory: MemoryStage,
    sessions: AtomicU64,
}

impl Adversarial {
    const CAPABILITIES: Capabilities = Capabilities { returns: Returns::AsTheyCome, ..Capabilities::FULL };
    const MANNERS: Manners = Manners { delayed: 500, invented_hints: 300, ..Manners::QUIET };
}

#[async_trait]
impl Harness for Adversarial {
    async fn stage(&self) -> Result<Box<dyn Stage>, Failure> {
        let clock = ManualClock::default();
        let first = MemoryBroker::with_clock(Arc::new(clock.clone()));
        let memory = MemoryStage { clock, first };
        Ok(Box::new(AdversarialStage { memory, sessions: AtomicU64::new(0) }))
    }
}

#[async_trait]
impl Stage for AdversarialStage {
    async fn session(&self) -> Result<Arc<dyn Broker>, Failure> {
        let seed = self.sessions.fetch_add(1, Ordering::Relaxed);
        let session = Adversary::session_of(&self.memory.first, Adversarial::MANNERS, seed);
        Ok(Arc::new(Guard::new(session)))
    }

    async fn kill(&self, session: Arc<dyn Broker>) -> Result<(), Failure> {
        last(session)
    }

    async fn advance(&self, by: Duration) {
        self.memory.advance(by).await;
    }
}

#[derive(Clone, Copy)]
struct Local;

struct LocalStage {
    clock: ManualClock,
    folder: tempfile::TempDir,
    /// Keeps one process alive, so that there is always somebody to notice the dead.
    first: Mutex<Option<Arc<dyn Broker>>>,
}

#[async_trait]
impl Harness for Local {
    async fn stage(&self) -> Result<Box<dyn Stage>, Failure> {
        let folder = tempfile::tempdir()?;
        let stage = LocalStage { clock: ManualClock::default(), folder, first: Mutex::new(None) };
        let first = stage.session().await?;
        *stage.first.lock().unwrap() = Some(first);
        Ok(Box::new(stage))
    }
}

#[async_trait]
impl Stage for LocalStage {
    async fn session(&self) -> Result<Arc<dyn Broker>, Failure> {
        let config = LocalConfig::new(self.folder.path(), Namespace::default());
        let config = config.with_clock(Arc::new(self.clock.clone()));
        Ok(Arc::new(Guard::new(LocalBroker::open(config).await?)))
    }

    async fn kill(&self, session: Arc<dyn Broker>) -> Result<(), Failure> {
        // The lock is what others see; a real process's death by SIGKILL is tried in `tests/local/kills.rs`.
        last(session)
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

/// A server of its own a stage, whose clock is libfaketime's.
#[derive(Clone, Copy)]
struct Redis;

struct RedisStage {
    server: servers::Redis,
    moved: Mutex<Duration>,
}

#[async_trait]
impl Harness for Redis {
    async fn stage(&self) -> Result<Box<dyn Stage>, Failure> {
        let server = servers::Redis::options().clock().start()?;
        Ok(Box::new(RedisStage { server, moved: Mutex::new(Duration::ZERO) }))
    }
}

#[async_trait]
impl Stage for RedisStage {
    async fn session(&self) -> Result<Arc<dyn Broker>, Failure> {
        Ok(manyhands_broker::connect(&self.server.url().parse()?).await?)
    }

    async fn kill(&self, session: Arc<dyn Broker>) -> Result<(), Failure> {
        last(session)?;
        self.advance(VICTIMS_LEASE).await;
        Ok(())
    }

    async fn advance(&self, by: Duration) {
        let mut moved = self.moved.lock().unwrap();
        *moved += by;
        self.server.set_clock(*moved).unwrap();
    }
}

/// A namespace of its own on three servers that all cases share. The clock goes on from case to case.
struct ClusterStage {
    cluster: Arc<servers::Cluster>,
    namespace: Namespace,
}

#[async_trait]
impl Stage for ClusterStage {
    async fn session(&self) -> Result<Arc<dyn Broker>, Failure> {
        let url = format!("{}?namespace={}", self.cluster.url(), self.namespace);
        Ok(manyhands_broker::connect(&url.parse()?).await?)
    }

    async fn kill(&self, session: Arc<dyn Broker>) -> Result<(), Failure> {
        last(session)?;
        self.advance(VICTIMS_LEASE).await;
        Ok(())
    }

    async fn advance(&self, by: Duration) {
        self.cluster.advance(by).unwrap();
    }
}

/// All that Redis does, on a cluster, which refuses what touches a key that was not named, or another server's.
fn on_a_cluster() -> Trial {
    Trial::test("cluster::all::cases_of_redis", || {
        // The clock goes in leaps, after which nobody must take the others for dead.
        let patient = servers::Redis::options().clock().with("cluster-node-timeout", 2_000_000_000);
        let cluster = Arc::new(servers::Cluster::start_with(3, &patient)?);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let mut failed = Vec::new();
        for (at, case) in cases(&RedisBroker::CAPABILITIES).into_iter().enumerate() {
            let namespace = Namespace::new(&format!("case-{at}"))?;
            let stage = ClusterStage { cluster: Arc::clone(&cluster), namespace };
            if let Err(failure) = runtime.block_on(case.run(&stage)) {
                failed.push(format!("{}::{}: {failure}", case.area, case.name));
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("\n").into()) }
    })
}

/// A namespace of its own on a server that all cases share.
#[derive(Clone, Copy)]
struct RabbitMq;

struct RabbitMqStage {
    clock: ManualClock,
    url: String,
    namespace: Namespace,
}

#[async_trait]
impl Harness for RabbitMq {
    async fn stage(&self) -> Result<Box<dyn Stage>, Failure> {
        let url = manyhands_test_support::servers::RabbitMq::shared_url()?;
        let namespace = Namespace::new(&format!("case-{}", Incarnation::generate()))?;
        Ok(Box::new(RabbitMqStage { clock: ManualClock::from(SystemTime::now()), url, namespace }))
    }
}

#[async_trait]
impl Stage for RabbitMqStage {
    async fn session(&self) -> Result<Arc<dyn Broker>, Failure> {
        let config = RabbitMqConfig::new(&self.url, self.namespace.clone())?;
        let config = config.with_clock(Arc::new(self.clock.clone()));
        Ok(Arc::new(Guard::new(RabbitMqBroker::open(config).await?)))
    }

    async fn kill(&self, session: Arc<dyn Broker>) -> Result<(), Failure> {
        last(session)
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

fn last(session: Arc<dyn Broker>) -> Result<(), Failure> {
    if Arc::strong_count(&session) > 1 {
        return Err(Failure("the case still holds the session that it kills".to_owned()));
    }
    drop(session);
    Ok(())
}

fn trials(
    backend: &'static str,
    column: Capabilities,
    harness: impl Harness + Copy + 'static,
) -> impl Iterator<Item = Trial> {
    cases(&column).into_iter().map(move |case| {
        Trial::test(format!("{backend}::{}::{}", case.area, case.name), move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(async {
                let stage = harness.stage().await?;
                case.run(&*stage).await
            })?;
            Ok(())
        })
    })
}

/// What each backend is promised to have at least, written down once more: a backend that claims less has broken a promise.
fn columns() -> [(&'static str, Capabilities, Capabilities); 4] {
    let full = Capabilities {
        delay: Delay::Exact,
        orders: Orders::All,
        control: Control::Full,
        results: Results::Kept,
        operators: Operators::All,
        arrivals: Arrivals::Counted,
        returns: Returns::InPlace,
        capacity: Capacity::Exact,
        join: Join::Exact,
        ids: Ids::Remembered,
        children: Children::Atomic,
        fences: Fences::Kept,
        crashes: Crashes::WhileAlone,
        redelivery: Redelivery::AtOnce,
    };
    let rabbitmq = Capabilities {
        delay: Delay::Ladder,
        orders: Orders::Classes,
        control: Control::None,
        results: Results::ToSender,
        operators: Operators::DeadOneByOne,
        arrivals: Arrivals::NotCounted,
        returns: Returns::AsTheyCome,
        capacity: Capacity::ReadyOnly,
        join: Join::Asked,
        ids: Ids::Unknown,
        children: Children::AfterConfirm,
        fences: Fences::Advisory,
        crashes: Crashes::PerDelivery,
        redelivery: Redelivery::OnDisconnect,
    };
    let redis = Capabilities { redelivery: Redelivery::AfterLease, ..full };
    [
        ("memory", Capabilities::FULL, full),
        ("local", LocalBroker::CAPABILITIES, full),
        ("redis", RedisBroker::CAPABILITIES, redis),
        ("rabbitmq", RabbitMqBroker::CAPABILITIES, rabbitmq),
    ]
}

/// The session claims what its backend does, and that is no less than what was promised.
fn claims(backend: &'static str, harness: impl Harness + Copy + 'static) -> impl Iterator<Item = Trial> {
    let trial = Trial::test(format!("{backend}::capabilities::are_at_least_what_was_promised"), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let session = runtime.block_on(async { harness.stage().await?.session().await })?;
        let (_, claimed, promised) = columns().into_iter().find(|(name, ..)| *name == backend).unwrap();
        assert_eq!((session.backend(), session.capabilities()), (backend, claimed));
        assert!(claimed.at_least(&promised), "{claimed:?}");
        Ok(())
    });
    std::iter::once(trial)
}

fn main() {
    let arguments = Arguments::from_args();
    let mut all: Vec<Trial> = Vec::new();
    all.extend(claims("memory", Memory).chain(trials("memory", Capabilities::FULL, Memory)));
    all.extend(trials("adversary", Adversarial::CAPABILITIES, Adversarial));
    all.extend(claims("local", Local).chain(trials("local", LocalBroker::CAPABILITIES, Local)));
    all.extend(claims("redis", Redis).chain(trials("redis", RedisBroker::CAPABILITIES, Redis)));
    all.push(on_a_cluster());
    all.extend(claims("rabbitmq", RabbitMq).chain(trials(
        "rabbitmq",
        RabbitMqBroker::CAPABILITIES,
        RabbitMq,
    )));
    libtest_mimic::run(&arguments, all).exit();
}
