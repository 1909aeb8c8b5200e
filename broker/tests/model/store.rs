//! What it happens to.

use std::{sync::Arc, time::Duration};

use manyhands_broker::{
    Broker, Guard, Incarnation, Namespace,
    backends::{
        local::{LocalBroker, LocalConfig},
        memory::MemoryBroker,
        redis::{RedisBroker, RedisConfig},
    },
    clock::{Clock, ManualClock},
    machine::Machine,
};
use manyhands_test_support::servers::Redis;

/// A real broker, as the test reaches behind its sessions.
pub(crate) enum Store {
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
    pub(crate) async fn memory(clock: ManualClock) -> (Self, Machine) {
        (Self::Memory(MemoryBroker::with_clock(Arc::new(clock))), Machine::new(1))
    }

    pub(crate) async fn local(clock: ManualClock) -> (Self, Machine) {
        // A new database takes the second in which it was made as its generation.
        let generation = clock.now().wall / 1000;
        let folder = tempfile::tempdir().unwrap();
        let witness = Box::new(open(&folder, &clock).await);
        (Self::Local { witness, folder }, Machine::new(generation))
    }

    pub(crate) async fn redis(server: Arc<Redis>, clock: ManualClock) -> (Self, Machine) {
        // As a new database does.
        let generation = clock.now().wall / 1000;
        let namespace = Namespace::new(&format!("history-{}", Incarnation::generate())).unwrap();
        server.set_clock(Duration::ZERO).unwrap();
        let witness = open_redis(&server, &namespace).await;
        (Self::Redis { witness, server, namespace }, Machine::new(generation))
    }

    pub(crate) async fn session(&self, clock: &ManualClock) -> Box<dyn Broker> {
        match self {
            Self::Memory(first) => Box::new(Guard::new(first.session())),
            Self::Local { folder, .. } => Box::new(open(folder, clock).await),
            Self::Redis { server, namespace, .. } => open_redis(server, namespace).await,
        }
    }

    /// Whether a process that dies is noticed at once, and not by its leases that run out.
    pub(crate) fn notices_deaths(&self) -> bool {
        !matches!(self, Self::Redis { .. })
    }

    /// The clock was moved.
    pub(crate) fn moved(&self, clock: &ManualClock) {
        if let Self::Redis { server, .. } = self {
            // Both begin with the year 2026.
            server.set_clock(Duration::from_millis(clock.now().steady)).unwrap();
        }
    }

    pub(crate) fn witness(&self) -> &dyn Broker {
        match self {
            Self::Memory(first) => first,
            Self::Local { witness, .. } | Self::Redis { witness, .. } => &**witness,
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
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
