//! What the processes tell the director: one JSON object a line on their standard output.

use std::{io::Write, time::Duration};

use manyhands::{Ending, Observer, Running};
use manyhands_broker::Settled;
use serde::{Deserialize, Serialize};

/// Something that happened in a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub(super) enum Event {
    /// The site listens here.
    Listening { address: String },
    /// The producer has enqueued a task, or found it there.
    Sent { id: String },
    /// A handler starts. `deaths` counts the processes that died while they held the task.
    Started { id: String, deaths: u32 },
    /// A handler ended. Always told before its settlement is sent.
    Ended { id: String, ending: Kind, micros: u64 },
    /// The broker has accepted the settlement.
    Settled { id: String },
}

/// How a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Completed,
    Retried,
    Buried,
    Other,
}

/// Tells the director. If it is gone, so is this process soon.
pub(super) fn tell(event: &Event) {
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        // One write a line: a process that is killed leaves no half of one.
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}

/// Tells the director what a worker does.
#[derive(Debug)]
pub(super) struct Teller;

impl Observer for Teller {
    fn started(&self, run: &Running<'_>) {
        tell(&Event::Started { id: run.task.lease.id.to_string(), deaths: run.task.deaths });
    }

    fn ended(&self, run: &Running<'_>, ending: &Ending, took: Duration) {
        let kind = match ending {
            Ending::Completed => Kind::Completed,
            Ending::Retried(..) => Kind::Retried,
            Ending::Buried(_) => Kind::Buried,
            _ => Kind::Other,
        };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tell(&Event::Ended { id: run.task.lease.id.to_string(), ending: kind, micros });
    }

    fn settled(&self, run: &Running<'_>, answer: Settled) {
        if answer == Settled::Settled {
            tell(&Event::Settled { id: run.task.lease.id.to_string() });
        }
    }
}
