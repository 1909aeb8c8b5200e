//! How names and ids look in Redis.

use uuid::Uuid;

use crate::{Error, ErrorKind, Incarnation, Namespace, QueueName, Result, TaskId};

/// The parts of a queue, in the order in which `lua/lib.lua` expects their keys.
const PARTS: [&str; 20] = [
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
    "credit",
];

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

    /// Where one session is sent tasks ahead, and told what became of its own: the scripts make the same of `channel` and the session.
    pub(super) fn own_channel(&self, incarnation: Incarnation) -> Vec<u8> {
        [self.channel().as_bytes(), b":", incarnation.as_uuid().as_bytes()].concat()
    }

    /// Which sessions are sent tasks of a queue ahead.
    pub(super) fn credit(&self, queue: &QueueName) -> String {
        format!("{}:credit:{queue}", self.prefix)
    }

    /// The namespace's own key, and those of its batches: what a script has before the keys of queues.
    pub(super) fn of_namespace(&self) -> Vec<String> {
        let batches = ["batches", "numbers", "ended"].map(|part| format!("{}:{part}", self.prefix));
        std::iter::once(self.namespace()).chain(batches).collect()
    }

    /// What workers told of themselves.
    pub(super) fn of_workers(&self) -> Vec<String> {
        ["workers", "workers:heard", "workers:drain"].map(|part| format!("{}:{part}", self.prefix)).into()
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(all.len(), 44);
        assert!(all.iter().all(|key| key.starts_with("mh:{mh}")), "{all:?}");
        assert!(all[..4].iter().all(|key| keys.queue_of(key).is_none()), "{all:?}");
        assert!(keys.queue_of(&keys.calls(Incarnation::generate())).is_none());
        assert!(keys.of_workers().iter().all(|key| keys.queue_of(key).is_none()));
        assert!(all[4..24].iter().all(|key| keys.queue_of(key) == Some(a.clone())), "{all:?}");
        let others = ["mh:{mh}", "mh:{mh}:news", "mh:{mh}:other:a", "mh:{other}:body:a", "mh:{mh}:body:a b"];
        assert!(others.iter().all(|key| keys.queue_of(key).is_none()), "{others:?}");
    }
}
