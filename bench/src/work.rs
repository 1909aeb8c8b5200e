//! What is sent: a payload of 150 bytes, with the time at which it was made.

use manyhands::{Context, NewTask, QueueName, Result, Task, TaskError};
use serde::{Deserialize, Serialize};

/// The bytes of every payload.
pub(crate) const PAYLOAD: usize = 150;

/// The tasks of one call or transaction.
pub(crate) const BATCH: usize = 100;

/// The queue of all cases.
pub(crate) const QUEUE: &str = "bench";

/// A task that does nothing.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Work {
    /// When it was made, in nanoseconds since the boot.
    pub(crate) at: u64,
    /// What makes it as long as all others.
    pub(crate) pad: String,
}

impl Task for Work {
    const NAME: &'static str = "work";
    const QUEUE: &'static str = QUEUE;
    type Output = ();
}

impl Work {
    /// A task that was made at this time.
    pub(crate) fn new(at: u64) -> Self {
        let digits = at.checked_ilog10().map_or(1, |log| log as usize + 1);
        let rest = PAYLOAD - r#"{"at":,"pad":""}"#.len() - digits;
        Self { at, pad: "x".repeat(rest) }
    }

    /// The same on its way to the queue.
    pub(crate) fn task(at: u64) -> Result<NewTask> {
        NewTask::of(&Self::new(at))
    }

    /// The payload alone, for those who know no tasks.
    pub(crate) fn json(at: u64) -> String {
        let Self { at, pad } = Self::new(at);
        format!(r#"{{"at":{at},"pad":"{pad}"}}"#)
    }
}

/// The queue of all cases.
pub(crate) fn queue() -> Result<QueueName> {
    QueueName::new(QUEUE)
}

/// The handler that does nothing.
pub(crate) async fn nothing(_task: Work, _ctx: Context) -> Result<(), TaskError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_payloads_are_of_one_length() {
        for at in [0, 9, 10, 123_456_789, u64::MAX] {
            assert_eq!(Work::json(at).len(), PAYLOAD);
            assert_eq!(Work::task(at).unwrap().payload.as_str(), Work::json(at));
        }
    }
}
