//! The leases that this process holds, for those who renew them and those who must stop without them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use manyhands_broker::{Beat, Lease, Payload};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// All leases of a worker.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<Lease, Entry>>,
    /// Rung when there is progress to tell.
    news: Notify,
}

#[derive(Debug)]
struct Entry {
    /// When the broker last confirmed it: the beginning of that call, as the lease counts from some time after it.
    renewed: Instant,
    /// Stops the handler.
    cancel: CancellationToken,
    lost: bool,
    /// Whether somebody cancelled the task.
    cancelled: bool,
    /// What the handler said of its progress, until the broker knows it.
    progress: Option<Payload>,
}

/// A lease that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    leases: Arc<Leases>,
    lease: Lease,
    pub(crate) cancel: CancellationToken,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, HashMap<Lease, Entry>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a lease that was claimed by a call that began at `renewed`.
    pub(crate) fn hold(self: &Arc<Self>, lease: Lease, renewed: Instant) -> Held {
        let cancel = CancellationToken::new();
        let entry = Entry { renewed, cancel: cancel.clone(), lost: false, cancelled: false, progress: None };
        self.lock().insert(lease.clone(), entry);
        Held { leases: Arc::clone(self), lease, cancel }
    }

    /// The leases that are to be renewed.
    pub(crate) fn to_renew(&self) -> Vec<Beat> {
        self.lock().iter().filter(|(_, entry)| !entry.lost).map(|(lease, _)| lease.clone().into()).collect()
    }

    /// What is to be told of progress.
    pub(crate) fn to_tell(&self) -> Vec<Beat> {
        let beat = |(lease, entry): (&Lease, &Entry)| {
            let progress = entry.progress.clone().filter(|_| !entry.lost)?;
            Some(Beat { lease: lease.clone(), progress: Some(progress) })
        };
        self.lock().iter().filter_map(beat).collect()
    }

    /// The broker confirmed a beat that was made at this time.
    pub(crate) fn renewed(&self, beat: &Beat, at: Instant) {
        if let Some(entry) = self.lock().get_mut(&beat.lease) {
            entry.renewed = entry.renewed.max(at);
            // Unless the handler has said more meanwhile.
            if entry.progress == beat.progress {
                entry.progress = None;
            }
        }
    }

    /// Completes when a handler has said something of its progress, or had before this was called.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Somebody cancelled the task: its handler is to stop, and the lease is given back.
    pub(crate) fn cancelled(&self, lease: &Lease) {
        if let Some(entry) = self.lock().get_mut(lease) {
            entry.cancelled = true;
            entry.cancel.cancel();
        }
    }

    /// The broker gave it to another: whoever runs the task must stop.
    pub(crate) fn lose(&self, lease: &Lease) {
        if let Some(entry) = self.lock().get_mut(lease) {
            entry.lost = true;
            entry.cancel.cancel();
        }
    }

    /// Gives up what was not confirmed for so long, before the broker may give it to another; returns how many.
    pub(crate) fn lose_unconfirmed(&self, after: Duration) -> usize {
        let mut lost = 0;
        for entry in self.lock().values_mut().filter(|entry| !entry.lost && entry.renewed.elapsed() >= after)
        {
            entry.lost = true;
            entry.cancel.cancel();
            lost += 1;
        }
        lost
    }

    /// How long ago the lease was confirmed that was not for the longest time.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.lock().values().filter(|entry| !entry.lost).map(|entry| entry.renewed.elapsed()).max()
    }

    /// Stops all handlers, without losing the leases.
    pub(crate) fn cancel_all(&self) {
        self.lock().values().for_each(|entry| entry.cancel.cancel());
    }
}

/// By which one handler says how far it is.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    leases: Arc<Leases>,
    lease: Lease,
}

impl Teller {
    /// Takes the place of what was said before and not told yet.
    pub(crate) fn tell(&self, progress: Payload) {
        if let Some(entry) = self.leases.lock().get_mut(&self.lease) {
            entry.progress = Some(progress);
        }
        self.leases.news.notify_one();
    }
}

impl Held {
    pub(crate) fn teller(&self) -> Teller {
        Teller { leases: Arc::clone(&self.leases), lease: self.lease.clone() }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.leases.lock().get(&self.lease).is_some_and(|entry| entry.cancelled)
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.leases.lock().get(&self.lease).is_none_or(|entry| entry.lost)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.leases.lock().remove(&self.lease);
    }
}
