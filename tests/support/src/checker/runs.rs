//! Runs of handlers, put together from what the ledgers say of them.

use std::collections::BTreeMap;

use crate::ledger::{Answer, Record, Run};

/// A time from one moment to another, in nanoseconds since the boot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Interval {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Interval {
    /// Tells whether they have a moment in common.
    pub(super) fn meets(self, other: Interval) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// One run of a handler.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) run: Run,
    pub(super) begin: u64,
    /// When the handler returned, and whether it had done its work.
    returned: Option<(u64, bool)>,
    /// What the broker said to its settlement, and when that was known.
    pub(super) answer: Option<(Answer, u64)>,
    /// When its process was killed.
    killed: Option<u64>,
}

impl Span {
    /// Tells whether the work was done. A run of which only the broker's answer is told did it.
    pub(super) fn completed(&self) -> bool {
        self.returned.map_or(self.answer.is_some(), |(_, done)| done)
    }

    /// Tells whether the broker accepted that the work was done.
    pub(super) fn settled(&self) -> bool {
        self.completed() && self.answer.is_some_and(|(answer, _)| answer == Answer::Accepted)
    }

    /// Tells whether the process was killed between the end of the work and the broker's answer.
    pub(super) fn unsettled(&self) -> bool {
        self.completed() && self.answer.is_none() && self.killed.is_some()
    }

    /// When the handler ran: up to its return, or its process's death, or still.
    pub(super) fn ran(&self) -> Interval {
        let returned = self.returned.map(|(at, _)| at).or(self.answer.map(|(_, at)| at));
        Interval { from: self.begin, to: returned.or(self.killed).unwrap_or(u64::MAX) }
    }

    /// From the begin to when nothing more can come of it: the broker's answer, the process's death, or never.
    pub(super) fn held(&self) -> Interval {
        let to = self.answer.map(|(_, at)| at).or(self.killed).unwrap_or(u64::MAX);
        Interval { from: self.begin, to }
    }

    /// Tells whether this was accepted though the other, of a newer epoch, had begun before this one asked for it.
    pub(super) fn stale_after(&self, newer: &Span) -> bool {
        let accepted = self.answer.is_some_and(|(answer, _)| answer == Answer::Accepted);
        // Before this the broker cannot have been asked, and what it accepted it did later.
        accepted && newer.run.epoch > self.run.epoch && newer.begin < self.ran().to
    }
}

/// Puts the runs together. A process writes in order, so what it says of a run is of the last one that began.
pub(super) fn spans(records: &[Record]) -> Vec<Span> {
    let (mut spans, mut last) = (Vec::<Span>::new(), BTreeMap::<&Run, usize>::new());
    for record in records {
        let (run, at) = match record {
            Record::Begin { run, at }
            | Record::Done { run, at }
            | Record::Failed { run, at }
            | Record::End { run, at, .. } => (run, *at),
            Record::Sent { .. } | Record::Fault { .. } | Record::Killed { .. } => continue,
        };
        if matches!(record, Record::Begin { .. }) || !last.contains_key(run) {
            last.insert(run, spans.len());
            spans.push(Span { run: run.clone(), begin: at, returned: None, answer: None, killed: None });
        }
        let Some(span) = last.get(run).and_then(|number| spans.get_mut(*number)) else { continue };
        match record {
            Record::Done { .. } => span.returned = Some((at, true)),
            Record::Failed { .. } => span.returned = Some((at, false)),
            Record::End { result, .. } => span.answer = Some((*result, at)),
            _ => {}
        }
    }
    for span in &mut spans {
        let kills = records.iter().filter_map(|record| match record {
            // An earlier one was of another process, which had the same pid.
            Record::Killed { pid, at } if *pid == span.run.pid && *at >= span.begin => Some(*at),
            _ => None,
        });
        span.killed = kills.min();
    }
    spans
}
