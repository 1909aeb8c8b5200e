//! Enqueue calls that are repeated.

use super::Machine;
use crate::{
    Enqueued, Error, NewTask, Result, Token,
    clock::{Now, millis},
    limits,
};

impl Machine {
    /// The answer of an earlier call with this token, if it is known.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when that was a call with another number of tasks.
    pub(super) fn answered(
        &self,
        token: Option<Token>,
        tasks: &[NewTask],
        now: Now,
    ) -> Result<Option<Vec<Enqueued>>> {
        match token.and_then(|token| self.calls.get(&token, now)) {
            Some(answers) => repeated(answers.clone(), tasks).map(Some),
            None => Ok(None),
        }
    }

    /// Keeps the answer of a call, and forgets those that are too many.
    pub(super) fn keep_answers(&mut self, token: Token, answers: &[Enqueued], now: Now) {
        self.calls.keep(token, answers.to_vec(), millis(limits::KEEP_CALLS), now);
        let first = Token { sequence: 0, ..token };
        let last = Token { sequence: u64::MAX, ..token };
        self.calls.keep_last(first..=last, limits::MAX_CALLS);
    }
}

/// The answers of an earlier call as those of this one.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when that was a call with another number of tasks.
pub fn repeated(answers: Vec<Enqueued>, tasks: &[NewTask]) -> Result<Vec<Enqueued>> {
    if answers.len() == tasks.len() {
        return Ok(answers);
    }
    let (was, is) = (answers.len(), tasks.len());
    let message = format!("a call with {is} tasks has the token of one with {was}");
    Err(Error::invalid("enqueue", message).advise("repeat a call with the same tasks, or take a new token"))
}
