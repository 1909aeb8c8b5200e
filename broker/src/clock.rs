//! Time, as the state machine is told it.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

/// One instant on two clocks, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the Unix epoch. Due times and remembered ids go by this one: it goes on across reboots.
    pub wall: u64,
    /// Since some fixed point of this boot, never set back. Leases go by this one: no clock that is set can
    /// end a lease early.
    pub steady: u64,
}

/// Where a broker reads the time. Always the broker's clock: no client's time is ever compared with it.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Reads both clocks.
    fn now(&self) -> Now;

    /// Names the boot in which `steady` counts. Leases of another boot are void.
    fn boot(&self) -> String;
}

/// The clocks of this process: for a broker that does not outlive it.
#[derive(Debug)]
pub struct ProcessClock(Instant);

impl Default for ProcessClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for ProcessClock {
    fn now(&self) -> Now {
        Now { wall: wall(), steady: millis(self.0.elapsed()) }
    }

    fn boot(&self) -> String {
        "process".to_owned()
    }
}

/// A clock that tests move by hand. Clones share the time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    start: u64,
    offset: Arc<AtomicU64>,
    boot: Arc<AtomicU64>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::at(Self::START)
    }
}

impl From<SystemTime> for ManualClock {
    /// A clock that shows this time before it is moved.
    fn from(time: SystemTime) -> Self {
        Self::at(since_epoch(time))
    }
}

impl ManualClock {
    /// What the wall clock shows before it is moved: 2026-01-01, so that it is a plausible time.
    const START: u64 = 1_767_225_600_000;

    fn at(start: u64) -> Self {
        Self { start, offset: Arc::new(AtomicU64::new(0)), boot: Arc::new(AtomicU64::new(1)) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        self.offset.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Pretends that the machine was started anew.
    pub fn reboot(&self) {
        self.boot.fetch_add(1, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        let offset = self.offset.load(Ordering::SeqCst);
        Now { wall: self.start + offset, steady: offset }
    }

    fn boot(&self) -> String {
        format!("boot-{}", self.boot.load(Ordering::SeqCst))
    }
}

/// The wall clock in milliseconds since the Unix epoch.
pub(crate) fn wall() -> u64 {
    since_epoch(SystemTime::now())
}

/// A time in milliseconds since the Unix epoch; 0 for one before it.
pub(crate) fn since_epoch(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis)
}

/// The time of so many milliseconds since the Unix epoch.
pub(crate) fn time(wall: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(wall)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A duration of so many milliseconds.
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "for a backend with a server"))]
pub(crate) fn duration(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
