//! The directory: which queues there are, how they are configured, which are closed. One small document a namespace.
//!
//! It only ever grows: a queue is used, then configured, then closed. So two versions of it can be merged, whichever was written
//! last, and nothing that was said is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{Order, QueueName, QueueOptions, clock::millis, machine::Configuration};

/// The last format that this version knows; it reads those before, too. Since 2, a queue's tasks wait in a line for each bit of
/// their delay, which an older version would not count, and would forget. Since 3, a queue can be by priority: its tasks are in
/// several lines, of which an older version would know the first one only. Since 4, a message without headers is a task, which an
/// older version would bury as none.
pub(super) const FORMAT: u8 = 4;

/// All queues of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Directory {
    /// As it was stored or sent; what is written has the last one.
    format: u8,
    queues: BTreeMap<QueueName, Entry>,
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    capacity: u64,
    remember_ids_ms: u64,
    revision: u64,
    configured: bool,
    pub(super) closed: bool,
    /// Tasks may wait for 2^level seconds in the lines of a version that rounded up.
    pub(super) levels: BTreeSet<u32>,
    /// Tasks may wait for 2^level seconds, on their way through such lines.
    #[serde(default)]
    pub(super) steps: BTreeSet<u32>,
    /// It is in order of priority, and else first in, first out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    by_priority: bool,
}

/// What can be said of a queue.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// It is used.
    Use(QueueName),
    /// It is configured.
    Configure(QueueName, QueueOptions),
    /// No more will come to it.
    Close(QueueName),
    /// Its tasks may wait in the lines of 2^level seconds.
    Wait(QueueName, BTreeSet<u32>),
}

/// Why a directory cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It needs a version that knows this format.
    Newer(u8),
    /// It is none of ours.
    Foreign,
}

impl Default for Directory {
    fn default() -> Self {
        Self { format: FORMAT, queues: BTreeMap::new() }
    }
}

impl Default for Entry {
    /// A queue that exists only by use.
    fn default() -> Self {
        let mut entry = Self {
            capacity: 0,
            remember_ids_ms: 0,
            revision: 1,
            configured: false,
            closed: false,
            levels: BTreeSet::new(),
            steps: BTreeSet::new(),
            by_priority: false,
        };
        entry.set(&Configuration::default());
        entry
    }
}

impl Entry {
    /// Which task is claimed first.
    pub(super) fn order(&self) -> Order {
        if self.by_priority { Order::Priority } else { Order::Fifo }
    }

    /// The options in force, and how they came to be.
    pub(super) fn configuration(&self) -> Configuration {
        let options = QueueOptions::default()
            .with_capacity(self.capacity)
            .with_order(self.order())
            .with_remember_ids(Duration::from_millis(self.remember_ids_ms));
        Configuration { options, revision: self.revision, configured: self.configured }
    }

    fn set(&mut self, configuration: &Configuration) {
        let Configuration { options, revision, configured } = configuration;
        (self.capacity, self.remember_ids_ms) = (options.capacity, millis(options.remember_ids));
        (self.revision, self.configured) = (*revision, *configured);
        self.by_priority = options.order == Order::Priority;
    }

    /// Of two configurations the later one; of two that were first at the same time, one that does not depend on who asks.
    fn rank(&self) -> (bool, u64, u64, u64, bool) {
        (self.configured, self.revision, self.capacity, self.remember_ids_ms, self.by_priority)
    }

    fn merge(&mut self, other: &Self) {
        if other.rank() > self.rank() {
            self.set(&other.configuration());
        }
        self.closed |= other.closed;
        self.levels.extend(&other.levels);
        self.steps.extend(&other.steps);
    }
}

impl Directory {
    /// Reads what was stored or sent.
    pub(super) fn read(json: &[u8]) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Any {
            format: u8,
        }
        match serde_json::from_slice::<Any>(json) {
            Ok(Any { format }) if format > FORMAT => Err(Unreadable::Newer(format)),
            Ok(_) => serde_json::from_slice(json).map_err(|_| Unreadable::Foreign),
            Err(_) => Err(Unreadable::Foreign),
        }
    }

    /// Whether versions can read it that do not know what this one writes.
    pub(super) fn is_older(&self) -> bool {
        self.format < FORMAT
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    pub(super) fn get(&self, queue: &QueueName) -> Option<&Entry> {
        self.queues.get(queue)
    }

    /// The queues by name, those after one if it is given.
    pub(super) fn names(&self, after: Option<&QueueName>, max: usize) -> Vec<QueueName> {
        let names = self.queues.keys().filter(|name| after.is_none_or(|after| *name > after));
        names.take(max).cloned().collect()
    }

    /// Takes over what another one says.
    pub(super) fn merge(&mut self, other: &Self) {
        for (queue, theirs) in &other.queues {
            match self.queues.get_mut(queue) {
                Some(ours) => ours.merge(theirs),
                None => drop(self.queues.insert(queue.clone(), theirs.clone())),
            }
        }
    }

    /// Takes a change; what was said before, and a second configuration, change nothing.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Use(queue) => drop(self.queues.entry(queue.clone()).or_default()),
            Change::Configure(queue, options) => match self.queues.get_mut(queue) {
                Some(entry) => {
                    let mut configuration = entry.configuration();
                    // Who came second reads what came first, and tells its user.
                    if configuration.configure(queue, options, 0).is_ok() {
                        entry.set(&configuration);
                    }
                }
                None => {
                    let mut entry = Entry::default();
                    entry.set(&Configuration { options: options.clone(), revision: 1, configured: true });
                    self.queues.insert(queue.clone(), entry);
                }
            },
            Change::Close(queue) => self.queues.entry(queue.clone()).or_default().closed = true,
            Change::Wait(queue, levels) => {
                self.queues.entry(queue.clone()).or_default().steps.extend(levels);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> QueueName {
        QueueName::new("q").unwrap()
    }

    fn after(changes: &[Change]) -> Directory {
        let mut directory = Directory::default();
        for change in changes {
            directory.apply(change);
        }
        directory
    }

    fn configure(capacity: u64) -> Change {
        Change::Configure(queue(), QueueOptions::default().with_capacity(capacity))
    }

    #[test]
    fn the_first_configuration_wins() {
        let mut directory = after(&[configure(1)]);
        directory.apply(&configure(2));
        let Configuration { options, revision, configured } =
            directory.get(&queue()).unwrap().configuration();
        assert_eq!((options.capacity, revision, configured), (1, 1, true));
    }

    #[test]
    fn use_comes_before_configuration() {
        let directory = after(&[Change::Use(queue()), configure(1)]);
        assert_eq!(directory.get(&queue()).unwrap().configuration().revision, 2);
    }

    #[test]
    fn merging_loses_nothing_and_does_not_depend_on_the_order() {
        let (a, b) = (
            after(&[configure(5), Change::Close(queue())]),
            after(&[configure(7), Change::Wait(queue(), BTreeSet::from([3]))]),
        );
        let (mut ab, mut ba) = (a.clone(), b.clone());
        ab.merge(&b);
        ba.merge(&a);
        assert_eq!(ab, ba);
        let entry = ab.get(&queue()).unwrap();
        assert!(entry.closed && entry.steps.contains(&3) && entry.configured);
    }

    /// What was stored by this version, and by each one before it, must be read by every later one.
    #[test]
    fn the_stored_form_is_kept() {
        let first = r#"{"format":1,"queues":{"q":{"capacity":3,"remember_ids_ms":3600000,"revision":1,"configured":true,"closed":true,"levels":[2]}}}"#;
        let second = r#"{"format":2,"queues":{"q":{"capacity":3,"remember_ids_ms":3600000,"revision":1,"configured":true,"closed":true,"levels":[2],"steps":[0,3]}}}"#;
        let third = r#"{"format":3,"queues":{"q":{"capacity":3,"remember_ids_ms":3600000,"revision":1,"configured":true,"closed":true,"levels":[2],"steps":[0,3]},"r":{"capacity":3,"remember_ids_ms":3600000,"revision":1,"configured":true,"closed":false,"levels":[],"steps":[],"by_priority":true}}}"#;
        let fourth = third.replace(r#"{"format":3"#, r#"{"format":4"#);
        let read = |stored: &str| {
            let mut directory = Directory::default();
            let stored = Directory::read(stored.as_bytes()).unwrap();
            directory.merge(&stored);
            (directory, stored.is_older())
        };
        let mut directory = after(&[configure(3), Change::Close(queue())]);
        directory.queues.get_mut(&queue()).unwrap().levels.insert(2);
        assert_eq!(read(first), (directory.clone(), true));
        directory.apply(&Change::Wait(queue(), BTreeSet::from([0, 3])));
        assert_eq!(read(second), (directory.clone(), true));
        directory.apply(&Change::Configure(
            QueueName::new("r").unwrap(),
            QueueOptions::default().with_order(Order::Priority).with_capacity(3),
        ));
        assert_eq!(read(third), (directory.clone(), true));
        assert_eq!(directory.to_json().unwrap(), fourth.as_bytes());
        assert_eq!(read(&fourth), (directory, false));
        assert_eq!(Directory::read(br#"{"format":5}"#), Err(Unreadable::Newer(5)));
        assert_eq!(Directory::read(b"rubbish"), Err(Unreadable::Foreign));
    }
}
