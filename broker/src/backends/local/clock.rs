//! The clocks that all processes of one boot share.

use crate::clock::{Clock, Now, wall};

/// The wall clock, and the time since boot, time asleep included.
#[derive(Debug)]
pub(super) struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Now {
        // Time asleep counts: the lease of a process that slept with the machine for an hour is over.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let id = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(id);
        let (seconds, nanos) =
            (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
        Now { wall: wall(), steady: seconds * 1000 + nanos / 1_000_000 }
    }

    fn boot(&self) -> String {
        // Where there is none, a new boot goes unnoticed: the locks on the incarnations still tell who is dead.
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_or_else(|_| String::new(), |id| id.trim().to_owned())
    }
}
