//! What samples of queues, one after another, tell: how old the oldest ready task is, how many come, how many are taken.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use manyhands_broker::QueueName;

use super::sample::{QueueSample, Sample};

/// Over how long rates are taken.
pub(super) const RATES: Duration = Duration::from_secs(3);

/// How many samples of a queue are kept: with one a second, the age of what waits for longer than ten minutes is told as that.
const KEPT: usize = 600;

/// The load of some queues together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// How many tasks can be claimed now.
    pub ready: u64,
    /// How many tasks processes hold.
    pub leased: u64,
    /// For how long the oldest ready task has been waiting, at least; zero where none waits.
    pub oldest: Duration,
    /// How many tasks come a second: are enqueued, come due, or are revived. One that is put off counts when it is enqueued and when it
    /// comes due. `None` where the broker does not count them, and before the second sample.
    pub arrivals: Option<f64>,
    /// How many tasks are taken a second, as far as it follows from those that come. `None` as above.
    pub claims: Option<f64>,
}

/// Remembers samples.
#[derive(Debug, Default)]
pub struct Watch(BTreeMap<QueueName, Series>);

/// The samples of one queue, the latest last.
#[derive(Debug, Default)]
struct Series(VecDeque<(Instant, QueueSample)>);

impl Watch {
    /// Takes in what was asked at this time; tells the load.
    pub fn add(&mut self, at: Instant, sample: &Sample) -> Load {
        self.0.retain(|queue, _| sample.queues.contains_key(queue));
        let mut load = Load::default();
        let (mut arrivals, mut claims) = (Some(0.0), Some(0.0));
        for (queue, one) in &sample.queues {
            let series = self.0.entry(queue.clone()).or_default();
            series.add(at, *one);
            load.ready += one.ready;
            load.leased += one.leased;
            load.oldest = load.oldest.max(series.oldest());
            let rates = series.rates();
            arrivals = arrivals.zip(rates).map(|(sum, (one, _))| sum + one);
            claims = claims.zip(rates).map(|(sum, (_, one))| sum + one);
        }
        (load.arrivals, load.claims) = (arrivals, claims);
        load
    }
}

impl Series {
    fn add(&mut self, at: Instant, sample: QueueSample) {
        if self.0.back().is_some_and(|(_, last)| last.sequence > sample.sequence) {
            // It was removed and made again.
            self.0.clear();
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((at, sample));
    }

    /// For how long the oldest ready task has been waiting, at least.
    ///
    /// So many are ready, so the oldest came when as many were still to come as are ready now; that is what it is in a queue that is first
    /// in, first out. Where the broker counts nothing, it is how long there has always been something ready.
    fn oldest(&self) -> Duration {
        let Some((now, last)) = self.0.back() else { return Duration::ZERO };
        let waited = |at: &Instant| now.saturating_duration_since(*at);
        if last.ready == 0 {
            return Duration::ZERO;
        }
        let since = match last.sequence {
            Some(sequence) => {
                let before = sequence.saturating_sub(last.ready);
                self.0.iter().find(|(_, sample)| sample.sequence > Some(before))
            }
            None => self.0.iter().rev().take_while(|(_, sample)| sample.ready > 0).last(),
        };
        since.map_or(Duration::ZERO, |(at, _)| waited(at))
    }

    /// How many came a second of late, and how many were taken.
    fn rates(&self) -> Option<(f64, f64)> {
        let (now, last) = self.0.back()?;
        let late = |at: &Instant| now.saturating_duration_since(*at) >= RATES;
        let (then, first) = self.0.iter().rev().find(|(at, _)| late(at)).or_else(|| self.0.front())?;
        let seconds = now.saturating_duration_since(*then).as_secs_f64();
        if seconds == 0.0 {
            return None;
        }
        let came = last.sequence?.saturating_sub(first.sequence?);
        let taken = (came + first.ready).saturating_sub(last.ready);
        Some((came as f64 / seconds, taken as f64 / seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The loads of one queue, second by second.
    fn loads(samples: &[(u64, Option<u64>)]) -> Vec<Load> {
        let (mut watch, began) = (Watch::default(), Instant::now());
        let name = QueueName::new("q").unwrap();
        let load = |(second, (ready, sequence)): (usize, &(u64, Option<u64>))| {
            let one = QueueSample { ready: *ready, leased: 1, sequence: *sequence };
            watch.add(began + SECOND * second as u32, &Sample { queues: [(name.clone(), one)].into() })
        };
        samples.iter().enumerate().map(load).collect()
    }

    fn ages(samples: &[(u64, Option<u64>)]) -> Vec<u64> {
        loads(samples).iter().map(|load| load.oldest.as_secs()).collect()
    }

    #[test]
    fn the_oldest_is_as_old_as_what_came_since() {
        // Ten come a second and all are taken; then none is taken for three seconds, then all that wait.
        let samples = [(0, 10), (0, 20), (10, 30), (20, 40), (30, 50), (0, 60)];
        let samples = samples.map(|(ready, sequence)| (ready, Some(sequence)));
        assert_eq!(ages(&samples), [0, 0, 0, 1, 2, 0]);
        // What was there at first has been waiting for longer than is known.
        assert_eq!(ages(&[(100, Some(100)), (90, Some(100)), (80, Some(100))]), [0, 1, 2]);
        // As many wait all the time, but not for long: they are always others.
        assert_eq!(ages(&[(5, Some(100)), (5, Some(200)), (5, Some(300))]), [0, 0, 0]);
        // Made anew.
        assert_eq!(ages(&[(5, Some(100)), (5, Some(100)), (5, Some(5)), (5, Some(5))]), [0, 1, 0, 1]);
    }

    #[test]
    fn where_nobody_counts_it_is_how_long_something_has_been_ready() {
        assert_eq!(
            ages(&[(5, None), (0, None), (1, None), (9, None), (1, None), (0, None)]),
            [0, 0, 0, 1, 2, 0]
        );
        assert_eq!(loads(&[(5, None), (5, None)])[1].arrivals, None);
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let samples = [(0, 0), (0, 100), (50, 200), (100, 300), (100, 300), (0, 300)];
        let loads = loads(&samples.map(|(ready, sequence)| (ready, Some(sequence))));
        let rates: Vec<_> = loads.iter().map(|load| (load.arrivals, load.claims)).collect();
        assert_eq!(rates[0], (None, None), "nothing is known yet");
        assert_eq!(rates[1], (Some(100.0), Some(100.0)));
        assert_eq!(rates[3], (Some(100.0), Some(200.0 / 3.0)));
        assert_eq!(rates[5], (Some(100.0 / 3.0), Some(50.0)), "in the last three seconds");
    }
}
