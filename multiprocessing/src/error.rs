//! Why a call has no result.

use std::{fmt, sync::Arc, time::Duration};

use manyhands_broker::Error;
use manyhands_worker::processes::Exit;

/// Why a call of a function in a pool has no result.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The function panicked: its words, and where.
    Panicked(String),
    /// The process that ran the call died, as often as the pool allows.
    Crashed {
        /// How many processes died of it.
        crashes: u32,
        /// How the last one ended, where it is a process of this box.
        exit: Option<Exit>,
        /// The same in words.
        how: String,
    },
    /// It ran for longer than the pool's run limit, and its process was killed.
    RanTooLong(Duration),
    /// There is no result yet; the call goes on.
    TimedOut(Duration),
    /// The pool was terminated before the call ended.
    Terminated,
    /// The pool was closed, and takes no more calls.
    Closed,
    /// Its result was taken before.
    Taken,
    /// The call could not be made, or its answer not be read.
    Failed(Arc<Error>),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(words) => write!(f, "the function panicked: {words}"),
            Self::Crashed { crashes: 1, how, .. } => write!(f, "the process that ran it died: {how}"),
            Self::Crashed { crashes, how, .. } => {
                write!(f, "{crashes} processes that ran it died, the last one so: {how}")
            }
            Self::RanTooLong(limit) => {
                write!(f, "it ran for longer than the limit of {limit:?}, and was killed")
            }
            Self::TimedOut(time) => write!(f, "there is no result after {time:?}; the call goes on"),
            Self::Terminated => f.write_str("the pool was terminated before the call ended"),
            Self::Closed => f.write_str("the pool was closed, and takes no more calls"),
            Self::Taken => f.write_str("the result was taken before"),
            Self::Failed(error) => {
                f.write_str(&error.report())?;
                error.advice().map_or(Ok(()), |advice| write!(f, "; try: {advice}"))
            }
        }
    }
}

impl std::error::Error for CallError {}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Failed(Arc::new(error))
    }
}
