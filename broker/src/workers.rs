//! The power to see the workers that are alive, and to let one of them drain from anywhere.
//!
//! A worker tells of itself every few seconds. What it told is there for people and for health checks: no lease and no task depends
//! on it, it is not durable, and it is forgotten when the worker leaves, dies, or is silent for too long.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Holder, Incarnation, QueueName, Result, TaskId, TaskName, limits};

/// What can be known of the workers of a namespace, and said to them.
///
/// # Errors
/// Every call can fail as those of [`Broker`](crate::Broker) can.
///
/// # Cancel safety
/// Dropping a future does not undo its call, which may still take effect; repeating it is harmless.
#[async_trait]
pub trait Workers: Debug + Send + Sync {
    /// Tells of the worker that uses this session, in the place of what was told before, and hears what somebody asked of it meanwhile.
    ///
    /// # Behavior
    /// Not durable. What is told is known to the others for [`limits::WORKER_SILENT`], until it is told anew. Of several workers on
    /// one session, whoever told last is known.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when it has more than [`limits::MAX_REPORT`] bytes.
    async fn report(&self, report: &WorkerReport) -> Result<Request>;

    /// Forgets what was told of the worker of this session, as it has ended, and what was asked of it.
    async fn leave(&self) -> Result<()>;

    /// Lists the workers that are alive, in the order of their incarnations, at most `max` (1 to [`limits::MAX_BATCH`]), those after
    /// `after` if one is given.
    ///
    /// # Behavior
    /// Fewer than `max` are the last ones. Where nobody stores what was told, the workers are asked, and those that do not answer within a
    /// second are not listed.
    async fn live(&self, after: Option<Incarnation>, max: usize) -> Result<Vec<LiveWorker>>;

    /// Asks a worker to drain: to claim nothing more, to let its running tasks end within its grace, and to end. Tells whether there is such a
    /// worker; it hears of it with its next report, a few seconds later. Asking twice is asking once.
    async fn drain(&self, worker: Incarnation) -> Result<bool>;
}

/// What somebody asked of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Nothing: it goes on.
    Nothing,
    /// To claim nothing more, and to end when what runs has ended.
    Drain,
}

/// A worker that is alive, as the broker knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveWorker {
    /// Which process start it is: its leases belong to it.
    pub incarnation: Incarnation,
    /// How long ago it told of itself; at most [`limits::WORKER_SILENT`].
    pub heard: Duration,
    /// Whether somebody asked it to drain.
    pub asked_to_drain: bool,
    /// What it told.
    pub report: WorkerReport,
}

impl LiveWorker {
    /// What is known of a worker.
    pub(crate) fn new(
        incarnation: Incarnation,
        heard: Duration,
        asked_to_drain: bool,
        report: WorkerReport,
    ) -> Self {
        Self { incarnation, heard, asked_to_drain, report }
    }
}

impl LiveWorker {
    /// Says what is wrong with it, if it is not fetching tasks as it should: its last claim failed, or was answered longer ago than `within`
    /// though it could run more, or it has told nothing for so long. One that drains is well.
    #[must_use]
    pub fn trouble(&self, within: Duration) -> Option<String> {
        let LastClaim { answered, error, held_back } = &self.report.last_claim;
        let ago = |time: Duration| crate::write_duration(Duration::from_secs(time.as_secs()));
        if self.heard > within {
            return Some(format!("it has told nothing for {}", ago(self.heard)));
        }
        if self.report.draining {
            return None;
        }
        if let Some(error) = error {
            return Some(format!("its last claim failed: {error}"));
        }
        match answered.map(|answered| answered + self.heard) {
            _ if *held_back => None,
            Some(answered) if answered > within => {
                Some(format!("its last claim was answered {} ago, though it could run more", ago(answered)))
            }
            Some(_) => None,
            None => Some("none of its claims has been answered yet".to_owned()),
        }
    }
}

/// What a worker tells of itself. Times are told as durations until the report, as clocks differ.
///
/// Written as JSON; fields that a version does not know are left out by it, and those that it misses are as in
/// [`WorkerReport::default`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct WorkerReport {
    /// The name of its host, as the kernel knows it; in a container, the container's.
    pub host: String,
    /// Its pid there.
    pub pid: u32,
    /// The pid of the supervisor that started it, where one did: those of one supervisor have the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supervisor: Option<u32>,
    /// The version of this project that it was built with.
    pub version: String,
    /// How long it has been running.
    #[serde(rename = "up_ms", with = "in_ms")]
    pub up: Duration,
    /// The queues that it serves, the first [`limits::MAX_TOLD`] of them.
    pub queues: Vec<QueueName>,
    /// The names of tasks that it has handlers for, the first [`limits::MAX_TOLD`] of them.
    pub handlers: Vec<TaskName>,
    /// How many tasks it can run at a time.
    pub slots: usize,
    /// How many tasks it is running.
    pub running: usize,
    /// Those that it has been running for the longest time, at most [`limits::MAX_TOLD`] of them.
    pub tasks: Vec<RunningTask>,
    /// What became of its last claim.
    pub last_claim: LastClaim,
    /// Whether it claims nothing more, and ends when what runs has ended.
    pub draining: bool,
}

/// A task that a worker is running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunningTask {
    /// Its queue.
    pub queue: QueueName,
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: TaskName,
    /// For how long it has been running.
    #[serde(rename = "running_ms", with = "in_ms")]
    pub running: Duration,
}

impl RunningTask {
    /// A task that has been running for so long.
    #[must_use]
    pub fn new(queue: QueueName, id: TaskId, name: TaskName, running: Duration) -> Self {
        Self { queue, id, name, running }
    }
}

/// What became of the last claim of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LastClaim {
    /// How long ago one was answered; `None` before the first one was.
    #[serde(rename = "answered_ms", with = "in_ms_if_any")]
    pub answered: Option<Duration>,
    /// Why the last one failed, if it did.
    pub error: Option<String>,
    /// Whether no further claim is due: all slots are taken, a task that runs alone is waited for, or the worker is draining.
    pub held_back: bool,
}

impl LastClaim {
    /// What became of it, in these words.
    #[must_use]
    pub fn new(answered: Option<Duration>, error: Option<String>, held_back: bool) -> Self {
        Self { answered, error, held_back }
    }
}

impl WorkerReport {
    /// What this process tells of itself: its host, its pid and its version. The rest is to be filled in.
    #[must_use]
    pub fn here() -> Self {
        let Holder { host, pid } = Holder::here();
        Self { host, pid, version: env!("CARGO_PKG_VERSION").to_owned(), ..Self::default() }
    }

    /// As JSON text.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Names, numbers and texts can always be written as JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What was written as JSON. Of what cannot be read, as a newer version may have written, it is only known that it is there.
    #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "for a backend that stores bytes"))]
    pub(crate) fn from_json(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }
}

/// Lists all workers that are alive: every page of [`Workers::live`].
///
/// # Errors
/// As [`Workers::live`].
///
/// # Cancel safety
/// Cancel safe: it only asks.
pub async fn all_live(workers: &dyn Workers) -> Result<Vec<LiveWorker>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = workers.live(after, limits::MAX_BATCH).await?;
        let last = page.len() < limits::MAX_BATCH;
        after = page.last().map(|worker| worker.incarnation);
        all.extend(page);
        if last {
            return Ok(all);
        }
    }
}

/// Takes a page from all workers that are known.
#[cfg_attr(
    not(any(feature = "local", feature = "redis", feature = "rabbitmq")),
    allow(dead_code, reason = "for backends that other processes share")
)]
pub(crate) fn page(mut all: Vec<LiveWorker>, after: Option<Incarnation>, max: usize) -> Vec<LiveWorker> {
    all.retain(|worker| {
        worker.heard <= limits::WORKER_SILENT && after.is_none_or(|after| worker.incarnation > after)
    });
    all.sort_by_key(|worker| worker.incarnation);
    all.truncate(max);
    all
}

/// Durations as whole milliseconds.
mod in_ms {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::clock::millis;

    pub(super) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(millis(*duration))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// The same, if there is one.
mod in_ms_if_any {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::clock::millis;

    pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        duration.map(millis).serialize(to)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_it_was_written() {
        let queue = QueueName::new("q").unwrap();
        let name = TaskName::new("work").unwrap();
        let running =
            RunningTask::new(queue.clone(), TaskId::generate(), name.clone(), Duration::from_secs(3));
        let report = WorkerReport {
            queues: vec![queue],
            handlers: vec![name],
            running: 1,
            slots: 7,
            supervisor: Some(8),
            tasks: vec![running],
            up: Duration::from_millis(1500),
            last_claim: LastClaim::new(Some(Duration::from_millis(20)), Some("gone".to_owned()), true),
            ..WorkerReport::here()
        };
        assert_eq!(WorkerReport::from_json(&report.to_json()), report);
        assert!(report.pid == std::process::id() && !report.host.is_empty() && !report.version.is_empty());
    }

    #[test]
    fn other_versions_are_read_as_far_as_they_are_known() {
        let report = WorkerReport::from_json(br#"{"host":"a","pid":7,"mood":"good"}"#);
        assert_eq!((report.host.as_str(), report.pid, report.last_claim), ("a", 7, LastClaim::default()));
        assert_eq!(WorkerReport::from_json(b"\x02something"), WorkerReport::default());
    }

    #[test]
    fn a_worker_that_does_not_fetch_is_in_trouble() {
        let second = Duration::from_secs(1);
        let trouble = |heard: u32, answered: Option<u32>, error: Option<&str>, held_back| {
            let mut report = WorkerReport::here();
            let answered = answered.map(|seconds| second * seconds);
            report.last_claim = LastClaim::new(answered, error.map(str::to_owned), held_back);
            let mut worker = LiveWorker::new(Incarnation::generate(), second * heard, false, report);
            let trouble = worker.trouble(second * 10);
            worker.report.draining = true;
            assert!(heard > 10 || worker.trouble(second * 10).is_none(), "it drains");
            trouble
        };
        assert_eq!(trouble(2, Some(1), None, false), None);
        assert_eq!(trouble(2, Some(100), None, true), None, "all its slots are taken");
        assert!(trouble(11, Some(1), None, true).unwrap().contains("nothing for 11s"));
        assert!(trouble(2, Some(1), Some("gone"), false).unwrap().ends_with("failed: gone"));
        assert!(trouble(2, Some(9), None, false).unwrap().contains("answered 11s ago"));
        assert!(trouble(2, None, None, false).unwrap().contains("none of its claims"));
    }

    #[test]
    fn the_silent_are_not_on_a_page() {
        let live = |heard| LiveWorker::new(Incarnation::generate(), heard, false, WorkerReport::default());
        let all = vec![live(Duration::ZERO), live(limits::WORKER_SILENT), live(Duration::from_secs(3600))];
        let first = page(all.clone(), None, 1);
        let second = page(all.clone(), Some(first[0].incarnation), 10);
        assert!(first.len() == 1 && second.len() == 1 && first[0].incarnation < second[0].incarnation);
        assert!(page(all, Some(second[0].incarnation), 10).is_empty());
    }
}
