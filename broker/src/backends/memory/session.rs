//! Sessions of a memory broker: several may share one machine, each with an incarnation of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::workers::Told;
use crate::{
    Incarnation,
    clock::{Clock, Now, ProcessClock},
    machine::Machine,
};

/// A session with a queue in the memory of this process.
///
/// Dropping a session is the death of its process: what it still holds is taken back.
#[derive(Debug)]
pub struct MemoryBroker {
    pub(super) incarnation: Incarnation,
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    machine: Mutex<Machine>,
    clock: Arc<dyn Clock>,
    /// Those that are open.
    sessions: Mutex<BTreeSet<Incarnation>>,
    /// What workers told of themselves.
    workers: Mutex<BTreeMap<Incarnation, Told>>,
    /// Counts what may concern somebody who waits.
    changes: watch::Sender<u64>,
}

impl MemoryBroker {
    /// Makes an empty broker and a session with it.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(ProcessClock::default()))
    }

    /// As [`MemoryBroker::new`], with a clock that a test moves.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let machine = Mutex::new(Machine::new(1));
        let (sessions, workers, changes) = (Mutex::default(), Mutex::default(), watch::Sender::new(0));
        Self::join(Arc::new(Shared { machine, clock, sessions, workers, changes }))
    }

    /// Opens another session with the same broker.
    #[must_use]
    pub fn session(&self) -> Self {
        Self::join(Arc::clone(&self.shared))
    }

    fn join(shared: Arc<Shared>) -> Self {
        let incarnation = Incarnation::generate();
        shared.sessions().insert(incarnation);
        Self { incarnation, shared }
    }

    /// Checks the invariants of the machine.
    ///
    /// # Errors
    /// The sentence that is not true.
    pub fn check(&self) -> Result<(), String> {
        self.shared.lock().check()
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MemoryBroker {
    fn drop(&mut self) {
        let now = self.shared.now();
        self.shared.sessions().remove(&self.incarnation);
        self.shared.workers().remove(&self.incarnation);
        self.shared.lock().expire_holder(self.incarnation, now);
        self.shared.ring();
    }
}

impl Shared {
    /// The machine. A panic in another thread cannot have left it half changed: the machine itself never
    /// panics, so a poisoned lock is taken as it is.
    pub(super) fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sessions(&self) -> MutexGuard<'_, BTreeSet<Incarnation>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn workers(&self) -> MutexGuard<'_, BTreeMap<Incarnation, Told>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(super) fn ring(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
