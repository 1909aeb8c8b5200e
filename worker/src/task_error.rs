//! What a handler fails with.

use std::{error::Error, fmt, time::Duration};

/// Why a task was not done, and what becomes of it.
///
/// Any error turns into one by `?`: the task is tried again, later each time. [`TaskError::bury`] gives it up at once.
pub struct TaskError {
    message: String,
    pub(crate) verdict: Verdict,
}

/// What becomes of a task that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is tried again: after this long, or after the back-off.
    Retry(Option<Duration>),
    /// It is dead.
    Bury,
    /// The process that ran it, and nothing else, died of it.
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "only handlers in processes crash alone"))]
    Crash,
    /// It was not begun, and is given back, uncharged.
    Release,
}

impl TaskError {
    /// The task is to be tried again, after the back-off.
    pub fn retry(message: impl Into<String>) -> Self {
        Self { message: message.into(), verdict: Verdict::Retry(None) }
    }

    /// The task cannot succeed, however often it is tried: it is dead at once.
    pub fn bury(message: impl Into<String>) -> Self {
        Self { message: message.into(), verdict: Verdict::Bury }
    }

    /// The process that ran the task, and nothing else, died.
    #[cfg(feature = "cli")]
    pub(crate) fn crash(message: impl Into<String>) -> Self {
        Self { message: message.into(), verdict: Verdict::Crash }
    }

    /// The task was not begun.
    pub(crate) fn release() -> Self {
        Self { message: "it was not begun".to_owned(), verdict: Verdict::Release }
    }

    /// Sets how long the task is put off instead of the back-off. Nothing for one that is buried.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        if let Verdict::Retry(after) = &mut self.verdict {
            *after = Some(delay);
        }
        self
    }

    /// What went wrong, with all errors behind it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

// Not an `Error` itself: else it could not be made from every error.
impl<E: Error + Send + Sync + 'static> From<E> for TaskError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut next = error.source();
        while let Some(source) = next {
            message.push_str(": ");
            message.push_str(&source.to_string());
            next = source.source();
        }
        Self::retry(message)
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskError").field("message", &self.message).field("verdict", &self.verdict).finish()
    }
}
