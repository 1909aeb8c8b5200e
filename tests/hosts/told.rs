//! What the programs on the hosts said so far.

use std::collections::{BTreeMap, BTreeSet};

use crate::producer::LONG;

/// What one program said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Tasks that it began, in this order, with how long they take.
    pub(crate) begun: Vec<(String, u64)>,
    /// Tasks whose handlers returned, however they were settled.
    pub(crate) done: BTreeSet<String>,
    /// Tasks whose settlements were accepted.
    pub(crate) settled: BTreeSet<String>,
    /// Tasks whose settlements were refused.
    pub(crate) refused: BTreeSet<String>,
    /// How many tasks the broker took from it.
    pub(crate) sent: usize,
    /// How many of its calls failed to send one.
    pub(crate) failed: usize,
    /// Tasks that may be there twice, as a call was repeated whose outcome is unknown.
    pub(crate) twins: BTreeSet<String>,
    /// Whether it said all.
    pub(crate) ended: bool,
}

impl Told {
    /// Reads a line.
    pub(crate) fn hear(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["begin", id, ms] => self.begun.push((id.to_owned(), ms.parse().unwrap())),
            ["done", id] => drop(self.done.insert(id.to_owned())),
            ["refused", id] => drop(self.refused.insert(id.to_owned())),
            ["settled", id] => drop(self.settled.insert(id.to_owned())),
            ["sent", _] => self.sent += 1,
            ["failed", _] => self.failed += 1,
            ["twin", id] => {
                self.failed += 1;
                self.twins.insert(id.to_owned());
            }
            _ => panic!("what does {line:?} mean?"),
        }
    }

    /// The long task that it runs, if it began one after so many others and runs it still.
    pub(crate) fn long_since(&self, begun: usize) -> Option<&str> {
        self.long_ones(begun).find(|id| !self.done.contains(*id))
    }

    /// Whether it did a long task, of which it began after so many others: it has renewed a lease.
    pub(crate) fn renewed_since(&self, begun: usize) -> bool {
        self.long_ones(begun).any(|id| self.settled.contains(id))
    }

    /// The last first.
    fn long_ones(&self, begun: usize) -> impl Iterator<Item = &str> {
        let since = self.begun.get(begun..).unwrap_or_default();
        since.iter().rev().filter(|(_, ms)| *ms == LONG).map(|(id, _)| id.as_str())
    }

    /// Whether it began this task.
    pub(crate) fn began(&self, task: &str) -> bool {
        self.begun.iter().any(|(id, _)| id == task)
    }
}

/// Tasks that more than one of these programs began.
pub(crate) fn shared<'a>(told: impl IntoIterator<Item = &'a Told>) -> usize {
    let mut by = BTreeMap::<&str, usize>::new();
    for told in told {
        let ids: BTreeSet<_> = told.begun.iter().map(|(id, _)| id.as_str()).collect();
        ids.into_iter().for_each(|id| *by.entry(id).or_default() += 1);
    }
    by.values().filter(|programs| **programs > 1).count()
}
