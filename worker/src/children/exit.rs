//! How a child ended.

use std::{fmt, os::unix::process::ExitStatusExt, process::ExitStatus};

/// How a child ended, and what it took.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    /// Its exit code, or the signal that ended it.
    pub status: ExitStatus,
    /// The most memory that it had resident, in bytes, or any that it started and waited for; 0 where that is not known.
    pub peak: u64,
}

impl Exit {
    /// Its exit code; `None` if a signal ended it.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        self.status.code()
    }

    /// The number of the signal that ended it.
    #[must_use]
    pub fn signal(self) -> Option<i32> {
        self.status.signal()
    }

    /// The name of the signal that ended it, as `SIGKILL`, if it is one that programs die of.
    #[must_use]
    pub fn signal_name(self) -> Option<&'static str> {
        self.signal().map(name).filter(|name| !name.is_empty())
    }

    /// Whether it ended with exit code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self.status.success()
    }

    /// Whether a signal ended it.
    pub(super) fn by_signal(self) -> bool {
        self.status.signal().is_some()
    }
}

/// With `#`, what it took is told too.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => write!(f, "exit code {code}")?,
            (None, Some(signal)) => match name(signal) {
                "" => write!(f, "killed by signal {signal}")?,
                name => write!(f, "killed by signal {signal} ({name})")?,
            },
            (None, None) => f.write_str("an unknown end")?,
        }
        match self.peak {
            peak if f.alternate() && peak > 0 => write!(f, ", peak memory {}", Size(peak)),
            _ => Ok(()),
        }
    }
}

/// A size as people write it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1024 * 1024;
        match self.0 {
            bytes if bytes >= MIB => write!(f, "{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB),
            bytes => write!(f, "{} KiB", bytes / 1024),
        }
    }
}

/// The names of the signals that programs die of.
fn name(signal: i32) -> &'static str {
    match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_with_what_it_took() {
        let exit = |status, peak| Exit { status: ExitStatus::from_raw(status), peak };
        assert_eq!(exit(3 << 8, 0).to_string(), "exit code 3");
        assert_eq!(exit(9, 1_600_000).to_string(), "killed by signal 9 (SIGKILL)");
        assert_eq!(format!("{:#}", exit(9, 1_600_000)), "killed by signal 9 (SIGKILL), peak memory 1.5 MiB");
        assert_eq!(format!("{:#}", exit(64, 2048)), "killed by signal 64, peak memory 2 KiB");
        assert!(exit(9, 0).by_signal() && !exit(9 << 8, 0).by_signal());
    }
}
