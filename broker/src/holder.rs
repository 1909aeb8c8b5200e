//! Which process it is that holds tasks, for people who look for it.

use std::fmt;

/// The process behind an [`Incarnation`](crate::Incarnation), as it called itself when it opened its session.
///
/// A label for people: leases belong to incarnations alone, as pids are reused, and mean nothing on another host or in another
/// container.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The name of its host, as the kernel knows it; in a container, the container's.
    pub host: String,
    /// Its pid there.
    pub pid: u32,
}

/// How many bytes of a host's name are kept.
const MAX_HOST: usize = 64;

impl Holder {
    /// This process.
    pub(crate) fn here() -> Self {
        let name = rustix::system::uname();
        // What a label may hold everywhere: it stands among other words.
        let plain = |c: char| if c.is_ascii_graphic() { c } else { '?' };
        let host: String = name.nodename().to_string_lossy().chars().map(plain).take(MAX_HOST).collect();
        let host = if host.is_empty() { "?".to_owned() } else { host };
        Self { host, pid: std::process::id() }
    }

    /// As a word, `PID:HOST`; `None` where it is none.
    #[cfg_attr(
        not(any(feature = "local", feature = "redis")),
        allow(dead_code, reason = "for backends that other processes share")
    )]
    pub(crate) fn read(label: &str) -> Option<Self> {
        let (pid, host) = label.split_once(':')?;
        let plain = !host.is_empty() && host.len() <= MAX_HOST && host.bytes().all(|b| b.is_ascii_graphic());
        let pid = pid.parse().ok().filter(|_| plain)?;
        Some(Self { host: host.to_owned(), pid })
    }

    /// What [`Holder::read`] reads.
    #[cfg_attr(
        not(any(feature = "local", feature = "redis")),
        allow(dead_code, reason = "for backends that other processes share")
    )]
    pub(crate) fn label(&self) -> String {
        format!("{}:{}", self.pid, self.host)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_read_as_they_are_written() {
        let here = Holder::here();
        assert_eq!(Holder::read(&here.label()), Some(here.clone()));
        assert!(here.pid == std::process::id() && !here.host.is_empty());
        let other = Holder::read("7:a:b").unwrap();
        assert_eq!(
            (other.pid, other.host.as_str(), other.to_string().as_str()),
            (7, "a:b", "process 7 on a:b")
        );
        let long = format!("7:{}", "x".repeat(MAX_HOST + 1));
        for bad in ["", "7", "7:", "x:host", "-1:host", "7:a b", "7:\u{1b}[2J", &long] {
            assert_eq!(Holder::read(bad), None, "{bad:?}");
        }
    }
}
