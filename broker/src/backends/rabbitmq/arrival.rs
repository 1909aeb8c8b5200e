//! A delivery that waits to be claimed.

use std::time::{Duration, Instant};

use lapin::message::Delivery;

use super::{class::Class, message::Stored};
use crate::{Error, limits};

/// How long a delivery waits to be claimed before it goes back: those that ask have their slots taken by other queues.
const STALE: Duration = Duration::from_secs(1);

/// The same for one that must run alone: workers stop claiming for up to a lease to become idle for it.
const STALE_ALONE: Duration = limits::LEASE;

/// Who gets deliveries of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    /// The number of the consumer among those of its line.
    pub(super) consumer: u64,
    /// The number of the channel where it is.
    pub(super) lane: u32,
    /// Whose tasks it gets.
    pub(super) class: Class,
}

/// A delivery: where it came, and the number of the consumer that got it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) lane: u32,
    pub(super) tag: u64,
    pub(super) consumer: u64,
}

/// A delivery that waits to be claimed. Small, as it is moved often: what it says is elsewhere.
pub(super) struct Arrival {
    pub(super) place: Place,
    pub(super) class: Class,
    pub(super) task: Result<Box<Stored>, Box<Foreign>>,
    pub(super) must_run_alone: bool,
    pub(super) since: Instant,
}

/// A delivery that is no task of ours, and why.
pub(super) struct Foreign {
    /// As it came, its body included.
    pub(super) delivery: Delivery,
    pub(super) error: Error,
}

impl Arrival {
    /// Takes a delivery in.
    pub(super) fn read(delivery: Delivery, source: Source, since: Instant) -> Self {
        let Source { consumer, lane, class } = source;
        let place = Place { lane, tag: delivery.delivery_tag, consumer };
        let task = match Stored::read(&delivery) {
            Ok(stored) => Ok(Box::new(stored)),
            Err(error) => Err(Box::new(Foreign { delivery, error })),
        };
        let must_run_alone = task.as_ref().is_ok_and(|task| task.progress.must_run_alone());
        Self { place, class, task, must_run_alone, since }
    }

    pub(super) fn is_stale(&self) -> bool {
        self.since.elapsed() > if self.must_run_alone { STALE_ALONE } else { STALE }
    }

    /// Whether it is not one of those that whoever claims first gets.
    pub(super) fn is_special(&self) -> bool {
        self.must_run_alone || self.is_refused()
    }

    pub(super) fn is_refused(&self) -> bool {
        self.task.as_ref().map_or(true, |task| task.progress.deaths >= limits::MAX_DELIVERIES)
    }
}
