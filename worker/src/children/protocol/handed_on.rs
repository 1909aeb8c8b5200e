//! A task that a handler hands on, as its process writes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use manyhands_broker::{
    BatchName, Hold, LimitKey, NewTask, Payload, QueueName, Result, Start, TaskId, TaskName, Unique,
    UniqueKey, Wanted,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Routes;

/// The queue of a task for which nobody names one.
const QUEUE: &str = "default";

/// A task as a child writes it. A key that is not here is an error: one that is mistyped would be lost without a word.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(in crate::children) struct HandedOn {
    task: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unique: Option<String>,
    /// For how long after its task was settled the unique key is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unique_for_ms: Option<u64>,
    /// Whether it is held for as long as the batch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unique_in_batch: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    batch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_crashes: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run_limit_ms: Option<u64>,
    /// For how long its result is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_result_ms: Option<u64>,
}

impl HandedOn {
    /// The task that is meant.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::children) fn task(self, routes: &Routes) -> Result<NewTask> {
        let name = TaskName::new(&self.task)?;
        let queue = match (&self.queue, routes.get(&name)) {
            (Some(queue), _) => QueueName::new(queue)?,
            (None, Some(queue)) => queue.clone(),
            (None, None) => QueueName::new(QUEUE)?,
        };
        let payload = self.payload.map_or_else(Payload::null, |json| Payload::from_stored(json.get()));
        let mut task = NewTask::new(queue, name, payload);
        if let Some(id) = &self.id {
            task = task.with_id(TaskId::new(id)?);
        }
        if let Some(millis) = self.at {
            task = task.with_start(Start::At(UNIX_EPOCH + Duration::from_millis(millis)));
        }
        if let Some(millis) = self.delay_ms {
            task = task.with_start(Start::After(Duration::from_millis(millis)));
        }
        task.priority = self.priority;
        task.expires = self.expires_ms.map(Duration::from_millis);
        if let Some(key) = &self.unique {
            let hold = match self.unique_in_batch {
                true => Hold::Batch,
                false => Hold::For(Duration::from_millis(self.unique_for_ms.unwrap_or_default())),
            };
            task = task.with_unique(Unique { key: UniqueKey::new(key)?, hold });
        }
        task.key = self.key.as_deref().map(LimitKey::new).transpose()?;
        task.batch = self.batch.as_deref().map(BatchName::new).transpose()?;
        task.max_attempts = self.max_attempts.unwrap_or(task.max_attempts);
        task.max_crashes = self.max_crashes.unwrap_or(task.max_crashes);
        task.run_limit = self.run_limit_ms.map(Duration::from_millis);
        task.result = self.keep_result_ms.map_or(Wanted::No, |ms| Wanted::Keep(Duration::from_millis(ms)));
        Ok(task)
    }

    /// Writes a task.
    ///
    /// # Errors
    /// Why its payload cannot be written.
    pub(in crate::children) fn of(task: &NewTask) -> std::result::Result<Self, serde_json::Error> {
        let (unique_for, unique_in_batch) = match task.unique.as_ref().map(|unique| unique.hold) {
            Some(Hold::For(time)) => (Some(time), false),
            Some(Hold::Batch) => (None, true),
            None => (None, false),
        };
        let (at, delay) = match task.start {
            Start::At(time) => (Some(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()), None),
            Start::After(delay) => (None, Some(delay)),
            _ => (None, None),
        };
        Ok(Self {
            task: task.name.to_string(),
            payload: Some(RawValue::from_string(task.payload.as_str().replace(['\n', '\r'], " "))?),
            queue: Some(task.queue.to_string()),
            id: task.id_given.then(|| task.id.to_string()),
            delay_ms: delay.map(millis),
            at: at.map(millis),
            priority: task.priority,
            expires_ms: task.expires.map(millis),
            unique: task.unique.as_ref().map(|unique| unique.key.to_string()),
            unique_for_ms: unique_for.map(millis),
            unique_in_batch,
            key: task.key.as_ref().map(ToString::to_string),
            batch: task.batch.as_ref().map(ToString::to_string),
            max_attempts: Some(task.max_attempts),
            max_crashes: Some(task.max_crashes),
            run_limit_ms: task.run_limit.map(millis),
            keep_result_ms: task.result.kept().map(millis),
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;

    fn read(json: &str) -> std::result::Result<NewTask, String> {
        let routes = BTreeMap::from([("resize".parse().unwrap(), "images".parse().unwrap())]);
        let handed_on: HandedOn = serde_json::from_str(json).map_err(|e| e.to_string())?;
        handed_on.task(&Arc::new(routes)).map_err(|e| e.report())
    }

    #[test]
    fn a_task_goes_where_a_producer_would_send_it() {
        let queue = |json| read(json).unwrap().queue.to_string();
        assert_eq!(queue(r#"{"task": "resize", "payload": 1}"#), "images");
        assert_eq!(queue(r#"{"task": "resize", "queue": "others"}"#), "others");
        assert_eq!(queue(r#"{"task": "words"}"#), "default");
        assert_eq!(read(r#"{"task": "words"}"#).unwrap().payload, Payload::null());
    }

    #[test]
    fn all_that_a_task_can_be_told_survives_the_pipe() {
        let task = |start| {
            let mut task = NewTask::new(
                "q".parse().unwrap(),
                "t".parse().unwrap(),
                Payload::from_json("{\"n\":\n 1.50}").unwrap(),
            )
            .with_id(TaskId::new("i").unwrap())
            .with_start(start)
            .with_priority(-3)
            .with_expires(Duration::from_secs(5))
            .with_unique(Unique::and_for("u", Duration::from_secs(6)).unwrap())
            .with_key(LimitKey::new("k").unwrap())
            .in_batch(BatchName::new("b.1").unwrap())
            .with_max_attempts(7)
            .with_run_limit(Duration::from_secs(8))
            .with_result(Wanted::Keep(Duration::from_secs(9)));
            task.max_crashes = 2;
            task
        };
        let at = UNIX_EPOCH + Duration::from_millis(1_764_492_000_123);
        for start in [Start::Now, Start::After(Duration::from_millis(1500)), Start::At(at)] {
            let sent = task(start);
            let json = serde_json::to_string(&HandedOn::of(&sent).unwrap()).unwrap();
            assert!(!json.contains('\n'));
            let mut read = read(&json).unwrap();
            assert_eq!(read.payload.as_str(), "{\"n\":  1.50}", "as it was written, on one line");
            read.payload = sent.payload.clone();
            assert_eq!(read, sent);
        }
        let in_batch = task(Start::Now).with_unique(Unique::in_batch("u").unwrap());
        let json = serde_json::to_string(&HandedOn::of(&in_batch).unwrap()).unwrap();
        assert_eq!(read(&json).unwrap().unique, in_batch.unique);
    }

    #[test]
    fn what_is_no_task_is_said() {
        for (json, why) in [
            (r#"{"payload": 1}"#, "missing field `task`"),
            (r#"{"task": "a b"}"#, "a b"),
            (r#"{"task": "a", "delay": 5}"#, "unknown field `delay`"),
            (r#"{"task": "a", "queue": ".q"}"#, ".q"),
            (r#"{"task": "a", "id": ""}"#, "id"),
            (r#"{"task": "a", "delay_ms": -1}"#, "invalid value"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
