//! Who waits for what, and what the server tells of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{
    ahead::{Ahead, Told},
    told,
};
use crate::{Interest, QueueName, Waiter, backends::outcomes::Outcomes};

/// Those who wait, and what came for them.
#[derive(Debug, Default)]
pub(super) struct News {
    waiting: Mutex<Vec<Waiting>>,
    pub(super) ahead: Ahead,
    pub(super) outcomes: Outcomes,
}

#[derive(Debug)]
struct Waiting {
    interest: Interest,
    /// None for all.
    queues: Vec<QueueName>,
    wake: oneshot::Sender<()>,
}

impl News {
    /// Registers before it returns.
    pub(super) fn wait(&self, interest: Interest, queues: &[QueueName]) -> Waiter {
        let (wake, woken) = oneshot::channel();
        let mut waiting = self.waiting();
        if waiting.len() == waiting.capacity() {
            waiting.retain(|one| !one.wake.is_closed());
        }
        waiting.push(Waiting { interest, queues: queues.to_vec(), wake });
        Box::pin(async move {
            // An error means that the session is gone, which is worth waking up for too.
            let _ = woken.await;
        })
    }

    /// Whether somebody waits for tasks of this queue.
    pub(super) fn is_wanted(&self, queue: &QueueName) -> bool {
        self.waiting().iter().any(|one| {
            one.interest != Interest::Settled && !one.wake.is_closed() && one.queues.contains(queue)
        })
    }

    /// Wakes all: what happened meanwhile was not heard.
    pub(super) fn wake_all(&self) {
        for one in self.waiting().drain(..) {
            // Who does not wait any more need not hear it.
            let _ = one.wake.send(());
        }
        self.outcomes.have_all_asked();
    }

    /// Wakes those whom this message of a script concerns, which came over the connection of this number. `end_step` in `lua/lib.lua` writes it, or
    /// `send_ahead` in `lua/send_ahead.lua`.
    pub(super) fn heard(&self, line: u64, message: &[u8]) {
        if let Some(told) = Told::read(message) {
            let queue = told.queue.clone();
            if self.ahead.heard(line, told) {
                self.wake(|one| Line { ready: true, settled: false, queue: queue.as_str() }.concerns(one));
            }
            return;
        }
        let lines = match told::read(message) {
            // It may come twice, over an earlier connection, too: what became of a task does not change.
            Some(Some(told)) => {
                return told.into_iter().for_each(|(id, became)| self.outcomes.tell(&id, became));
            }
            Some(None) => None,
            None => read(message),
        };
        let Some(lines) = lines else {
            tracing::debug!(message = %message.escape_ascii(), "news that cannot be read wakes everybody");
            return self.wake_all();
        };
        self.wake(|one| lines.iter().any(|line| line.concerns(one)));
    }

    fn wake(&self, concerned: impl Fn(&Waiting) -> bool) {
        for one in self.waiting().extract_if(.., |one| one.wake.is_closed() || concerned(one)) {
            let _ = one.wake.send(());
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // A list is whole between any two changes.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happened on one queue, or on all if it has no name.
struct Line<'a> {
    ready: bool,
    settled: bool,
    queue: &'a str,
}

impl Line<'_> {
    fn concerns(&self, one: &Waiting) -> bool {
        let kind = match one.interest {
            Interest::Ready => self.ready,
            Interest::Settled => self.settled,
            Interest::Any => true,
        };
        let anywhere = self.queue.is_empty() || one.queues.is_empty();
        kind && (anywhere || one.queues.iter().any(|queue| queue.as_str() == self.queue))
    }
}

fn read(message: &[u8]) -> Option<Vec<Line<'_>>> {
    let line = |line| {
        let (kinds, queue): (&str, _) = str::split_once(line, ' ')?;
        let known = kinds.chars().all(|kind| matches!(kind, 'r' | 's'));
        known.then(|| Line { ready: kinds.contains('r'), settled: kinds.contains('s'), queue })
    };
    std::str::from_utf8(message).ok()?.split('\n').map(line).collect()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn only_those_are_woken_whom_it_concerns() {
        let (a, b) = (QueueName::new("a").unwrap(), QueueName::new("b").unwrap());
        let woken = |message: &[u8]| {
            let news = News::default();
            let mut all = [
                news.wait(Interest::Ready, std::slice::from_ref(&a)),
                news.wait(Interest::Settled, &[b.clone(), a.clone()]),
                news.wait(Interest::Any, std::slice::from_ref(&b)),
                news.wait(Interest::Any, &[]),
            ];
            news.heard(1, message);
            all.each_mut().map(|one| one.now_or_never().is_some())
        };
        assert_eq!(woken(b"r a"), [true, false, false, true]);
        assert_eq!(woken(b"s a"), [false, true, false, true]);
        assert_eq!(woken(b"s b"), [false, true, true, true]);
        assert_eq!(woken(b"r c"), [false, false, false, true]);
        assert_eq!(woken(b"r a\nrs b"), [true; 4]);
        assert_eq!(woken(b"rs "), [true; 4]);
        assert_eq!(woken(b"what comes"), [true; 4], "of a newer version");
        assert_eq!(woken(b"\xff"), [true; 4]);
    }

    #[test]
    fn who_went_away_is_forgotten() {
        let news = News::default();
        for _ in 0..1000 {
            drop(news.wait(Interest::Any, &[]));
        }
        assert!(news.waiting().len() < 10, "{}", news.waiting().len());
        let waits = news.wait(Interest::Ready, &[]);
        news.wake_all();
        assert!(waits.now_or_never().is_some());
        assert!(news.waiting().is_empty());
    }
}
