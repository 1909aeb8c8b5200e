//! Reads ledgers and nothing else, and tells what should not have happened.

mod runs;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::Path,
};

use self::runs::{Interval, Span};
use crate::ledger::{Answer, Outcome, Record, Run};

/// What the ledgers of one test tell.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Tasks that producers know to be sent.
    pub confirmed: usize,
    /// Tasks that may have been sent.
    pub unknown: usize,
    /// Runs that began.
    pub runs: usize,
    /// Runs that did their work.
    pub completed: usize,
    /// Last lines that a kill cut short.
    pub torn: usize,
    /// Runs that did their work in a process that was killed before it knew the broker's answer: they may run again.
    pub unsettled: Vec<Run>,
    /// Tasks that were confirmed and never completed, though the test waited for all.
    pub lost: Vec<String>,
    /// Completed runs of a task after its first.
    pub doubled: Vec<Pair>,
    /// Runs of a task at the same instant.
    pub overlapping: Vec<Pair>,
    /// Settlements that were accepted though a newer claim of the task had begun to run: here `second` is the old one.
    pub stale: Vec<Pair>,
    /// Two runs of a task under one epoch.
    pub reused: Vec<Pair>,
    /// Tasks of which more than one completed run was accepted. No defect where a broker cannot know that it accepted one.
    pub resettled: Vec<String>,
}

/// Two runs of a task, in the order in which they began.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pair {
    /// The earlier one.
    pub first: Run,
    /// The one that should not be.
    pub second: Run,
    /// An injected fault that concerned one of them while it ran or was settled, and had begun when the second did: then
    /// tasks may run twice. A later one cannot be the cause.
    pub fault: Option<String>,
    /// The second began after the broker had accepted the completion of the first. Only a broker that lost what it had
    /// accepted may do so; a fault that explains it is one of the broker itself.
    pub after_accepted: bool,
}

impl Report {
    /// What no fault explains; nothing, if all is well. A stale or reused claim is explained by no fault.
    #[must_use]
    pub fn defects(&self) -> Vec<String> {
        let lost = self.lost.iter().map(|id| format!("LOST {id}"));
        let pairs = |what: &'static str, pairs: &[Pair]| {
            pairs.iter().map(|pair| format!("{what} {pair}")).collect::<Vec<_>>()
        };
        let unexplained = |pairs: &[Pair]| -> Vec<Pair> {
            pairs.iter().filter(|pair| pair.fault.is_none()).cloned().collect()
        };
        lost.chain(pairs("DOUBLED", &unexplained(&self.doubled)))
            .chain(pairs("OVERLAPPING", &unexplained(&self.overlapping)))
            .chain(pairs("STALE", &self.stale))
            .chain(pairs("REUSED", &self.reused))
            .collect()
    }
}

impl fmt::Display for Pair {
    /// Writes both runs, and the fault.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = (&self.first, &self.second);
        write!(f, "{}: epoch {} in process {}", first.id, first.epoch, first.pid)?;
        write!(f, ", epoch {} in process {}", second.epoch, second.pid)?;
        if self.after_accepted {
            write!(f, ", after the first was accepted")?;
        }
        self.fault.as_ref().map_or(Ok(()), |fault| write!(f, " ({fault})"))
    }
}

impl fmt::Display for Report {
    /// Writes the figures in one line, and then each defect on its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} confirmed, {} unknown, {} runs, {} completed, {} doubled, {} overlapping, {} torn lines",
            self.confirmed,
            self.unknown,
            self.runs,
            self.completed,
            self.doubled.len(),
            self.overlapping.len(),
            self.torn
        )?;
        self.defects().iter().try_for_each(|defect| write!(f, "\n{defect}"))
    }
}

/// Reads all ledgers in a folder, its files named `*.jsonl`.
///
/// # Errors
///
/// If one cannot be read; [`io::ErrorKind::InvalidData`] for a line, other than the last of a file, that is no record.
pub fn check(folder: &Path) -> io::Result<Report> {
    let (mut records, mut torn) = (Vec::new(), 0);
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            torn += read(&path, &mut records)?;
        }
    }
    Ok(Report { torn, ..judge(&records) })
}

/// Reads one ledger, and tells how many lines of it are torn: one at most.
fn read(path: &Path, records: &mut Vec<Record>) -> io::Result<usize> {
    let text = fs::read(path)?;
    let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
    // A whole line has its end, so behind the last one is nothing.
    let torn = usize::from(lines.pop().is_some_and(|rest| !rest.is_empty()));
    for line in lines {
        let record = serde_json::from_slice(line).map_err(|error| {
            let text = format!("{}: {error}: {}", path.display(), String::from_utf8_lossy(line));
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        records.push(record);
    }
    Ok(torn)
}

/// Judges records; those of one process must be in their order.
#[must_use]
pub fn judge(records: &[Record]) -> Report {
    let sent = |wanted: Outcome| -> BTreeSet<&str> {
        let ids = records.iter().filter_map(|record| match record {
            Record::Sent { id, outcome, .. } if *outcome == wanted => Some(id.as_str()),
            _ => None,
        });
        ids.collect()
    };
    let (confirmed, unknown) = (sent(Outcome::Confirmed), sent(Outcome::Unknown));
    let (spans, faults) = (runs::spans(records), Faults::of(records));
    let mut tasks = BTreeMap::<&str, Vec<&Span>>::new();
    for span in &spans {
        tasks.entry(&span.run.id).or_default().push(span);
    }
    let completed = |id: &str| tasks.get(id).is_some_and(|runs| runs.iter().any(|run| run.completed()));
    let mut report = Report {
        confirmed: confirmed.len(),
        unknown: unknown.difference(&confirmed).count(),
        runs: spans.len(),
        completed: spans.iter().filter(|span| span.completed()).count(),
        unsettled: spans.iter().filter(|span| span.unsettled()).map(|span| span.run.clone()).collect(),
        lost: confirmed.iter().filter(|id| !completed(id)).map(|id| (*id).to_owned()).collect(),
        ..Report::default()
    };
    for (id, runs) in &mut tasks {
        runs.sort_by_key(|run| run.begin);
        if runs.iter().filter(|run| run.settled()).count() > 1 {
            report.resettled.push((*id).to_owned());
        }
        let done: Vec<_> = runs.iter().filter(|run| run.completed()).collect();
        report.doubled.extend(done.windows(2).map(|pair| faults.pair(pair[0], pair[1])));
        for (number, first) in runs.iter().enumerate() {
            for second in &runs[number + 1..] {
                if second.begin < first.ran().to {
                    report.overlapping.push(faults.pair(first, second));
                }
                if first.run.epoch == second.run.epoch {
                    report.reused.push(faults.pair(first, second));
                }
            }
            let newer = runs.iter().find(|newer| first.stale_after(newer));
            report.stale.extend(newer.map(|newer| Pair {
                first: newer.run.clone(),
                second: first.run.clone(),
                ..faults.pair(first, newer)
            }));
        }
    }
    report
}

/// The injected faults.
struct Faults<'a>(Vec<(&'a str, Option<u32>, Interval)>);

impl<'a> Faults<'a> {
    fn of(records: &'a [Record]) -> Self {
        let faults = records.iter().filter_map(|record| match record {
            Record::Fault { fault, pid, from, to } => {
                Some((fault.as_str(), *pid, Interval { from: *from, to: *to }))
            }
            _ => None,
        });
        Self(faults.collect())
    }

    /// What may have made the second run begin.
    fn cause(&self, first: &Span, second: &Span) -> Option<&'a str> {
        let met = |run: &Span, pid: Option<u32>, time: &Interval| {
            pid.is_none_or(|pid| pid == run.run.pid) && time.meets(run.held())
        };
        let mut found = self.0.iter().filter(|(_, pid, time)| {
            time.from <= second.begin && (met(first, *pid, time) || met(second, *pid, time))
        });
        found.next().map(|(fault, ..)| *fault)
    }

    fn pair(&self, first: &Span, second: &Span) -> Pair {
        let fault = self.cause(first, second).map(str::to_owned);
        let accepted = |(answer, at): (Answer, u64)| answer == Answer::Accepted && at < second.begin;
        let after_accepted = first.completed() && first.answer.is_some_and(accepted);
        Pair { first: first.run.clone(), second: second.run.clone(), fault, after_accepted }
    }
}

#[cfg(test)]
mod tests;
