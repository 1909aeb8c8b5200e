//! Free slots: a worker claims no more than it can start at once. A slot is free again when the settlement of its task is on its
//! way, so that a broker can take the next task in the same breath.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::{function::SLOTS, handler::Mode};

/// The slots of a worker, by the way in which handlers run.
#[derive(Debug)]
pub(crate) struct Slots {
    waiting: Arc<Semaphore>,
    threads: Arc<Semaphore>,
    processes: Arc<Semaphore>,
    functions: Arc<Semaphore>,
    taken: AtomicUsize,
    running: AtomicUsize,
    /// Counts how often there was room again, or nothing under way any more; whoever waits for either watches this.
    changes: watch::Sender<u64>,
}

/// How many tasks are under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Until their settlements are answered.
    pub(crate) taken: usize,
    /// Of these, those whose handler has not ended.
    pub(crate) running: usize,
}

/// A slot that is taken until the settlement is on its way, and counted until it is answered, or this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    mode: Mode,
    permits: Vec<OwnedSemaphorePermit>,
    running: bool,
    slots: Arc<Slots>,
}

impl Slots {
    pub(crate) fn new(waiting: usize, threads: usize, processes: usize) -> Arc<Self> {
        Arc::new(Self {
            waiting: Arc::new(Semaphore::new(waiting)),
            threads: Arc::new(Semaphore::new(threads)),
            processes: Arc::new(Semaphore::new(processes)),
            functions: Arc::new(Semaphore::new(SLOTS)),
            taken: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            changes: watch::Sender::new(0),
        })
    }

    fn of(&self, mode: Mode) -> &Arc<Semaphore> {
        match mode {
            Mode::Async => &self.waiting,
            Mode::Blocking => &self.threads,
            Mode::Process => &self.processes,
            Mode::Function => &self.functions,
        }
    }

    pub(crate) fn free(&self, mode: Mode) -> usize {
        self.of(mode).available_permits()
    }

    /// How many tasks are under way, of all kinds.
    pub(crate) fn counts(&self) -> Counts {
        Counts { taken: self.taken.load(Ordering::SeqCst), running: self.running.load(Ordering::SeqCst) }
    }

    /// Changes whenever slots become free, and when nothing is under way any more.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Completes when nothing is under way.
    pub(crate) async fn idle(&self) {
        let mut changes = self.changes();
        // The sender lives in `self`, so there is always a next change to wait for.
        while self.counts().taken > 0 && changes.changed().await.is_ok() {}
    }

    /// Takes a slot. Only the claim loop takes any, and no more than were free, so there nearly always is one: a thread
    /// may have gone to a task that came from a queue of async ones, and then this one waits for it
    /// ([`Slot::take_thread`]).
    pub(crate) fn take(self: &Arc<Self>, mode: Mode) -> Slot {
        let permit = Arc::clone(self.of(mode)).try_acquire_owned().ok();
        self.taken.fetch_add(1, Ordering::SeqCst);
        self.running.fetch_add(1, Ordering::SeqCst);
        Slot { mode, permits: permit.into_iter().collect(), running: true, slots: Arc::clone(self) }
    }

    fn tell(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

impl Slot {
    /// Waits for a thread, if the slot is not one already. Tasks of a blocking handler can be sent to a queue whose own
    /// handlers are of another kind: they take a slot of both kinds.
    pub(crate) async fn take_thread(&mut self) {
        if self.mode != Mode::Blocking || self.permits.is_empty() {
            // The semaphore is never closed.
            self.permits.extend(Arc::clone(&self.slots.threads).acquire_owned().await.ok());
            self.mode = Mode::Blocking;
        }
    }

    /// Makes room: the handlers have ended, and the settlements are on their way. Who waits hears of it once, when there
    /// is room for all.
    pub(crate) fn make_room<'a>(ended: impl IntoIterator<Item = &'a mut Self>) {
        let mut all = None;
        for slot in ended {
            slot.handler_ended();
            if !slot.permits.is_empty() {
                slot.permits.clear();
                all = Some(&slot.slots);
            }
        }
        if let Some(slots) = all {
            slots.tell();
        }
    }

    /// Notes that the handler ended.
    pub(crate) fn handler_ended(&mut self) {
        if std::mem::take(&mut self.running) {
            self.slots.running.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.handler_ended();
        // The permits first: who hears of the change must find them free.
        let room = !self.permits.is_empty();
        self.permits.clear();
        let last = self.slots.taken.fetch_sub(1, Ordering::SeqCst) == 1;
        if room || last {
            self.slots.tell();
        }
    }
}
