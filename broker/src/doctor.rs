//! Examining a broker: whether what it is set up as keeps what the contract promises.

use std::fmt;

use async_trait::async_trait;

use crate::Result;

/// The power to examine what a broker is set up as, and how it is.
///
/// A backend has it that can ask for that. It looks for what no call fails with before it is too late: a server that forgets, a disk that is
/// nearly full, a clock that is wrong.
#[async_trait]
pub trait Doctor: fmt::Debug + Send + Sync {
    /// Examines the broker, one check a thing, the most important first. Light: it may be done at any time, and changes no task.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the broker cannot be asked at all. What is wrong with it, and what cannot be asked for want
    /// of rights, is no error but a [`Check`].
    ///
    /// # Cancel safety
    /// Cancel safe. What a call was trying may be left behind: it is no task of a queue of anybody.
    async fn examine(&self) -> Result<Vec<Check>>;
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// What was looked at: a word, the same for every broker that has it.
    pub what: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, in one line.
    pub found: String,
    /// What to do about it. `None` where it is as it should be.
    pub advice: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Somebody should know of it, or it could not be asked.
    Warn,
    /// Tasks can be lost, or the work stops, unless something is done.
    Bad,
}

impl Check {
    #[cfg_attr(
        not(any(feature = "local", feature = "rabbitmq", feature = "redis")),
        allow(dead_code, reason = "for backends that can be asked")
    )]
    pub(crate) fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    pub(crate) fn warn(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    #[cfg_attr(
        not(any(feature = "local", feature = "rabbitmq", feature = "redis")),
        allow(dead_code, reason = "for backends that can be asked")
    )]
    pub(crate) fn bad(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Bad, found: found.into(), advice: Some(advice.into()) }
    }
}

/// How long calls took, each a few times: the middle counts.
#[cfg(any(feature = "rabbitmq", feature = "redis"))]
pub(crate) fn calls<const N: usize>(
    names: [&str; N],
    times: [Vec<std::time::Duration>; N],
    remark: &str,
    slow: std::time::Duration,
    advice: &str,
) -> Check {
    let middles = times.map(|mut times| {
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    });
    let each =
        names.iter().zip(middles).map(|(call, took)| format!("{call} {:.2} ms", took.as_secs_f64() * 1e3));
    let found = format!("{} ({remark})", each.collect::<Vec<_>>().join(", "));
    if middles.iter().any(|took| *took > slow) {
        return Check::warn("calls", found, advice);
    }
    Check::ok("calls", found)
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
        })
    }
}
