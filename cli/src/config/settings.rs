//! The values as types.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use manyhands_broker::{BrokerUrl, Error, Order, QueueName, QueueOptions, Result, TaskName, limits};

use super::{
    Entry, Raw, Source, keys,
    task::{OF_PROGRAMS, PER_CHILD, TaskSettings},
};
use crate::text;

/// The most processes of a supervisor.
const MAX_PROCESSES: u64 = 512;

/// The most tasks at a time.
const MAX_CONCURRENCY: u64 = 10_000;

/// All that is configured.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Settings {
    /// The broker's URL, as it was written; with its password.
    pub broker: Option<String>,
    /// What workers are told.
    pub worker: WorkerSettings,
    /// The queues that are configured.
    pub queues: BTreeMap<QueueName, QueueOptions>,
    /// The kinds of tasks that are configured.
    pub tasks: BTreeMap<TaskName, TaskSettings>,
    /// The folder of the configuration file, where its programs run; empty for the one that the process is in.
    pub folder: PathBuf,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the broker: it may have a password.
        f.debug_struct("Settings").field("queues", &self.queues).finish_non_exhaustive()
    }
}

/// What workers are told, `[worker]`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WorkerSettings {
    /// The queues to serve, with weights, as `--queues` has them.
    pub queues: Option<String>,
    /// Whether the queues are served strictly in their order.
    pub strict: bool,
    /// How many tasks of each kind run at a time.
    pub concurrency: Option<usize>,
    /// How many worker processes a supervisor runs; `None` for a worker without one.
    pub processes: Option<usize>,
    /// Between how many worker processes a supervisor chooses, as `--autoscale` has it.
    pub autoscale: Option<String>,
    /// How long leases last.
    pub lease: Option<Duration>,
    /// How long running tasks get after the order to stop.
    pub grace: Option<Duration>,
}

/// What holds unless anything is said, of the keys that always have a value.
pub(super) fn defaults() -> Vec<(&'static [&'static str], Raw)> {
    vec![
        (&["broker"], Raw::Text("local:".to_owned())),
        (&["worker", "strict"], Raw::Bool(false)),
        (&["worker", "lease"], Raw::Text("30s".to_owned())),
        (&["worker", "grace"], Raw::Text("30s".to_owned())),
    ]
}

impl Settings {
    pub(super) fn of(entries: &[Entry], folder: PathBuf) -> Result<Self> {
        let mut settings = Self { folder, ..Self::default() };
        for entry in entries {
            settings.take(entry).map_err(|Wrong { why, advice }| {
                let error = wrong(entry, &why);
                match advice {
                    Some(advice) => error.advise(advice),
                    None => error,
                }
            })?;
        }
        for (name, task) in &settings.tasks {
            let key = |key: &'static str| keys::find(entries, &["tasks", name.as_str(), key]);
            if let (Some(_), Some(other)) = (key("command"), key("process")) {
                return Err(wrong(other, "a task has a command or a process, not both"));
            }
            let any_of = |keys: &'static [&'static str]| keys.iter().find_map(|name| key(name));
            if let Some(entry) = any_of(OF_PROGRAMS).filter(|_| task.program.is_none()) {
                return Err(wrong(entry, "it needs a command or a process beside it"));
            }
            if let Some(entry) = any_of(PER_CHILD).filter(|_| !task.is_kept()) {
                return Err(wrong(entry, "it needs a process beside it; a command has one task anyway"));
            }
        }
        Ok(settings)
    }

    fn take(&mut self, entry: &Entry) -> Result<(), Wrong> {
        let parts: Vec<&str> = entry.path.iter().map(String::as_str).collect();
        let value = &entry.value;
        match parts.as_slice() {
            ["broker"] => {
                let url = value.text()?;
                if url != "local:" && !url.starts_with("local:?") {
                    url.parse::<BrokerUrl>()
                        .map_err(|e| Wrong { why: e.report(), advice: e.advice().map(str::to_owned) })?;
                }
                self.broker = Some(url);
            }
            ["worker", "queues"] => self.worker.queues = Some(value.text()?),
            ["worker", "strict"] => self.worker.strict = value.bool()?,
            ["worker", "concurrency"] => {
                self.worker.concurrency = Some(size(value.number(1, MAX_CONCURRENCY)?));
            }
            ["worker", "processes"] => {
                self.worker.processes = Some(size(value.number(1, MAX_PROCESSES)?));
            }
            ["worker", "autoscale"] => self.worker.autoscale = Some(value.text()?),
            ["worker", "lease"] => self.worker.lease = Some(value.duration()?),
            ["worker", "grace"] => self.worker.grace = Some(value.duration()?),
            ["queues", name, key] => {
                let name = QueueName::new(name).map_err(|e| e.report())?;
                let options = self.queues.entry(name).or_default();
                let old = std::mem::take(options);
                *options = match *key {
                    "order" => old.with_order(value.order()?),
                    "capacity" => old.with_capacity(value.number(1, i64::MAX as u64)?),
                    "key_limit" => {
                        let limit = value.number(1, u64::from(limits::MAX_KEY_LIMIT))?;
                        old.with_key_limit(u32::try_from(limit).unwrap_or(limits::MAX_KEY_LIMIT))
                    }
                    "key_interval" => old.with_key_interval(value.duration()?),
                    _ => old.with_remember_ids(value.duration()?),
                };
            }
            ["tasks", name, key] => {
                let name = TaskName::new(name).map_err(|e| e.report())?;
                self.tasks.entry(name).or_default().take(key, value)?;
            }
            // No other key has a value: see `keys`.
            _ => {}
        }
        Ok(())
    }
}

pub(super) fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What is wrong with a value, and what to do about it where that is known.
pub(super) struct Wrong {
    why: String,
    advice: Option<String>,
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self { why, advice: None }
    }
}

/// An error that says where a value came from.
pub(super) fn wrong(entry: &Entry, why: &str) -> Error {
    let place = match &entry.source {
        // It is called as its key.
        Source::Flag(name) => (*name).to_owned(),
        source => format!("{source}: {}", entry.key()),
    };
    Error::invalid("configuration", format!("{place}: {why}"))
}

impl Raw {
    pub(super) fn text(&self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            other => Err(format!("{other} is no text")),
        }
    }

    pub(super) fn bool(&self) -> Result<bool, String> {
        match self {
            Self::Bool(yes) => Ok(*yes),
            // All that the environment says is text.
            Self::Text(text) if text == "true" => Ok(true),
            Self::Text(text) if text == "false" => Ok(false),
            other => Err(format!("{other} is neither true nor false")),
        }
    }

    pub(super) fn number(&self, least: u64, most: u64) -> Result<u64, String> {
        let number = match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        };
        let within = number.filter(|number| (least..=most).contains(number));
        within.ok_or_else(|| format!("{self} is no whole number from {least} to {most}"))
    }

    pub(super) fn duration(&self) -> Result<Duration, String> {
        match self {
            Self::Text(text) => text::duration(text),
            other => {
                Err(format!("{other} is no duration: write \"150ms\", \"5s\", \"2m\", \"1h\" or \"7d\""))
            }
        }
    }

    pub(super) fn size(&self) -> Result<u64, String> {
        match self {
            Self::Text(text) => text::size(text),
            other => Err(format!("{other} is no size: write \"64KiB\", \"512MiB\" or \"2GiB\"")),
        }
    }

    fn order(&self) -> Result<Order, String> {
        match self.text()?.as_str() {
            "fifo" => Ok(Order::Fifo),
            "lifo" => Ok(Order::Lifo),
            "priority" => Ok(Order::Priority),
            other => Err(format!("{other:?} is no order: there are fifo, lifo and priority")),
        }
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{:?}", super::without_password(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Bool(yes) => write!(f, "{yes}"),
            Self::List(items) => write!(f, "{items:?}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}
