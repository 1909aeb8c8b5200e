//! What a child is given: a task.

use std::time::Duration;

use manyhands_broker::{Enqueued, Payload, TaskId, TaskName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Context, TaskError, task_error::Verdict};

/// A task, for the child. Who has no reader for JSON, a shell say, finds the id at the beginning and the payload at the end.
#[derive(Debug, Deserialize, Serialize)]
pub(in crate::children) struct Given<'a> {
    pub(in crate::children) id: &'a str,
    pub(in crate::children) task: &'a str,
    pub(in crate::children) queue: &'a str,
    pub(in crate::children) attempt: u32,
    pub(in crate::children) fence: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::children) batch: Option<&'a str>,
    /// Whether anybody wants the result.
    pub(in crate::children) wanted: bool,
    /// How long it may run, from when it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::children) run_limit_ms: Option<u64>,
    /// When it is killed, in milliseconds since 1970. Not known of a task that is given ahead of its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::children) deadline: Option<u64>,
    #[serde(borrow)]
    pub(in crate::children) payload: &'a RawValue,
}

/// The answer to a [`Put`](super::Put), for the child.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(in crate::children) struct PutAnswer {
    /// The number of what is answered.
    put: u64,
    /// What the broker answered: `enqueued`, `exists` or `duplicate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    /// The task that has its unique key.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    /// Why it was not enqueued.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// `bury` where no retry of the task that asked will help.
    #[serde(skip_serializing_if = "Option::is_none")]
    then: Option<String>,
}

/// Writes the answer to a [`Put`](super::Put) as one line.
pub(in crate::children) fn put_answer(put: u64, answer: Result<Enqueued, TaskError>) -> Vec<u8> {
    let said = |answer: &str| PutAnswer { put, answer: Some(answer.to_owned()), ..PutAnswer::default() };
    let answer = match answer {
        Ok(Enqueued::Exists) => said("exists"),
        Ok(Enqueued::Duplicate(holder)) => {
            PutAnswer { holder: Some(holder.to_string()), ..said("duplicate") }
        }
        Ok(Enqueued::Full) => said("full"),
        Ok(Enqueued::Closed) => said("closed"),
        Ok(Enqueued::Enqueued) => said("enqueued"),
        Err(error) => PutAnswer {
            put,
            then: (error.verdict == Verdict::Bury).then(|| "bury".to_owned()),
            error: Some(error.message().to_owned()),
            ..PutAnswer::default()
        },
    };
    // Texts and numbers can always be written.
    let mut line = serde_json::to_vec(&answer).unwrap_or_default();
    line.push(b'\n');
    line
}

impl PutAnswer {
    /// The answer that this is for what has this number.
    pub(in crate::children) fn read(line: &[u8], put: u64) -> Option<Result<Enqueued, TaskError>> {
        let answer: Self = serde_json::from_slice(line).ok().filter(|answer: &Self| answer.put == put)?;
        Some(match (answer.answer.as_deref(), answer.error, answer.then.as_deref()) {
            (Some("enqueued"), ..) => Ok(Enqueued::Enqueued),
            (Some("exists"), ..) => Ok(Enqueued::Exists),
            (Some("full"), ..) => Ok(Enqueued::Full),
            (Some("closed"), ..) => Ok(Enqueued::Closed),
            (Some("duplicate"), ..) => Ok(Enqueued::Duplicate(TaskId::new(&answer.holder?).ok()?)),
            (_, error, Some("bury")) => Err(TaskError::bury(error.unwrap_or_default())),
            (_, error, _) => Err(TaskError::retry(error.unwrap_or_default())),
        })
    }
}

/// Writes a task as one line, which is begun at once or `ahead` of its time.
pub(in crate::children) fn task(
    name: &TaskName,
    payload: &Payload,
    context: &Context,
    limit: Option<Duration>,
    ahead: bool,
) -> Result<Vec<u8>, serde_json::Error> {
    // Line ends stand only between the parts of a JSON text, where a space is the same.
    let flat;
    let text = if payload.as_str().contains(['\n', '\r']) {
        flat = payload.as_str().replace(['\n', '\r'], " ");
        &flat
    } else {
        payload.as_str()
    };
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let mut line = serde_json::to_vec(&Given {
        id: &context.id().to_string(),
        task: name.as_str(),
        queue: context.queue().as_str(),
        attempt: context.attempt(),
        fence: context.fence(),
        batch: context.batch().map(manyhands_broker::BatchName::as_str),
        wanted: context.result_wanted(),
        run_limit_ms: limit.map(millis),
        deadline: limit.filter(|_| !ahead).map(|limit| millis(now.saturating_add(limit))),
        payload: serde_json::from_str(text)?,
    })?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_the_pipe() {
        let holder = TaskId::new("h").unwrap();
        for answer in [Enqueued::Enqueued, Enqueued::Exists, Enqueued::Duplicate(holder), Enqueued::Closed] {
            let line = put_answer(7, Ok(answer.clone()));
            assert_eq!(PutAnswer::read(&line, 7).unwrap().unwrap(), answer);
            assert!(PutAnswer::read(&line, 8).is_none(), "for another question");
        }
        for (error, verdict) in
            [(TaskError::bury("b"), Verdict::Bury), (TaskError::retry("r"), Verdict::Retry(None))]
        {
            let message = error.message().to_owned();
            let read = PutAnswer::read(&put_answer(7, Err(error)), 7).unwrap().unwrap_err();
            assert_eq!((read.message(), read.verdict), (message.as_str(), verdict));
        }
    }
}
