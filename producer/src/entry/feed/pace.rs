//! How fast tasks are sent at most.

use std::time::Duration;

use tokio::time::Instant;

/// How much lost time is made up for: calls and timers take time, too.
const ARREARS: Duration = Duration::from_millis(100);

/// So many tasks in so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    tasks: u32,
    per: Duration,
}

impl Rate {
    /// Reads `100/s`, `30/m` or `500/h`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no rate: write 100/s, 30/m or 500/h");
        let (tasks, unit) = text.split_once('/').ok_or_else(wrong)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(wrong()),
        };
        match tasks.parse() {
            Ok(tasks) if tasks > 0 => Ok(Self { tasks, per: Duration::from_secs(seconds) }),
            _ => Err(wrong()),
        }
    }

    /// The time that so many tasks take.
    fn time(self, tasks: u64) -> Duration {
        self.per.mul_f64(tasks as f64 / f64::from(self.tasks))
    }
}

/// Holds the sender back.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Option<Rate>,
    /// When the next task may be sent.
    next: Instant,
}

impl Pace {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self { rate, next: Instant::now() }
    }

    /// How many tasks may go in one call: a tenth of a second's, so that they flow instead of coming in bursts.
    pub(super) fn at_once(&self) -> usize {
        match self.rate {
            Some(rate) => {
                let tenth = f64::from(rate.tasks) / rate.per.as_secs_f64() / 10.0;
                // A rate is at least one in an hour, and at most 2^32 a second.
                (tenth as usize).max(1)
            }
            None => usize::MAX,
        }
    }

    /// Completes when a task may be sent. Time that was lost before that is not made up for, but for a moment's.
    pub(super) async fn ready(&mut self) {
        tokio::time::sleep_until(self.next).await;
        self.next = Instant::now().checked_sub(ARREARS).map_or(self.next, |least| self.next.max(least));
    }

    /// Notes that so many were sent. What was there already took nobody's time.
    pub(super) fn sent(&mut self, tasks: u64) {
        if let Some(rate) = self.rate {
            self.next += rate.time(tasks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_need_units() {
        assert_eq!(Rate::parse("30/m").unwrap().time(1), Duration::from_secs(2));
        for bad in ["", "100", "0/s", "-1/s", "1.5/s", "100/d", "x/s", "1/2/s"] {
            assert!(Rate::parse(bad).is_err_and(|error| error.contains("100/s")), "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_sent_than_the_rate_lets() {
        let mut pace = Pace::new(Some(Rate::parse("100/s").unwrap()));
        let began = Instant::now();
        for _ in 0..50 {
            pace.ready().await;
            pace.sent(pace.at_once() as u64);
        }
        assert_eq!(pace.at_once(), 10);
        // The first ten go at once.
        assert_eq!(began.elapsed().as_millis(), 4900);
        // Whoever was held up by something else has a tenth of a second's tasks at once, and no more.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let began = Instant::now();
        for _ in 0..3 {
            pace.ready().await;
            pace.sent(10);
        }
        assert_eq!(began.elapsed().as_millis(), 100);
        let mut unlimited = Pace::new(None);
        unlimited.ready().await;
        assert_eq!((unlimited.at_once(), began.elapsed().as_millis()), (usize::MAX, 100));
    }
}
