//! Free slots: a worker claims no more than it can start at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::handler::Mode;

/// The slots of a worker, by the way in which handlers run.
#[derive(Debug)]
pub(crate) struct Slots {
    waiting: Arc<Semaphore>,
    threads: Arc<Semaphore>,
    /// How many are taken; whoever waits for a free one watches this.
    taken: watch::Sender<usize>,
}

/// A slot that is taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    slots: Arc<Slots>,
}

impl Slots {
    pub(crate) fn new(waiting: usize, threads: usize) -> Arc<Self> {
        Arc::new(Self {
            waiting: Arc::new(Semaphore::new(waiting)),
            threads: Arc::new(Semaphore::new(threads)),
            taken: watch::Sender::new(0),
        })
    }

    fn of(&self, mode: Mode) -> &Arc<Semaphore> {
        match mode {
            Mode::Async => &self.waiting,
            Mode::Blocking => &self.threads,
        }
    }

    pub(crate) fn free(&self, mode: Mode) -> usize {
        self.of(mode).available_permits()
    }

    /// How many slots are taken, of both kinds.
    pub(crate) fn taken(&self) -> usize {
        *self.taken.borrow()
    }

    /// Changes whenever a slot is taken or becomes free.
    pub(crate) fn changes(&self) -> watch::Receiver<usize> {
        self.taken.subscribe()
    }

    /// Takes a slot. Only the claim loop takes any, and no more than were free, so there always is one.
    pub(crate) fn take(self: &Arc<Self>, mode: Mode) -> Slot {
        let permit = Arc::clone(self.of(mode)).try_acquire_owned().ok();
        debug_assert!(permit.is_some(), "claimed more than there were free slots");
        self.taken.send_modify(|taken| *taken += 1);
        Slot { permit, slots: Arc::clone(self) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The permit first: who hears of the change must find it free.
        self.permit = None;
        self.slots.taken.send_modify(|taken| *taken -= 1);
    }
}
