//! What the processes tell on their standard output: the director, one JSON object a line; whoever reads it where there
//! is no director, a line of words.

use std::{io::Write, sync::Arc, time::Duration};

use manyhands::{Ending, Observer, Running};
use manyhands_broker::Settled;
use serde::{Deserialize, Serialize};

use super::{role::RoleName, words::Speaker};

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

/// Whom a process tells what happens in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// The director, which started it.
    Director,
    /// A person, such as one who reads the logs of its container.
    Reader,
}

impl Audience {
    /// Tells that the site listens.
    pub(super) fn listening(self, address: String) {
        match self {
            Self::Director => tell(&Event::Listening { address }),
            Self::Reader => say(&format!("listens on http://{address}")),
        }
    }

    /// Tells that the producer has enqueued a task, or found it there.
    pub(super) fn sent(self, id: String) {
        match self {
            Self::Director => tell(&Event::Sent { id }),
            Self::Reader => say(&format!("sent {id}")),
        }
    }

    /// Tells a person, of what the director finds out by itself.
    pub(super) fn remark(self, line: &str) {
        if self == Self::Reader {
            say(line);
        }
    }

    /// Whoever watches the worker of a role on behalf of this audience.
    pub(super) fn observer(self, role: RoleName) -> Arc<dyn Observer> {
        match self {
            Self::Director => Arc::new(Teller),
            Self::Reader => Arc::new(Speaker::new(role)),
        }
    }
}

/// Tells the director. If it is gone, so is this process soon.
fn tell(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        say(&line);
    }
}

/// Writes a line.
pub(super) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // One write a line: a process that is killed leaves no half of one. Whoever closed the pipe has seen enough.
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}

/// Tells the director what a worker does.
#[derive(Debug)]
struct Teller;

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
