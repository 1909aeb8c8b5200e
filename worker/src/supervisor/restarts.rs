//! When a worker process is started in the place of one that fell.
//!
//! All worker processes of a supervisor are the same program, so one that falls soon after its start tells what would become of the
//! next: the pauses are common to all, and while a trial is under way nobody else is started.

use std::time::{Duration, Instant};

/// The first pause and the longest; each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Who has run for so long had a good start.
const WELL: Duration = Duration::from_secs(10);

/// How many fell soon after their start, and what follows from that.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    failures: u32,
    /// When the last of them fell.
    last: Option<Instant>,
}

impl Restarts {
    /// A worker process fell that had begun then. Returns how long to wait before another takes its place.
    pub(super) fn fell(&mut self, began: Instant, now: Instant) -> Duration {
        if now.saturating_duration_since(began) >= WELL {
            self.forget();
        } else if self.last.is_none_or(|last| began > last) {
            self.failures += 1;
            self.last = Some(now);
        }
        // Otherwise it was started before the last one fell: the same failure once more.
        self.until().map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// What was wrong may be mended: no pause any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Before when nobody is started, if somebody fell soon after the start; from then on one at a time, until one is ready.
    pub(super) fn until(&self) -> Option<Instant> {
        let pause = PAUSES.0.saturating_mul(1 << self.failures.saturating_sub(1).min(16)).min(PAUSES.1);
        self.last.map(|last| last + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_forgotten() {
        let (mut restarts, mut now) = (Restarts::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let began = now;
            now += Duration::from_millis(5);
            let pause = restarts.fell(began, now);
            pauses.push(pause.as_millis());
            now += pause;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
        assert_eq!(restarts.fell(now, now + WELL), Duration::ZERO, "it ran well");
        assert_eq!(restarts.until(), None);
        assert_eq!(restarts.fell(now, now + WELL / 2), PAUSES.0, "from the beginning");
    }

    #[test]
    fn those_that_fall_together_count_once() {
        let (mut restarts, began) = (Restarts::default(), Instant::now());
        let now = began + Duration::from_millis(5);
        assert_eq!([(); 8].map(|()| restarts.fell(began, now)), [PAUSES.0; 8]);
        assert_eq!(restarts.fell(now + PAUSES.0, now + 2 * PAUSES.0), 2 * PAUSES.0);
    }
}
