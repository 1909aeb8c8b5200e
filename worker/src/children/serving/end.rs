//! The end of a child at work that was not let go, and what it means for the tasks that it had.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        verdict::{self, over, stopped, too_much},
        warm::Wrong,
    },
    Given, Serving,
};
use crate::TaskError;

/// How many children may refuse a task before that is a failure of the task.
const REFUSALS: u32 = 3;

/// Why a child runs no more tasks, by force.
pub(super) enum Fault {
    /// It ended, or closed its standard output.
    Ended,
    /// It reads no more.
    Deaf,
    /// It said what it should not have.
    Wrong(Wrong),
    Stopped,
    Limit(Duration),
    Memory(u64),
}

impl Serving<'_> {
    /// The child is of no use any more: ends it, and tells what that means for the tasks that it had.
    pub(super) async fn end(mut self, fault: Fault) {
        self.withdraw();
        let pool = Arc::clone(&self.keeper.pool);
        let (began, answered) = (self.child.began(), self.answered);
        let first = self.window.pop_front();
        // A child that reads nothing and is gone never had the task.
        let given = first.as_ref().is_some_and(|first| self.child.outbox().taken() > first.line.start);
        let ended = match &fault {
            Fault::Ended | Fault::Deaf => self.child.end().await,
            _ => self.child.kill().await,
        };
        // It runs one after the other: the others have not begun.
        self.keeper.put_back(self.window.into_iter().map(|given| given.job));
        let Some(Given { mut job, .. }) = first else {
            let why = match fault {
                Fault::Wrong(wrong) => format!("{wrong} ({ended})"),
                _ => format!("it ended while it waited for a task ({ended})"),
            };
            return self.keeper.failed(began, &why);
        };
        // One that has a child of its own is known to kill it.
        if answered == 0 && !job.context.alone() && !matches!(fault, Fault::Stopped | Fault::Limit(_)) {
            self.keeper.failed(began, &format!("it ended before it had answered anything ({ended})"));
        }
        let answer = match fault {
            Fault::Ended | Fault::Deaf if !given && job.refused < REFUSALS => {
                job.refused += 1;
                return self.keeper.put_back([job]);
            }
            Fault::Ended | Fault::Deaf => Err(match &ended.exit {
                Ok(exit) if ended.by_itself => verdict::crashed(*exit, &ended.words),
                _ => TaskError::retry(format!(
                    "the handler's process closed its input or output before it answered, and was killed{}",
                    ended.words
                )),
            }),
            Fault::Wrong(Wrong::HandedOn(error)) => Err(error),
            Fault::Wrong(wrong @ Wrong::TooLong) => Err(TaskError::bury(wrong.to_string())),
            Fault::Wrong(wrong) => Err(TaskError::retry(format!("{wrong}{}", ended.words))),
            Fault::Stopped => Err(stopped()),
            Fault::Limit(limit) => Err(over(limit)),
            Fault::Memory(has) => Err(too_much(has, pool.outfit.limits.memory, &ended.words)),
        };
        job.answer(answer);
    }
}
