//! Looking a broker's books through: each id in exactly one state, every index and counter as the tasks say.

use std::fmt;

use async_trait::async_trait;

use crate::Result;

/// The most findings that one report names; further ones are only counted.
const MAX_FINDINGS: usize = 10_000;

/// The power to look a broker's books through and to mend them.
///
/// A backend that keeps what belongs to one task in several places has it. It looks for what no step of the state machine
/// leaves behind: a defect, a hand in the store, a damaged disk.
///
/// # Behavior
/// A repair never loses a task and never takes one for settled:
///
/// * counters are counted again, and orders and sequences that were given are never given again;
/// * an entry without a task is removed, a task without an entry gets back the one of its state;
/// * a task whose state cannot be told becomes ready, and nobody is charged for it: it may have been run already;
/// * a task that is in two places stays in one of them, where it will be run;
/// * an id that is both a task's and remembered as settled, or that of a result, stays a task's;
/// * a unique key belongs to the unsettled task that has it, and one of a task that is gone or dead is free;
/// * a task that nobody could claim, as its id, name or body cannot be read, becomes dead, and is kept as the dead are;
/// * dead tasks above the limit go, the oldest first, as they would have gone at the next death.
///
/// What is in use changes meanwhile, and none of that is a finding: a backend either looks at one instant, or looks again, in
/// one step, at what seemed wrong.
#[async_trait]
pub trait Fsck: fmt::Debug + Send + Sync {
    /// Looks all queues through; with `repair`, also mends what is wrong, durably.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable), [`Full`](crate::ErrorKind::Full), and
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when so little can be read that nothing can be said. What is wrong and can be
    /// told is no error but a [`Finding`].
    ///
    /// # Cancel safety
    /// Dropping the future does not end the call: a repair may still take effect, all of it or, where a backend mends task by
    /// task, a part. Both are harmless; a second call mends the rest.
    async fn fsck(&self, repair: bool) -> Result<Report>;
}

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How many queues were looked at.
    pub queues: u64,
    /// How many tasks were looked at, dead ones included.
    pub tasks: u64,
    /// What is wrong, or was before it was repaired; at most 10 000 of them.
    pub findings: Vec<Finding>,
    /// How many findings there were besides. They are repaired like the others.
    pub further: u64,
}

impl Report {
    /// Whether nothing is wrong, and was not before a repair either.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.further == 0
    }

    /// How many findings are not repaired. Of the further ones nothing is known, so they count as repaired if those that are
    /// named were.
    #[must_use]
    pub fn unrepaired(&self) -> usize {
        self.findings.iter().filter(|finding| !finding.repaired).count()
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.further += 1;
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Finding {
    /// The queue, as it is stored: a damaged name may be none. `None` where it concerns no single queue.
    pub queue: Option<String>,
    /// The task's id, as it is stored. `None` where it concerns no single task.
    pub id: Option<String>,
    /// What is wrong, in a few words.
    pub wrong: String,
    /// What a repair does. `None` where none is known; what to do then is said in `wrong`.
    pub repair: Option<String>,
    /// Whether it was repaired, by the call that reports it.
    pub repaired: bool,
}

impl Finding {
    /// Something wrong with a queue, or, without one, with the whole store.
    pub(crate) fn new(queue: Option<&str>, wrong: impl Into<String>) -> Self {
        let queue = queue.map(str::to_owned);
        Self { queue, id: None, wrong: wrong.into(), repair: None, repaired: false }
    }

    #[cfg_attr(
        not(any(feature = "local", feature = "redis")),
        allow(dead_code, reason = "for backends with a store")
    )]
    pub(crate) fn of(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    #[cfg_attr(
        not(any(feature = "local", feature = "redis")),
        allow(dead_code, reason = "for backends with a store")
    )]
    pub(crate) fn repair(mut self, repair: impl Into<String>) -> Self {
        self.repair = Some(repair.into());
        self
    }
}

/// One line: where, what, and what is or was done about it.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(queue) = &self.queue {
            write!(f, "queue {queue:?}: ")?;
        }
        if let Some(id) = &self.id {
            write!(f, "task {id}: ")?;
        }
        f.write_str(&self.wrong)?;
        match (&self.repair, self.repaired) {
            (Some(repair), true) => write!(f, "; repaired: {repair}"),
            (Some(repair), false) => write!(f, "; --repair: {repair}"),
            (None, _) => f.write_str("; cannot be repaired here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line() {
        let mut finding =
            Finding::new(Some("q"), "it is leased by nobody").of("7").repair("it becomes ready");
        assert_eq!(
            finding.to_string(),
            "queue \"q\": task 7: it is leased by nobody; --repair: it becomes ready"
        );
        finding.repaired = true;
        assert!(finding.to_string().ends_with("; repaired: it becomes ready"));
        let damaged = Finding::new(Some("a\nb"), "a page is damaged").to_string();
        assert_eq!(damaged, "queue \"a\\nb\": a page is damaged; cannot be repaired here");
    }

    #[test]
    fn a_report_is_bounded() {
        let mut report = Report::default();
        assert!(report.is_clean());
        for _ in 0..MAX_FINDINGS + 3 {
            report.add(Finding::new(None, "wrong"));
        }
        assert_eq!((report.findings.len(), report.further), (MAX_FINDINGS, 3));
        assert_eq!((report.is_clean(), report.unrepaired()), (false, MAX_FINDINGS));
    }
}
