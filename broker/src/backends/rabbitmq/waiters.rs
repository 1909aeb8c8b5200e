//! Who waits for news of which queues in this session, and for what.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{Interest, QueueName};

/// All who wait.
#[derive(Default)]
pub(super) struct Waiters(Mutex<BTreeMap<u64, Waiter>>);

struct Waiter {
    interest: Interest,
    /// None in particular: all of them.
    queues: Vec<QueueName>,
    woken: Arc<Notify>,
}

/// Somebody waits until this is dropped.
pub(super) struct Waiting {
    waiters: Arc<Waiters>,
    number: u64,
    woken: Arc<Notify>,
}

impl Waiters {
    /// Registers somebody: what happens from here on counts, also before it is waited for.
    pub(super) fn register(self: &Arc<Self>, interest: Interest, queues: &[QueueName]) -> Waiting {
        let woken = Arc::new(Notify::new());
        let mut waiters = self.all();
        // No other one that is there has it.
        let number = waiters.last_key_value().map_or(0, |(last, _)| last + 1);
        waiters.insert(number, Waiter { interest, queues: queues.to_vec(), woken: Arc::clone(&woken) });
        Waiting { waiters: Arc::clone(self), number, woken }
    }

    /// Whether somebody waits for tasks of this queue.
    pub(super) fn want(&self, queue: &QueueName) -> bool {
        self.all().values().any(|waiter| {
            matches!(waiter.interest, Interest::Ready | Interest::Any) && waiter.queues.contains(queue)
        })
    }

    /// Wakes who waits for such news of this queue.
    pub(super) fn wake(&self, of: Interest, queue: &QueueName) {
        for waiter in self.all().values() {
            let concerned = waiter.interest == of || waiter.interest == Interest::Any;
            if concerned && (waiter.queues.is_empty() || waiter.queues.contains(queue)) {
                waiter.woken.notify_one();
            }
        }
    }

    /// Wakes everybody: what happened may concern anything.
    pub(super) fn wake_all(&self) {
        self.all().values().for_each(|waiter| waiter.woken.notify_one());
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Waiter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Returns when there may be something, or has been since this was registered.
    pub(super) async fn woken(self) {
        self.woken.notified().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiters.all().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn queue(name: &str) -> QueueName {
        QueueName::new(name).unwrap()
    }

    #[test]
    fn only_who_is_concerned_is_woken() {
        let waiters = Arc::new(Waiters::default());
        let register = |interest, names: &[&str]| {
            waiters.register(interest, &names.iter().map(|name| queue(name)).collect::<Vec<_>>())
        };
        let ready = register(Interest::Ready, &["a", "b"]);
        let settled = register(Interest::Settled, &["a"]);
        let any = register(Interest::Any, &["b"]);
        let all = register(Interest::Any, &[]);
        assert!(waiters.want(&queue("a")) && waiters.want(&queue("b")) && !waiters.want(&queue("c")));
        waiters.wake(Interest::Ready, &queue("a"));
        let woken = |waiting: Waiting| waiting.woken().now_or_never().is_some();
        assert_eq!([ready, settled, any, all].map(woken), [true, false, false, true]);
        assert!(!waiters.want(&queue("a")), "nobody waits any more");
        let settled = register(Interest::Settled, &["a"]);
        assert!(!waiters.want(&queue("a")), "who waits for an end takes no tasks");
        waiters.wake_all();
        assert!(woken(settled));
    }
}
