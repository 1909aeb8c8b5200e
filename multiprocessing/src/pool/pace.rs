//! How many units a process is given ahead: as many as it does in a millisecond.

use std::time::Duration;

/// Of how much work a process is given ahead.
const AHEAD: Duration = Duration::from_millis(1);

/// How many units it is given at most.
const MOST: usize = 256;

/// How long units take one process, as far as is known.
#[derive(Debug)]
pub(super) struct Pace {
    /// In nanoseconds.
    usual: u64,
}

impl Pace {
    /// Nothing is known: one at a time.
    pub(super) fn new() -> Self {
        Self { usual: nanos(AHEAD) }
    }

    /// A unit took so long, in nanoseconds.
    pub(super) fn took(&mut self, nanos: u64) {
        self.usual = (self.usual / 8 * 7).saturating_add(nanos / 8);
    }

    /// Units were given back: one at a time, until it is quick again.
    pub(super) fn slow(&mut self) {
        self.usual = self.usual.max(2 * nanos(AHEAD));
    }

    /// How many it may have at a time.
    pub(super) fn window(&self) -> usize {
        usize::try_from(nanos(AHEAD) / self.usual.max(1)).unwrap_or(MOST).clamp(1, MOST)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_quick_is_given_more_and_who_is_slow_one_at_a_time() {
        let mut pace = Pace::new();
        assert_eq!(pace.window(), 1);
        for _ in 0..100 {
            pace.took(1000);
        }
        assert_eq!(pace.window(), MOST);
        pace.slow();
        assert_eq!(pace.window(), 1);
        for _ in 0..100 {
            pace.took(100_000);
        }
        assert!((5..=10).contains(&pace.window()), "{pace:?}");
        pace.took(10_000_000);
        assert_eq!(pace.window(), 1);
    }
}
