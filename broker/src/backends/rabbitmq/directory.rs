//! The directory: which queues there are, how they are configured, which are closed. It is what comes of reading all events
//! of a stream in their order, which is the same for every session: so the first configuration wins everywhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{QueueName, QueueOptions, clock::millis, machine::Configuration};

/// The format that this version reads and writes.
const FORMAT: u8 = 1;

/// One event of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Event {
    format: u8,
    #[serde(flatten)]
    change: Change,
}

/// What an event says. Each can come twice: its publisher repeats it when it did not hear the confirm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Change {
    /// The namespace is in use.
    Open,
    /// A queue is used.
    Use { queue: QueueName },
    /// A queue is configured.
    Configure { queue: QueueName, capacity: u64, remember_ids_ms: u64 },
    /// No more will come to a queue.
    Close { queue: QueueName },
    /// Tasks of a queue may wait for 2^level seconds.
    Wait { queue: QueueName, level: u32 },
}

/// A queue, as the events tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) configuration: Configuration,
    pub(super) closed: bool,
    /// The levels at which tasks may wait.
    pub(super) levels: BTreeSet<u32>,
}

/// All queues of a namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    queues: BTreeMap<QueueName, Entry>,
    /// The offset after the last event that was read.
    next: u64,
    /// The format of an event that a newer version wrote.
    newer: Option<u8>,
}

impl Change {
    pub(super) fn configure(queue: &QueueName, options: &QueueOptions) -> Self {
        let QueueOptions { capacity, remember_ids } = options;
        Self::Configure { queue: queue.clone(), capacity: *capacity, remember_ids_ms: millis(*remember_ids) }
    }

    /// Whether a directory says so.
    pub(super) fn is_in(&self, directory: &Directory) -> bool {
        let entry = |queue| directory.get(queue);
        match self {
            Self::Open => directory.next > 0,
            Self::Use { queue } => entry(queue).is_some(),
            // Maybe otherwise: the first wins.
            Self::Configure { queue, .. } => entry(queue).is_some_and(|entry| entry.configuration.configured),
            Self::Close { queue } => entry(queue).is_some_and(|entry| entry.closed),
            Self::Wait { queue, level } => entry(queue).is_some_and(|entry| entry.levels.contains(level)),
        }
    }

    /// The event as it is stored.
    pub(super) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Event { format: FORMAT, change: self.clone() })
    }
}

impl Directory {
    /// Reads the event at an offset. One that was read before, or that is not ours, changes nothing.
    pub(super) fn read(&mut self, offset: u64, json: &[u8]) {
        if offset < self.next {
            return;
        }
        self.next = offset + 1;
        match serde_json::from_slice(json) {
            Ok(Event { format: FORMAT, change }) => self.apply(change),
            _ => {
                #[derive(Deserialize)]
                struct Any {
                    format: u8,
                }
                match serde_json::from_slice(json) {
                    Ok(Any { format }) if format > FORMAT => self.newer = Some(format),
                    _ => tracing::warn!(offset, "an event of the directory is not ours, and is left out"),
                }
            }
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Open => {}
            Change::Use { queue } => drop(self.queues.entry(queue).or_default()),
            Change::Configure { queue, capacity, remember_ids_ms } => {
                let options = QueueOptions::default()
                    .with_capacity(capacity)
                    .with_remember_ids(Duration::from_millis(remember_ids_ms));
                let created = !self.queues.contains_key(&queue);
                let entry = self.queues.entry(queue.clone()).or_default();
                // Who came second reads that here, too, and tells its user.
                let _ = entry.configuration.configure(&queue, &options);
                if created {
                    entry.configuration.revision = 1;
                }
            }
            Change::Close { queue } => self.queues.entry(queue).or_default().closed = true,
            Change::Wait { queue, level } => drop(self.queues.entry(queue).or_default().levels.insert(level)),
        }
    }

    pub(super) fn get(&self, queue: &QueueName) -> Option<&Entry> {
        self.queues.get(queue)
    }

    /// The offset after the last event that was read.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The format that is needed to read it, where this version's does not do.
    pub(super) fn newer(&self) -> Option<u8> {
        self.newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> QueueName {
        QueueName::new("q").unwrap()
    }

    fn read(changes: &[Change]) -> Directory {
        let mut directory = Directory::default();
        for (offset, change) in changes.iter().enumerate() {
            directory.read(offset as u64, &change.to_json().unwrap());
        }
        directory
    }

    #[test]
    fn the_first_configuration_wins() {
        let (a, b) = (QueueOptions::default().with_capacity(1), QueueOptions::default().with_capacity(2));
        let directory = read(&[Change::configure(&queue(), &a), Change::configure(&queue(), &b)]);
        let Configuration { options, revision, configured } = &directory.get(&queue()).unwrap().configuration;
        assert_eq!((options, *revision, *configured), (&a, 1, true));
    }

    #[test]
    fn use_comes_before_configuration() {
        let options = QueueOptions::default().with_capacity(1);
        let directory = read(&[Change::Use { queue: queue() }, Change::configure(&queue(), &options)]);
        assert_eq!(directory.get(&queue()).unwrap().configuration.revision, 2);
    }

    #[test]
    fn what_comes_twice_counts_once() {
        let once = read(&[Change::Open, Change::Close { queue: queue() }]);
        let twice = read(&[Change::Close { queue: queue() }, Change::Close { queue: queue() }]);
        assert_eq!(once.get(&queue()), twice.get(&queue()));
        assert!(once.get(&queue()).unwrap().closed);
        let mut again = once;
        again.read(1, b"rubbish under a known offset");
        assert_eq!(again.next(), 2);
    }

    #[test]
    fn a_newer_format_is_noticed_and_rubbish_is_not_fatal() {
        let mut directory = Directory::default();
        directory.read(0, b"rubbish");
        assert_eq!(directory.newer(), None);
        directory.read(1, br#"{"format":2,"event":"fly"}"#);
        assert_eq!(directory.newer(), Some(2));
    }

    /// What was stored by the first version must be read by every later one.
    #[test]
    fn the_stored_form_is_kept() {
        let stored = r#"{"format":1,"event":"configure","queue":"q","capacity":3,"remember_ids_ms":5}"#;
        let options = QueueOptions::default().with_capacity(3).with_remember_ids(Duration::from_millis(5));
        assert_eq!(Change::configure(&queue(), &options).to_json().unwrap(), stored.as_bytes());
    }
}
