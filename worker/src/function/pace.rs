//! How many calls a process, or a thread, is given ahead: as many as it does in a millisecond.

use std::time::Duration;

/// Of how much work one is given ahead.
const AHEAD: Duration = Duration::from_millis(1);

/// How many it is given at most.
const MOST: usize = 256;

/// How long calls take, as far as is known: a mean in which the last ones count most.
#[derive(Debug)]
pub struct Pace {
    /// In nanoseconds.
    usual: u64,
}

impl Default for Pace {
    /// Nothing is known: one at a time.
    fn default() -> Self {
        Self { usual: nanos(AHEAD) }
    }
}

impl Pace {
    /// One took so long.
    pub fn took(&mut self, time: Duration) {
        self.usual = (self.usual / 8 * 7).saturating_add(nanos(time) / 8);
    }

    /// Some were given back: one at a time, until it is quick again.
    pub fn slow(&mut self) {
        self.usual = self.usual.max(2 * nanos(AHEAD));
    }

    /// How many one may have at a time.
    #[must_use]
    pub fn window(&self) -> usize {
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
        let mut pace = Pace::default();
        assert_eq!(pace.window(), 1);
        for _ in 0..100 {
            pace.took(Duration::from_nanos(1000));
        }
        assert_eq!(pace.window(), MOST);
        pace.slow();
        assert_eq!(pace.window(), 1);
        for _ in 0..100 {
            pace.took(Duration::from_nanos(100_000));
        }
        assert!((5..=10).contains(&pace.window()), "{pace:?}");
        pace.took(Duration::from_nanos(10_000_000));
        assert_eq!(pace.window(), 1);
    }
}
