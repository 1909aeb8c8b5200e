//! What the end of a run in a process means for its task.

use std::time::Duration;

use manyhands_broker::{Payload, limits};

use super::{
    exit::{Exit, Size},
    protocol::{Answer, Routes},
};
use crate::{Context, TaskError};

/// What an answer is for the task.
pub(super) fn answered(
    answer: Answer,
    context: &Context,
    routes: &Routes,
) -> Result<Option<Payload>, TaskError> {
    match answer {
        Answer::Done { result, then } => {
            for task in then {
                context.then_task(task.task(routes).map_err(not_handed_on)?)?;
            }
            match context.result_wanted() {
                false => Ok(None),
                true if result.len() > limits::MAX_PAYLOAD => Err(TaskError::bury(too_long(result.len()))),
                true => Ok(Some(result)),
            }
        }
        Answer::Retry { error, after: None } => Err(TaskError::retry(error)),
        Answer::Retry { error, after: Some(after) } => Err(TaskError::retry(error).after(after)),
        Answer::Bury { error } => Err(TaskError::bury(error)),
    }
}

/// A task that is to follow is none: no retry makes it one.
pub(super) fn not_handed_on(error: manyhands_broker::Error) -> TaskError {
    TaskError::bury(format!("it ran, but a task that it hands on is wrong: {}", error.report()))
}

/// What ends a run whose process died of itself before it answered.
pub(super) fn crashed(exit: Exit, words: &str) -> TaskError {
    TaskError::crash(format!("the handler's process crashed before it answered: {exit:#}{words}"))
}

/// What ends a run that was told to stop: it is given back.
pub(super) fn stopped() -> TaskError {
    TaskError::retry("it was told to stop, and its process was killed")
}

/// What ends a run that took too long.
pub(super) fn over(limit: Duration) -> TaskError {
    TaskError::retry(format!("it ran for longer than its limit of {limit:?}, and its process was killed"))
}

/// What ends a run that took too much memory. As when the kernel ends it for that, it is a crash.
pub(super) fn too_much(has: u64, limit: Option<u64>, words: &str) -> TaskError {
    let (has, limit) = (Size(has), Size(limit.unwrap_or_default()));
    TaskError::crash(format!(
        "the handler's process had {has} of memory, more than its limit of {limit}, and was killed{words}"
    ))
}

/// What is said of a result that is too long to be kept.
pub(super) fn too_long(bytes: usize) -> String {
    format!(
        "it ran, but its result of {bytes} bytes cannot be kept: at most 1 MiB; store it elsewhere and return a reference"
    )
}
