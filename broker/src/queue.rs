//! What a queue is told, and what it tells.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use crate::limits;

/// The options of a queue. They belong to the queue: stored with it, the same for every process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueOptions {
    /// How many tasks may be unsettled (ready, scheduled, held or leased) before enqueue answers `Full`.
    /// Children in a settlement are always accepted.
    pub capacity: u64,
    /// Which task is claimed first.
    pub order: Order,
    /// How many tasks of one [key](crate::NewTask::key) may be leased at a time; at least 1. `None`: as many as come. The others
    /// are held, and hold no slot of a worker.
    pub key_limit: Option<u32>,
    /// How long after a claim of a task the next one of its key can be claimed at the earliest; 0 for at once. Kept in whole
    /// milliseconds.
    pub key_interval: Duration,
    /// How long an id that the user gave is remembered after settlement; 0 forgets it at once. Kept in whole
    /// milliseconds.
    pub remember_ids: Duration,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            capacity: limits::CAPACITY,
            order: Order::Fifo,
            key_limit: None,
            key_interval: Duration::ZERO,
            remember_ids: limits::REMEMBER_IDS,
        }
    }
}

impl QueueOptions {
    /// Sets the capacity; at least 1.
    #[must_use]
    pub fn with_capacity(mut self, capacity: u64) -> Self {
        self.capacity = capacity;
        self
    }

    /// Sets which task is claimed first.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Sets how many tasks of one key may be leased at a time; at least 1.
    #[must_use]
    pub fn with_key_limit(mut self, key_limit: u32) -> Self {
        self.key_limit = Some(key_limit);
        self
    }

    /// Sets how long after a claim of a task the next one of its key can be claimed.
    #[must_use]
    pub fn with_key_interval(mut self, key_interval: Duration) -> Self {
        self.key_interval = whole_millis(key_interval);
        self
    }

    /// Whether anything is limited by key: only then tasks may have keys.
    #[must_use]
    pub fn limits_keys(&self) -> bool {
        self.key_limit.is_some() || !self.key_interval.is_zero()
    }

    /// Sets how long given ids are remembered.
    #[must_use]
    pub fn with_remember_ids(mut self, remember_ids: Duration) -> Self {
        self.remember_ids = whole_millis(remember_ids);
        self
    }
}

impl fmt::Display for QueueOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { capacity, order, key_limit, key_interval, remember_ids } = self;
        write!(f, "capacity {capacity}, order {order}, ")?;
        if let Some(limit) = key_limit {
            write!(f, "key_limit {limit}, ")?;
        }
        if !key_interval.is_zero() {
            write!(f, "key_interval {} ms, ", key_interval.as_millis())?;
        }
        write!(f, "remember_ids {} ms", remember_ids.as_millis())
    }
}

fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Which task of a queue is claimed first. In each order, a task that was given back goes before all that were never claimed
/// (of its priority, where there are priorities).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// The one that became ready first.
    #[default]
    Fifo,
    /// The one that became ready last.
    Lifo,
    /// The one with the lowest priority; of those, the one that became ready first.
    Priority,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fifo => "fifo",
            Self::Lifo => "lifo",
            Self::Priority => "priority",
        })
    }
}

/// A queue as it stood at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStatus {
    /// The options in force.
    pub options: QueueOptions,
    /// Counts the changes of the options, from 1.
    pub revision: u64,
    /// Whether somebody said that no more will come.
    pub closed: bool,
    /// Whether claims are stopped for the time being.
    pub paused: bool,
    /// Who stopped them, and when. `None` while they are not, and where a version of this program did that did not write it down.
    pub pause: Option<Pause>,
    /// Tasks that can be claimed now.
    pub ready: u64,
    /// Tasks that become ready later: those enqueued with a delay, those between two attempts, and the parked.
    pub scheduled: u64,
    /// Tasks that wait until another one of their key has ended, or its interval is over.
    pub held: u64,
    /// Tasks that a process holds.
    pub leased: u64,
    /// Tasks that were given up.
    pub dead: u64,
    /// The last sequence that was given: it grows by one whenever a task is enqueued, comes due, may run as its key is free,
    /// or is revived, and by nothing else. Of two statuses, this is what came between them. `None` where the broker does not claim
    /// [`Arrivals::Counted`](crate::capabilities::Arrivals::Counted).
    pub sequence: Option<u64>,
}

/// Who paused a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// What it said of itself, for people: who and where.
    pub by: String,
    /// When, by the broker's clock.
    pub at: SystemTime,
}

impl QueueStatus {
    /// Tasks that are not settled: what capacity counts.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.ready + self.scheduled + self.held + self.leased
    }

    /// Whether enqueue would answer `Full`.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.unsettled() >= self.options.capacity
    }

    /// Whether the queue is closed and joined: nothing is unsettled and nothing more will come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.closed && self.unsettled() == 0
    }
}
