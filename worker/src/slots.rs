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
    counts: watch::Sender<Counts>,
}

/// How many slots are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Taken: a task is under way, until its settlement is answered.
    pub(crate) taken: usize,
    /// Of these, those whose handler has not ended.
    pub(crate) running: usize,
}

/// A slot that is taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    mode: Mode,
    permits: Vec<OwnedSemaphorePermit>,
    running: bool,
    /// Whether it is to be counted as free when it is dropped.
    taken: bool,
    slots: Arc<Slots>,
}

impl Slots {
    pub(crate) fn new(waiting: usize, threads: usize) -> Arc<Self> {
        Arc::new(Self {
            waiting: Arc::new(Semaphore::new(waiting)),
            threads: Arc::new(Semaphore::new(threads)),
            counts: watch::Sender::new(Counts::default()),
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

    /// How many slots are in use, of both kinds.
    pub(crate) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Changes whenever a slot is taken or becomes free.
    pub(crate) fn changes(&self) -> watch::Receiver<Counts> {
        self.counts.subscribe()
    }

    /// Takes a slot. Only the claim loop takes any, and no more than were free, so there nearly always is one: a thread
    /// may have gone to a task that came from a queue of async ones, and then this one waits for it
    /// ([`Slot::take_thread`]).
    pub(crate) fn take(self: &Arc<Self>, mode: Mode) -> Slot {
        let permit = Arc::clone(self.of(mode)).try_acquire_owned().ok();
        self.counts.send_modify(|counts| {
            counts.taken += 1;
            counts.running += 1;
        });
        Slot {
            mode,
            permits: permit.into_iter().collect(),
            running: true,
            taken: true,
            slots: Arc::clone(self),
        }
    }
}

impl Slot {
    /// Waits for a thread, if the slot is not one already. Tasks of a blocking handler can be sent to a queue whose own
    /// handlers are async: they take a slot of both kinds.
    pub(crate) async fn take_thread(&mut self) {
        if self.mode == Mode::Async || self.permits.is_empty() {
            // The semaphore is never closed.
            self.permits.extend(Arc::clone(&self.slots.threads).acquire_owned().await.ok());
            self.mode = Mode::Blocking;
        }
    }

    /// Frees slots of one worker together: who waits hears of it once, when all are free.
    pub(crate) fn free_all(mut slots: Vec<Self>) {
        let Some(all) = slots.first().map(|slot| Arc::clone(&slot.slots)) else { return };
        for slot in &mut slots {
            slot.permits.clear();
        }
        all.counts.send_modify(|counts| {
            for slot in &mut slots {
                counts.running -= usize::from(std::mem::take(&mut slot.running));
                counts.taken -= usize::from(std::mem::take(&mut slot.taken));
            }
        });
    }

    /// Notes that the handler ended; the slot is taken until the settlement is answered.
    pub(crate) fn handler_ended(&mut self) {
        if std::mem::take(&mut self.running) {
            self.slots.counts.send_modify(|counts| counts.running -= 1);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.handler_ended();
        // The permits first: who hears of the change must find them free.
        self.permits.clear();
        if self.taken {
            self.slots.counts.send_modify(|counts| counts.taken -= 1);
        }
    }
}
