//! How a task is stored: its name, its options and its payload, never changed after it was enqueued.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::keys;
use crate::{
    BatchName, Error, ErrorKind, Hold, Incarnation, NewTask, Payload, Result, Start, TaskName, Unique,
    UniqueKey, Wanted,
    clock::{duration, millis, since_epoch},
};

/// The newest format that is known: the first byte of a body. `lua/lib.lua` tells what each of them looks like.
pub(super) const FORMAT: u8 = 3;

/// The format in which tasks are sent. The server makes the next one of it where it adds the sequence.
const SENT: u8 = 2;

/// The length of a sequence.
const SEQUENCE: usize = 8;

/// Formats are below this: what begins with a character of a text is of none.
const NO_FORMAT: u8 = b' ';

/// For how long a key is held that is held for the life of its batch.
const HELD_BY_BATCH: i64 = -1;

/// The limits that are not stored. They belong to the format, whatever the defaults of later versions are.
const USUAL: (u32, u32) = (5, 3);

/// What is asked for a task, where it is not the usual. `lua/records.lua` reads it too. Times are in milliseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Options {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) given: bool,
    #[serde(default = "usual_attempts", skip_serializing_if = "is_usual_attempts")]
    pub(super) max_attempts: u32,
    #[serde(default = "usual_crashes", skip_serializing_if = "is_usual_crashes")]
    pub(super) max_crashes: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unique: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) batch: Option<BatchName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run_limit: Option<u64>,
    /// The session that is told what becomes of the task, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply: Option<String>,
}

/// Format 1 has the name among the options.
#[derive(Deserialize)]
struct Named {
    name: TaskName,
    #[serde(flatten)]
    options: Options,
}

fn usual_attempts() -> u32 {
    USUAL.0
}

fn usual_crashes() -> u32 {
    USUAL.1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_usual_attempts(attempts: &u32) -> bool {
    *attempts == USUAL.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_usual_crashes(crashes: &u32) -> bool {
    *crashes == USUAL.1
}

impl Options {
    fn of(task: &NewTask, reply: Option<Incarnation>) -> Self {
        Self {
            given: task.id_given,
            max_attempts: task.max_attempts,
            max_crashes: task.max_crashes,
            priority: task.priority,
            expires: task.expires.map(millis),
            unique: task.unique.as_ref().map(|unique| unique.key.as_str().to_owned()),
            hold: task.unique.as_ref().map(|unique| match unique.hold {
                Hold::For(time) => i64::try_from(millis(time)).unwrap_or(i64::MAX),
                Hold::Batch => HELD_BY_BATCH,
            }),
            key: task.key.as_ref().map(|key| key.as_str().to_owned()),
            batch: task.batch.clone(),
            result: task.result.kept().map(millis),
            run_limit: task.run_limit.map(millis),
            reply: reply.map(|session| session.as_uuid().simple().to_string()),
        }
    }

    /// What orders the task in a queue by priority.
    pub(super) fn rank(&self) -> i64 {
        self.priority.unwrap_or_default()
    }

    pub(super) fn unique(&self) -> Option<Unique> {
        let key = UniqueKey::new(self.unique.as_deref()?).ok()?;
        let hold = match self.hold.unwrap_or_default() {
            HELD_BY_BATCH => Hold::Batch,
            ms => Hold::For(duration(u64::try_from(ms).unwrap_or_default())),
        };
        Some(Unique { key, hold })
    }

    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub(super) fn run_limit(&self) -> Option<Duration> {
        self.run_limit.map(duration)
    }

    pub(super) fn wanted(&self) -> Wanted {
        self.result.map_or(Wanted::No, |ms| Wanted::Keep(duration(ms)))
    }
}

/// What is special about a task when it is enqueued, as `lua/tasks.lua` reads it: that it comes `again` in its call, among other things. What only matters when it ends is not special yet.
pub(super) fn special(task: &NewTask, again: bool) -> String {
    let usual = !again
        && task.expires.is_none()
        && task.unique.is_none()
        && task.key.is_none()
        && task.batch.is_none();
    match (task.start, task.priority) {
        (Start::Now, None) if usual => String::new(),
        (Start::Now, Some(priority)) if usual => format!("rank {priority}"),
        (Start::Now, _) => "now".to_owned(),
        (Start::After(delay), _) => format!("after {}", millis(delay)),
        (Start::At(time), _) => format!("at {}", since_epoch(time)),
    }
}

/// A task as it is sent. What becomes of it is told to this session.
pub(super) fn body(task: &NewTask, reply: Option<Incarnation>) -> Result<Vec<u8>> {
    let (name, payload) = (task.name.as_str().as_bytes(), task.payload.as_str().as_bytes());
    let mut options = serde_json::to_vec(&Options::of(task, reply)).map_err(|e| {
        Error::new(ErrorKind::Internal, "enqueue", "a task cannot be written as JSON").because(e)
    })?;
    if options == b"{}" {
        options.clear();
    }
    Ok([&[SENT], name, b"\n", &options, b"\n", payload].concat())
}

/// A child of a settlement, as `lua/settle.lua` reads it after the index of its queue.
pub(super) fn child(task: &NewTask) -> Result<[Vec<u8>; 3]> {
    Ok([keys::id(&task.id), body(task, None)?, special(task, false).into_bytes()])
}

/// Why a stored task cannot be handed out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A version made it that knows this format.
    Newer(u8),
    /// It is not as any version makes it.
    Foreign(String),
}

/// A task that was read.
pub(super) struct Stored {
    pub(super) name: TaskName,
    pub(super) options: Options,
    pub(super) payload: Payload,
}

/// Reads a task.
pub(super) fn read(body: &[u8]) -> Result<Stored, Unreadable> {
    let foreign = |why: &dyn std::fmt::Display| Unreadable::Foreign(why.to_string());
    let (format, bytes) = match body.split_first() {
        Some((&format @ (1 | SENT), bytes)) => (format, bytes),
        Some((&FORMAT, bytes)) => {
            (FORMAT, bytes.get(SEQUENCE..).ok_or_else(|| foreign(&"it has no sequence"))?)
        }
        Some((&newer, _)) if newer > FORMAT && newer < NO_FORMAT => return Err(Unreadable::Newer(newer)),
        _ => return Err(foreign(&"it has no format")),
    };
    let text = std::str::from_utf8(bytes).map_err(|e| foreign(&e))?;
    let (first, rest) = text.split_once('\n').ok_or_else(|| foreign(&"it has no header"))?;
    let (name, options, payload) = if format == 1 {
        let Named { name, options } = serde_json::from_str(first).map_err(|e| foreign(&e))?;
        (name, options, rest)
    } else {
        let (options, payload) = rest.split_once('\n').ok_or_else(|| foreign(&"it has no header"))?;
        let options = if options.is_empty() { "{}" } else { options };
        let name = TaskName::new(first).map_err(|e| foreign(&e))?;
        (name, serde_json::from_str(options).map_err(|e| foreign(&e))?, payload)
    };
    Ok(Stored { name, options, payload: Payload::from_stored(payload.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueueName;

    #[test]
    fn what_is_newer_is_not_foreign() {
        assert!(read(b"\x01{\"name\":\"n\",\"given\":true,\"max_attempts\":1,\"max_crashes\":1}\n7").is_ok());
        assert!(read(b"\x02n\n{\"given\":true}\n7").is_ok());
        assert!(read(b"\x0301234\n67n\n\n7").is_ok());
        assert_eq!(read(b"\x04???").err(), Some(Unreadable::Newer(4)));
        let bad = [
            &b""[..],
            b"text",
            b"\0",
            b"\xff\xff",
            b"\x01{}\n7",
            b"\x01no header",
            b"\x01\xff\n7",
            b"\x02n\n7",
            b"\x02\n\n7",
            b"\x02n\n{\n7",
            b"\x030123456",
        ];
        for foreign in bad {
            assert!(matches!(read(foreign).err(), Some(Unreadable::Foreign(_))), "{foreign:?}");
        }
    }

    #[test]
    fn what_is_usual_is_not_stored() {
        let task = NewTask::new(
            QueueName::new("q").unwrap(),
            TaskName::new("n").unwrap(),
            Payload::from_json("7").unwrap(),
        );
        assert_eq!(body(&task, None).unwrap(), b"\x02n\n\n7");
        let ranked = task.with_priority(-5).with_max_attempts(9);
        assert_eq!(body(&ranked, None).unwrap(), b"\x02n\n{\"max_attempts\":9,\"priority\":-5}\n7");
        assert_eq!([special(&ranked, false), special(&ranked, true)], ["rank -5", "now"]);
        let Stored { options, .. } = read(&body(&ranked, None).unwrap()).unwrap();
        assert_eq!((options.max_attempts, options.max_crashes, options.rank()), (9, 3, -5));
    }
}
