//! How names and tasks look in Redis.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    BatchName, Error, ErrorKind, Hold, Incarnation, Namespace, NewTask, Payload, QueueName, Result, Start,
    TaskId, TaskName, Unique, UniqueKey, Wanted,
    clock::{duration, millis, since_epoch},
};

/// The parts of a queue, in the order in which `lua/lib.lua` expects their keys.
const PARTS: [&str; 19] = [
    "info",
    "body",
    "state",
    "ready",
    "gone",
    "returned",
    "alone",
    "due",
    "lease",
    "dead",
    "expiring",
    "unique",
    "seen",
    "remembered",
    "results",
    "until",
    "held",
    "permits",
    "opening",
];

/// The first byte of every record.
pub(super) const FORMAT: u8 = 1;

/// Formats are below this: what begins with a character of a text is of none.
const NO_FORMAT: u8 = b' ';

/// For how long a key is held that is held for the life of its batch.
const HELD_BY_BATCH: i64 = -1;

/// The keys of a namespace. All have one hash tag: a cluster keeps them on one server.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(namespace: &Namespace) -> Self {
        Self { prefix: format!("mh:{{{namespace}}}") }
    }

    /// The namespace's own key.
    pub(super) fn namespace(&self) -> String {
        self.prefix.clone()
    }

    /// Where news is published.
    pub(super) fn channel(&self) -> String {
        format!("{}:news", self.prefix)
    }

    /// The namespace's own key, and those of its batches: what a script has before the keys of queues.
    pub(super) fn of_namespace(&self) -> Vec<String> {
        let batches = ["batches", "numbers", "ended"].map(|part| format!("{}:{part}", self.prefix));
        std::iter::once(self.namespace()).chain(batches).collect()
    }

    /// The answers of the enqueue calls of one process start.
    pub(super) fn calls(&self, incarnation: Incarnation) -> String {
        format!("{}:calls:{incarnation}", self.prefix)
    }

    pub(super) fn is_of_calls(&self, key: &str) -> bool {
        key.strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with(":calls:"))
    }

    /// What the keys of all queues begin with.
    pub(super) fn of_queues(&self) -> String {
        format!("{}:", self.prefix)
    }

    /// The queue that a key is a part of.
    pub(super) fn queue_of(&self, key: &str) -> Option<QueueName> {
        let (part, queue) = key.strip_prefix(&self.of_queues())?.split_once(':')?;
        if PARTS.contains(&part) { QueueName::new(queue).ok() } else { None }
    }

    fn queue(&self, queue: &QueueName) -> impl Iterator<Item = String> {
        PARTS.map(|part| format!("{}:{part}:{queue}", self.prefix)).into_iter()
    }
}

/// The queues that a script touches, each once; a script names them by index.
#[derive(Debug)]
pub(super) struct Queues<'a> {
    keys: &'a Keys,
    names: Vec<&'a QueueName>,
}

impl<'a> Queues<'a> {
    pub(super) fn new(keys: &'a Keys) -> Self {
        Self { keys, names: Vec::new() }
    }

    /// The index of a queue; a new one if it is new.
    pub(super) fn index(&mut self, name: &'a QueueName) -> usize {
        let known = self.names.iter().position(|known| *known == name);
        known.unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        })
    }

    /// The queues, by index.
    pub(super) fn names(&self) -> &[&'a QueueName] {
        &self.names
    }

    /// `KEYS`.
    pub(super) fn keys(&self) -> Vec<String> {
        let queues = self.names.iter().flat_map(|name| self.keys.queue(name));
        self.keys.of_namespace().into_iter().chain(queues).collect()
    }
}

/// An id: `u` and 16 bytes where it is a UUID, `t` and the text where it is not.
pub(super) fn id(id: &TaskId) -> Vec<u8> {
    match id.as_uuid() {
        Some(uuid) => [b"u", uuid.as_bytes().as_slice()].concat(),
        None => [b"t", id.to_string().as_bytes()].concat(),
    }
}

/// An id that was read.
pub(super) fn stored_id(operation: &'static str, bytes: &[u8]) -> Result<TaskId> {
    let foreign = || Error::new(ErrorKind::Corrupt, operation, "an id in redis is not ours");
    match bytes.split_first() {
        Some((b'u', uuid)) => Ok(Uuid::from_slice(uuid).map_err(|_| foreign())?.into()),
        Some((b't', text)) => TaskId::new(std::str::from_utf8(text).map_err(|_| foreign())?),
        _ => Err(foreign()),
    }
}

/// What stands before the payload, as one line of JSON. `lua/lib.lua` reads it too. Times are in milliseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) name: TaskName,
    pub(super) given: bool,
    pub(super) max_attempts: u32,
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
}

impl Header {
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

    pub(super) fn run_limit(&self) -> Option<std::time::Duration> {
        self.run_limit.map(duration)
    }

    pub(super) fn wanted(&self) -> Wanted {
        self.result.map_or(Wanted::No, |ms| Wanted::Keep(duration(ms)))
    }
}

/// A task as `lua/tasks.lua` reads it, after the index of its queue: id, body, and what is special about it.
pub(super) fn task(task: &NewTask) -> Result<[Vec<u8>; 3]> {
    // What is to be done when it ends is not special yet.
    let usual = task.priority.is_none()
        && task.expires.is_none()
        && task.unique.is_none()
        && task.key.is_none()
        && task.batch.is_none();
    let special = match task.start {
        Start::Now if usual => String::new(),
        Start::Now => "now".to_owned(),
        Start::After(delay) => format!("after {}", millis(delay)),
        Start::At(time) => format!("at {}", since_epoch(time)),
    };
    Ok([id(&task.id), body(task)?, special.into_bytes()])
}

/// A task as it is stored: never changed after it was enqueued.
fn body(task: &NewTask) -> Result<Vec<u8>> {
    let header = Header {
        name: task.name.clone(),
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
    };
    let mut body = vec![FORMAT];
    serde_json::to_writer(&mut body, &header).map_err(|e| {
        Error::new(ErrorKind::Internal, "enqueue", "a task cannot be written as JSON").because(e)
    })?;
    body.push(b'\n');
    body.extend_from_slice(task.payload.as_str().as_bytes());
    Ok(body)
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
pub(super) fn stored_body(body: &[u8]) -> Result<(Header, Payload), Unreadable> {
    let foreign = |why: &dyn std::fmt::Display| Unreadable::Foreign(why.to_string());
    let text = match body.split_first() {
        Some((&FORMAT, text)) => text,
        Some((&newer, _)) if newer > FORMAT && newer < NO_FORMAT => return Err(Unreadable::Newer(newer)),
        _ => return Err(foreign(&"it has no format")),
    };
    let text = std::str::from_utf8(text).map_err(|e| foreign(&e))?;
    let (header, payload) = text.split_once('\n').ok_or_else(|| foreign(&"it has no header"))?;
    let header = serde_json::from_str(header).map_err(|e| foreign(&e))?;
    Ok((header, Payload::from_stored(payload.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_newer_is_not_foreign() {
        assert!(
            stored_body(b"\x01{\"name\":\"n\",\"given\":true,\"max_attempts\":1,\"max_crashes\":1}\n7")
                .is_ok()
        );
        assert_eq!(stored_body(b"\x02???").unwrap_err(), Unreadable::Newer(2));
        for foreign in [&b""[..], b"text", b"\0", b"\xff\xff", b"\x01{}\n7", b"\x01no header", b"\x01\xff\n7"]
        {
            assert!(matches!(stored_body(foreign).unwrap_err(), Unreadable::Foreign(_)), "{foreign:?}");
        }
    }

    #[test]
    fn ids_survive_and_do_not_collide() {
        let uuid = TaskId::generate();
        let text = TaskId::new("0123456789abcdef").unwrap();
        for wanted in [&uuid, &text] {
            assert_eq!(stored_id("claim", &id(wanted)).unwrap(), *wanted);
        }
        assert!(stored_id("claim", b"x").is_err());
        assert!(stored_id("claim", b"").is_err());
    }

    #[test]
    fn one_tag_for_all_keys() {
        let keys = Keys::new(&Namespace::default());
        let (a, b) = (QueueName::new("a").unwrap(), QueueName::new("b").unwrap());
        let mut queues = Queues::new(&keys);
        assert_eq!([queues.index(&a), queues.index(&b), queues.index(&a)], [0, 1, 0]);
        let all = queues.keys();
        assert_eq!(all.len(), 42);
        assert!(all.iter().all(|key| key.starts_with("mh:{mh}")), "{all:?}");
        assert!(all[..4].iter().all(|key| keys.queue_of(key).is_none()), "{all:?}");
        assert!(keys.queue_of(&keys.calls(Incarnation::generate())).is_none());
        assert!(all[4..23].iter().all(|key| keys.queue_of(key) == Some(a.clone())), "{all:?}");
        let others = ["mh:{mh}", "mh:{mh}:news", "mh:{mh}:other:a", "mh:{other}:body:a", "mh:{mh}:body:a b"];
        assert!(others.iter().all(|key| keys.queue_of(key).is_none()), "{others:?}");
    }
}
