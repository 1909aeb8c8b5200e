//! The one error of this crate.

use std::fmt;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input is wrong; nothing was changed. Repeating the call gives the same answer.
    Invalid,
    /// This broker cannot do what was asked; nothing was changed.
    Unsupported,
    /// A queue is configured otherwise than this call configures it; nothing was changed.
    Conflict,
    /// The queue, the disk or the memory of the broker is full; nothing was changed. Room must be made.
    Full,
    /// The queue is closed; nothing was changed.
    Closed,
    /// Another task of the queue has the unique key; nothing was changed.
    Duplicate,
    /// The broker cannot be reached or did not answer in time. The outcome may be unknown; repeat the call.
    Unavailable,
    /// The stored data was written by a newer version; nothing was changed.
    Incompatible,
    /// The stored data cannot be understood.
    Corrupt,
    /// The task that was waited for did not complete: it is dead, was cancelled, or nothing is known of it.
    Failed,
    /// Time ran out before what was waited for happened.
    Timeout,
    /// A defect of this program.
    Internal,
}

/// An error: kind × operation × what happened × what to do × source. Its text is one line and never repeats
/// the source's; [`Error::report`] writes the whole chain.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    message: String,
    advice: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error of a kind, in an operation, with a sentence that names the queue, task or file.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, operation, message: message.into(), advice: None, source: None }))
    }

    /// Makes an [`ErrorKind::Invalid`] error.
    pub fn invalid(operation: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, operation, message)
    }

    /// What a backend answers that is asked for what it does not claim to do. The guard refuses it before, with advice.
    pub(crate) fn unclaimed(backend: &str, operation: &'static str) -> Self {
        Self::new(ErrorKind::Unsupported, operation, format!("{backend} cannot do that"))
    }

    /// Adds the error behind this one.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed: `enqueue`, `claim`, `open`, …
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// What the reader can do about it, where there is something.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.0.advice.as_deref()
    }

    /// Whether the same call can succeed later without anybody changing it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::Timeout)
    }

    /// The error and all errors behind it, in one line.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        // What others say may have several lines.
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}
