//! From the load to the number of worker processes.
//!
//! The rule is that of the Horizontal Pod Autoscaler of Kubernetes (<https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/>)
//! with what a queue can tell in the place of a metric: out, by the ratio of what is asked for to what is done, at most to the double or
//! by four at once; in, to the highest number that was needed for a while. What is asked for is what comes, and what waits already, within
//! [`SOON`].

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    bounds::Bounds,
    load::{Load, RATES},
};

/// How old the oldest ready task may become before there are to be more.
const LATE: Duration = Duration::from_secs(1);

/// Within how long what waits is to be taken.
const SOON: Duration = Duration::from_secs(10);

/// How much of all slots may be taken where fewer would do.
const BUSY: f64 = 0.8;

/// For how long fewer must have been enough before there are fewer.
const CALM: Duration = Duration::from_secs(30);

/// Who does the work now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staff {
    /// How many worker processes are ready.
    pub workers: usize,
    /// How many tasks each of them can run at a time.
    pub slots: usize,
}

/// How many worker processes a load needs, as they are now, without bounds and without a memory.
#[must_use]
pub fn need(load: &Load, staff: Staff) -> usize {
    let Staff { workers, slots } = staff;
    if workers == 0 {
        return usize::from(load.ready + load.leased > 0);
    }
    let holds = (load.leased as f64 / (slots.max(1) as f64 * BUSY)).ceil() as usize;
    // Where nobody counts, something may be ready all the time and never for long.
    let waits = load.arrivals.is_some() || load.ready > (workers * slots) as u64;
    if load.oldest < LATE || !waits {
        return holds.clamp(1, workers);
    }
    let most = (2 * workers).max(workers + 4);
    let asked = |arrivals: f64| arrivals + load.ready as f64 / SOON.as_secs_f64();
    let needed = match (load.arrivals, load.claims) {
        (Some(arrivals), Some(claims)) if claims > 0.0 => {
            (workers as f64 * asked(arrivals) / claims).ceil() as usize
        }
        _ => most,
    };
    needed.clamp(workers, most)
}

/// Says how many worker processes there are to be, and does not change its mind with every sample.
#[derive(Debug)]
pub struct Scaler {
    bounds: Bounds,
    wanted: usize,
    /// What was needed of late.
    needs: VecDeque<(Instant, usize)>,
    /// When it began, or more were wanted: what is measured is of fewer for as long as rates are taken.
    changed: Option<Instant>,
}

impl Scaler {
    /// Begins with so many, or as many as the bounds allow.
    #[must_use]
    pub fn new(bounds: Bounds, wanted: usize) -> Self {
        Self { bounds, wanted: bounds.clamp(wanted), needs: VecDeque::new(), changed: None }
    }

    /// Changes the bounds.
    pub fn bind(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        self.wanted = bounds.clamp(self.wanted);
    }

    /// How many there are to be.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Takes in a load; tells how many there are to be.
    pub fn scale(&mut self, now: Instant, load: &Load, staff: Staff) -> usize {
        let need = self.bounds.clamp(need(load, staff));
        let since = *self.changed.get_or_insert(now);
        self.needs.push_back((now, need));
        while self.needs.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > CALM) {
            self.needs.pop_front();
        }
        let settled = now.saturating_duration_since(since);
        if need > self.wanted {
            // Those that start must show first what they change.
            if staff.workers >= self.wanted && settled >= RATES {
                (self.wanted, self.changed) = (need, Some(now));
            }
        } else if settled >= CALM {
            let highest = self.needs.iter().map(|(_, need)| *need).max();
            self.wanted = highest.unwrap_or(need).min(self.wanted);
        }
        self.wanted
    }
}

#[cfg(test)]
mod tests;
