//! What makes a call safe to repeat.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Incarnation;

/// The name of one enqueue call.
///
/// Who does not know what became of a call, because its answer was lost, makes it again with the same token and the same tasks,
/// and gets the first answer, whatever became of the tasks since. A broker keeps the answers of the last
/// [`limits::MAX_CALLS`](crate::limits::MAX_CALLS) calls of an incarnation for
/// [`limits::KEEP_CALLS`](crate::limits::KEEP_CALLS), in the step that enqueues. A new attempt, such as one more when
/// a queue was full, is a new call and takes a new token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The process start that makes the call.
    pub incarnation: Incarnation,
    /// Which of its calls: a later one has a higher number.
    pub sequence: u64,
}

impl Token {
    /// The token of a new call of this incarnation. Numbers grow through the whole process, so it does not matter who of
    /// those that share a session asks.
    #[must_use]
    pub fn next(incarnation: Incarnation) -> Self {
        static CALLS: AtomicU64 = AtomicU64::new(1);
        Self { incarnation, sequence: CALLS.fetch_add(1, Ordering::Relaxed) }
    }
}
