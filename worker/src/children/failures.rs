//! When a child is started again: at once, unless they keep dying before they have done anything.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Mutex as AsyncMutex, MutexGuard, Notify};

/// How long to wait before a child is started again, from the second failure in a row on: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Children of one pool that ended before they had answered anything.
#[derive(Debug, Default)]
pub(super) struct Failures {
    state: Mutex<State>,
    /// While they fail, one is started at a time.
    turn: AsyncMutex<()>,
    /// Rung when one has answered.
    well: Notify,
}

#[derive(Debug, Default)]
struct State {
    in_a_row: u32,
    last: Option<Instant>,
}

impl Failures {
    /// Notes that a child ended that had answered nothing and was started at `began`. Those that were started before the last failure was
    /// known count as one with it: all of them may end at once.
    pub(super) fn failed(&self, began: Instant) {
        let mut state = self.state();
        if state.last.is_none_or(|last| began >= last) {
            state.in_a_row = state.in_a_row.saturating_add(1);
            state.last = Some(Instant::now());
        }
    }

    /// Notes that a child has answered.
    pub(super) fn well(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.in_a_row) > 0 {
            self.well.notify_waiters();
        }
    }

    /// How long to wait before the next start.
    pub(super) fn pause(&self) -> Duration {
        match self.state().in_a_row {
            0 | 1 => Duration::ZERO,
            n => PAUSES.0.saturating_mul(1 << (n - 2).min(16)).min(PAUSES.1),
        }
    }

    /// Waits until a child may be started, which it is while the guard is held.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        if self.pause().is_zero() {
            return None;
        }
        let turn = self.turn.lock().await;
        let well = self.well.notified();
        let pause = self.pause();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = well => {}
        }
        (!pause.is_zero()).then_some(turn)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_until_one_answers() {
        let failures = Failures::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            failures.failed(Instant::now());
            pauses.push(failures.pause().as_millis());
        }
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        failures.well();
        assert!(failures.pause().is_zero());
    }

    #[test]
    fn all_that_die_at_once_are_one_failure() {
        let (failures, began) = (Failures::default(), Instant::now());
        for _ in 0..16 {
            failures.failed(began);
        }
        assert!(failures.pause().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn while_they_fail_one_is_started_at_a_time() {
        let failures = Failures::default();
        assert!(failures.turn().await.is_none(), "nothing failed");
        (0..3).for_each(|_| failures.failed(Instant::now()));
        let first = failures.turn().await;
        assert!(first.is_some());
        let others = futures_util::future::join(failures.turn(), failures.turn());
        tokio::pin!(others);
        assert!(futures_util::poll!(&mut others).is_pending(), "one is being started");
        failures.well();
        drop(first);
        let (second, third) = others.await;
        assert!(second.is_none() && third.is_none(), "it is well again");
    }
}
