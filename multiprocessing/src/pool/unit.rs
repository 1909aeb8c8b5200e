//! What is given to a process at a time: some calls of one function.

use std::sync::{Arc, Mutex, PoisonError};

use manyhands_broker::{Error, TaskName};
use manyhands_worker::function::read_reply;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::CallError;

/// Some calls of one function.
pub(super) struct Unit {
    pub(super) function: TaskName,
    /// A JSON array of the arguments of each call.
    pub(super) calls: String,
    /// How many calls these are.
    pub(super) count: usize,
    /// Who is told how they ended.
    pub(super) sink: Arc<dyn Sink>,
    /// Their place among those of the sink.
    pub(super) at: usize,
    /// How many processes died of them.
    pub(super) crashes: u32,
    /// How many died that had been given them, and had not read that.
    pub(super) unread: u32,
}

/// Who waits for the ends of units.
pub(super) trait Sink: Send + Sync {
    /// A unit has ended. To be called once for each.
    fn ended(&self, at: usize, ended: Ended);

    /// Whether nobody waits any more: what was not begun need not be.
    fn is_abandoned(&self) -> bool {
        false
    }
}

/// What became of a unit.
pub(super) enum Ended {
    /// A reply for all of its calls.
    Replied(String),
    /// Each of its calls ended by itself: one reply of one call, or why there is none.
    Apart(Vec<One>),
    /// None of them has a result.
    Failed(CallError),
}

impl Ended {
    /// How many bytes of results it has.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Replied(text) => text.len(),
            Self::Apart(each) => each.iter().flatten().map(String::len).sum(),
            Self::Failed(_) => 0,
        }
    }

    /// What each call came to.
    pub(super) fn read<R: DeserializeOwned>(self, count: usize) -> Vec<Result<R, CallError>> {
        let all = |error: CallError| (0..count).map(|_| Err(error.clone())).collect();
        match self {
            Self::Replied(text) => match read_all(&text) {
                Ok(results) if results.len() == count => results,
                Ok(results) => all(unreadable(Error::invalid(
                    "read",
                    format!("{} results came for {count} calls", results.len()),
                ))),
                Err(error) => all(unreadable(
                    Error::invalid("read", "the result is not of the function's type").because(error),
                )),
            },
            Self::Apart(each) => each
                .into_iter()
                .flat_map(|one| match one {
                    Ok(text) => Self::Replied(text).read(1),
                    Err(error) => vec![Err(error)],
                })
                .collect(),
            Self::Failed(error) => all(error),
        }
    }
}

fn unreadable(error: Error) -> CallError {
    error.advise("build the caller and its workers from the same sources").into()
}

fn read_all<R: DeserializeOwned>(text: &str) -> serde_json::Result<Vec<Result<R, CallError>>> {
    let whole = |text: &str| Ok(serde_json::from_str::<Vec<R>>(text)?.into_iter().map(Ok).collect());
    read_reply(text, whole, |reply| match reply {
        Ok(result) => serde_json::from_str(result.get()).map(Ok),
        Err(words) => Ok(Err(CallError::Panicked(words.to_owned()))),
    })
}

/// Some calls that are to be a unit.
pub(super) struct Part {
    calls: String,
    pub(super) count: usize,
}

impl Part {
    /// These calls.
    ///
    /// # Errors
    /// When their arguments cannot be written as JSON.
    pub(super) fn of<A: Serialize>(calls: &[A]) -> Result<Self, CallError> {
        Ok(Self { calls: write_calls(calls)?, count: calls.len() })
    }

    /// These calls, as parts of at most so many bytes, unless one call alone has more.
    ///
    /// # Errors
    /// As [`Part::of`].
    pub(super) fn that_fit<A: Serialize>(
        calls: &[A],
        most: usize,
        into: &mut Vec<Self>,
    ) -> Result<(), CallError> {
        let part = Self::of(calls)?;
        if part.calls.len() <= most || calls.len() < 2 {
            into.push(part);
            return Ok(());
        }
        let (first, second) = calls.split_at(calls.len() / 2);
        Self::that_fit(first, most, into)?;
        Self::that_fit(second, most, into)
    }

    pub(super) fn unit(self, function: &TaskName, sink: &Arc<dyn Sink>, at: usize) -> Unit {
        let Self { calls, count } = self;
        Unit { function: function.clone(), calls, count, sink: Arc::clone(sink), at, crashes: 0, unread: 0 }
    }
}

/// Writes the arguments of calls as a unit carries them.
///
/// # Errors
/// When they cannot be written as JSON.
fn write_calls<A: Serialize>(calls: &[A]) -> Result<String, CallError> {
    serde_json::to_string(calls)
        .map_err(|e| Error::invalid("call", "the arguments cannot be written as JSON").because(e).into())
}

impl Unit {
    /// The same calls, one a unit, where they are more than one: which of them killed a process is found out so.
    pub(super) fn apart(self) -> Vec<Self> {
        if self.count < 2 {
            return vec![self];
        }
        let Ok(calls) = serde_json::from_str::<Vec<&RawValue>>(&self.calls) else { return vec![self] };
        let parts = Arc::new(Parts {
            sink: Arc::clone(&self.sink),
            at: self.at,
            state: Mutex::new((calls.len(), (0..calls.len()).map(|_| None).collect())),
        });
        let unit = |(at, call): (usize, &&RawValue)| Self {
            function: self.function.clone(),
            calls: format!("[{}]", call.get()),
            count: 1,
            sink: Arc::clone(&parts) as Arc<dyn Sink>,
            at,
            crashes: self.crashes,
            unread: self.unread,
        };
        calls.iter().enumerate().map(unit).collect()
    }

    pub(super) fn end(self, ended: Ended) {
        self.sink.ended(self.at, ended);
    }
}

/// What one call came to: its reply.
type One = Result<String, CallError>;

/// Collects the ends of the calls of one unit.
struct Parts {
    sink: Arc<dyn Sink>,
    at: usize,
    /// How many have not ended, and what became of the others.
    state: Mutex<(usize, Vec<Option<One>>)>,
}

impl Sink for Parts {
    fn ended(&self, at: usize, ended: Ended) {
        let ended = match ended {
            Ended::Replied(text) => Ok(text),
            Ended::Failed(error) => Err(error),
            // A call alone is not taken apart.
            Ended::Apart(mut one) => one.pop().unwrap_or(Err(CallError::Taken)),
        };
        let all = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.1[at] = Some(ended);
            state.0 -= 1;
            (state.0 == 0).then(|| state.1.drain(..).flatten().collect())
        };
        if let Some(all) = all {
            self.sink.ended(self.at, Ended::Apart(all));
        }
    }

    fn is_abandoned(&self) -> bool {
        self.sink.is_abandoned()
    }
}
