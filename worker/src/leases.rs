//! The leases that this process holds, for those who renew them and those who must stop without them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use manyhands_broker::Lease;
use tokio_util::sync::CancellationToken;

/// All leases of a worker.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<HashMap<Lease, Entry>>);

#[derive(Debug)]
struct Entry {
    /// When the broker last confirmed it: the beginning of that call, as the lease counts from some time after it.
    renewed: Instant,
    /// Stops the handler.
    cancel: CancellationToken,
    lost: bool,
    /// Whether somebody cancelled the task.
    cancelled: bool,
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a lease that was claimed by a call that began at `renewed`.
    pub(crate) fn hold(self: &Arc<Self>, lease: Lease, renewed: Instant) -> Held {
        let cancel = CancellationToken::new();
        self.lock()
            .insert(lease.clone(), Entry { renewed, cancel: cancel.clone(), lost: false, cancelled: false });
        Held { leases: Arc::clone(self), lease, cancel }
    }

    /// The leases that are to be renewed.
    pub(crate) fn to_renew(&self) -> Vec<Lease> {
        self.lock().iter().filter(|(_, entry)| !entry.lost).map(|(lease, _)| lease.clone()).collect()
    }

    pub(crate) fn renewed(&self, lease: &Lease, at: Instant) {
        if let Some(entry) = self.lock().get_mut(lease) {
            entry.renewed = at;
        }
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

impl Held {
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
