//! The power to look at single tasks, and to change a queue by hand.

use std::{
    fmt::{self, Debug},
    str::FromStr,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;

use crate::{
    BatchName, Error, Failure, Holder, Incarnation, LimitKey, Payload, QueueName, QueueOptions, QueueStatus,
    Result, TaskId, TaskName, Unique, Wanted, Why,
};

/// What an operator can do with the tasks of a broker that finds them by their ids.
///
/// What only reads writes nothing, and looks at no more than a bounded number of tasks.
///
/// # Errors
/// Every call can fail as those of [`Broker`](crate::Broker) can.
///
/// # Cancel safety
/// Dropping a future does not undo its call, which may still take effect; repeating it is harmless.
#[async_trait]
pub trait Lookup: Debug + Send + Sync {
    /// Tells everything that is known of one task; `None` when there is none of that id, or it is settled.
    async fn get(&self, queue: &QueueName, id: &TaskId) -> Result<Option<TaskDetail>>;

    /// Lists tasks in one state, at most `max` (1 to [`limits::MAX_BATCH`](crate::limits::MAX_BATCH)), those that come after `after`
    /// if one is given: what [`TaskPage::next`] said of a list of the same state. A missing queue has none.
    ///
    /// # Behavior
    /// Ready tasks come in the order in which they will be claimed, scheduled ones by their due time, held ones by key and within
    /// a key in the order in which they will become ready, leased ones by the end of their leases, dead ones as they died. Between two calls tasks
    /// change their places: one that does may be seen twice or not at all, all others are seen once.
    async fn list(
        &self,
        queue: &QueueName,
        state: State,
        after: Option<&Mark>,
        max: usize,
    ) -> Result<TaskPage>;

    /// Tells why a task is not running, or what became of it.
    async fn why(&self, queue: &QueueName, id: &TaskId) -> Result<Why>;

    /// Tells which processes are behind incarnations, in their order, at most [`limits::MAX_BATCH`](crate::limits::MAX_BATCH) of them:
    /// `None` where nothing is known of one, as of a process that has ended, or whose version did not say.
    ///
    /// # Behavior
    /// On a server it is told by the connections that there are: one that has none at this moment is not known.
    async fn holders(&self, incarnations: &[Incarnation]) -> Result<Vec<Option<Holder>>>;

    /// Changes the options of a queue, if it has been changed as often as `revision` says:
    /// [`QueueStatus::revision`]. Creates a missing queue with defaults first. Durable when it returns.
    ///
    /// # Behavior
    /// Where the options are in force already, nothing is changed and the revision does not matter, so that a call whose answer was lost
    /// can be repeated. Tasks that wait for keys which are free by the new options become ready, of the first [`limits::UPKEEP`](crate::limits::UPKEEP) keys; those of
    /// others when the next lease of their key ends. Another `key_interval` begins with the next claim of a key.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict), with both values, and nothing is changed: when somebody else changed the options since;
    /// when the order would change and there are unsettled tasks; when keys would be limited no more and there are any tasks, dead
    /// ones too.
    async fn set(&self, queue: &QueueName, options: &QueueOptions, revision: u64) -> Result<QueueStatus>;

    /// Cancels tasks that wait in these states, at most `max` (1 to [`limits::MAX_BATCH`](crate::limits::MAX_BATCH)), all in one step,
    /// and tells how many. Durable when it returns.
    ///
    /// # Behavior
    /// Each task ends as [`cancel`](crate::Broker::cancel) ends it: its unique key is let go of, its batch counts it, its outcome is `Cancelled`. Held
    /// ones go first, then scheduled ones, then ready ones, each in the order of their list. A task that goes may let another one of its key become ready.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when one of the states is not of those that wait.
    async fn purge(&self, queue: &QueueName, states: &[State], max: usize) -> Result<u64>;
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It can be claimed.
    Ready,
    /// It becomes ready later.
    Scheduled,
    /// It waits for its key.
    Held,
    /// A process holds it.
    Leased,
    /// It was given up.
    Dead,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ready, Self::Scheduled, Self::Held, Self::Leased, Self::Dead];

    /// Whether a task in it waits to be claimed, so that it can be cancelled at once.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(self, Self::Ready | Self::Scheduled | Self::Held)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::Scheduled => "scheduled",
            Self::Held => "held",
            Self::Leased => "leased",
            Self::Dead => "dead",
        })
    }
}

/// A place in a list, from where it can be gone on with: a text that only its broker understands.
///
/// Each backend has its own three parts: two numbers that order tasks, and what tells apart those that have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub(crate) first: i64,
    pub(crate) second: i64,
    pub(crate) rest: Option<String>,
}

impl Mark {
    #[cfg_attr(
        not(any(feature = "local", feature = "redis")),
        allow(dead_code, reason = "for backends with a store")
    )]
    pub(crate) fn new(first: i64, second: i64, rest: Option<String>) -> Self {
        Self { first, second, rest }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.first, self.second)?;
        self.rest.as_ref().map_or(Ok(()), |rest| write!(f, ":{rest}"))
    }
}

impl FromStr for Mark {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse().ok());
        match (number(), number()) {
            (Some(first), Some(second)) => Ok(Self { first, second, rest: parts.next().map(str::to_owned) }),
            _ => {
                let message = format!("{text:?} is no mark of a list");
                Err(Error::invalid("list", message)
                    .advise("give the mark of the last task as it was printed"))
            }
        }
    }
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskPage {
    /// The tasks, in their order.
    pub tasks: Vec<TaskInfo>,
    /// Where the list goes on; `None` when it has ended. There may be nothing after it all the same.
    pub next: Option<Mark>,
}

/// What a list says of a task: all but what may be large.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: TaskName,
    /// Where it is, with what only that state has.
    pub standing: Standing,
    /// Its priority, where the order of its queue is by priority.
    pub priority: Option<i64>,
    /// How often a handler failed on it.
    pub attempts: u32,
    /// How many failures make it dead.
    pub max_attempts: u32,
    /// How many processes died while they ran it and no other.
    pub crashes: u32,
    /// How many such deaths make it dead.
    pub max_crashes: u32,
    /// Its last epoch: the fence of whoever holds it. 0 as long as nobody claimed it.
    pub epoch: u64,
    /// Since when it is parked again and again, as no worker that claimed it knows its name.
    pub parked_since: Option<SystemTime>,
    /// When it dies if nobody has claimed it by then; only while it waits and nobody ever did.
    pub expires: Option<SystemTime>,
    /// Its unique key.
    pub unique: Option<Unique>,
    /// Its limited key.
    pub key: Option<LimitKey>,
    /// Its batch.
    pub batch: Option<BatchName>,
    /// Whether its id was given.
    pub id_given: bool,
    /// What becomes of its result.
    pub result: Wanted,
    /// How long one run of it may take, as who sent it said.
    pub run_limit: Option<Duration>,
    /// What went wrong with it last.
    pub error: Option<String>,
    /// How many bytes of JSON text its payload has.
    pub payload_bytes: usize,
}

impl TaskInfo {
    /// A task in a place, of which nothing else is known yet.
    pub(crate) fn new(id: TaskId, name: TaskName, standing: Standing) -> Self {
        Self {
            id,
            name,
            standing,
            priority: None,
            attempts: 0,
            max_attempts: crate::limits::MAX_ATTEMPTS,
            crashes: 0,
            max_crashes: crate::limits::MAX_CRASHES,
            epoch: 0,
            parked_since: None,
            expires: None,
            unique: None,
            key: None,
            batch: None,
            id_given: false,
            result: Wanted::No,
            run_limit: None,
            error: None,
            payload_bytes: 0,
        }
    }
}

/// Everything that is known of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskDetail {
    /// What a list says of it.
    pub info: TaskInfo,
    /// Its payload as it was enqueued.
    pub payload: Payload,
    /// What its holder told last of how far it is, by a beat of the present lease.
    pub progress: Option<Payload>,
    /// What went wrong with it, the last [`limits::MAX_HISTORY`](crate::limits::MAX_HISTORY) times, the oldest first.
    pub history: Vec<Failure>,
}

/// Where a task is, with what only that state has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It can be claimed.
    Ready {
        /// Only by a process where nothing else runs.
        alone: bool,
    },
    /// It becomes ready later.
    Scheduled {
        /// When, by the broker's clock.
        due: SystemTime,
        /// How long from now; 0 when the next claim makes it ready.
        left: Duration,
    },
    /// It waits for its key.
    Held,
    /// A process holds it.
    Leased {
        /// Which.
        by: Incarnation,
        /// How long the lease lasts if it is not renewed; 0 when the next claim takes it back.
        left: Duration,
        /// Whether somebody cancelled it.
        cancelled: bool,
    },
    /// It was given up.
    Dead {
        /// When it died, by the broker's clock.
        died: SystemTime,
    },
}

impl Standing {
    /// The state alone.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Ready { .. } => State::Ready,
            Self::Scheduled { .. } => State::Scheduled,
            Self::Held => State::Held,
            Self::Leased { .. } => State::Leased,
            Self::Dead { .. } => State::Dead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_read_as_they_are_written() {
        for text in ["0:0", "-5:7", "1:-2:example.org:80", "1:2:"] {
            assert_eq!(text.parse::<Mark>().unwrap().to_string(), text);
        }
        for bad in ["", "1", "1:x", "x:1", "1.5:2", "1:"] {
            let error = bad.parse::<Mark>().unwrap_err();
            assert!(error.to_string().contains("is no mark"), "{bad:?}: {error}");
        }
    }
}
