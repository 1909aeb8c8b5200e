//! What a kind of task is told.

use std::time::Duration;

use manyhands_broker::QueueName;

use super::{
    Raw,
    settings::{Wrong, size},
};

/// The most processes of one handler.
const MAX_PROCESSES: u64 = 512;

/// The keys of programs.
pub(super) const OF_PROGRAMS: &[&str] = &[
    "processes",
    "run_limit",
    "memory_limit",
    "address_space_limit",
    "cpu_limit",
    "open_files_limit",
    "file_size_limit",
];

/// The keys of programs that are given one task after the other.
pub(super) const PER_CHILD: &[&str] = &["max_tasks_per_child", "max_age_per_child", "max_memory_per_child"];

/// What a kind of task is told, `[tasks.NAME]`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TaskSettings {
    /// Its queue.
    pub queue: Option<QueueName>,
    /// The program that runs it, if a worker is to.
    pub program: Option<Program>,
    /// How many processes of the program run at a time.
    pub processes: Option<usize>,
    /// How long the program may run for one task.
    pub run_limit: Option<Duration>,
    /// How much resident memory one process may have while it runs a task, in bytes.
    pub memory_limit: Option<u64>,
    /// How much address space one process may have, in bytes.
    pub address_space_limit: Option<u64>,
    /// How long one process may compute.
    pub cpu_limit: Option<Duration>,
    /// How many files one process may have open.
    pub open_files_limit: Option<u64>,
    /// How long a file may be that one process writes, in bytes.
    pub file_size_limit: Option<u64>,
    /// How many tasks one process is given before another takes its place.
    pub max_tasks_per_child: Option<u32>,
    /// How old one process becomes before another takes its place.
    pub max_age_per_child: Option<Duration>,
    /// How much resident memory one process may have after a task before another takes its place, in bytes.
    pub max_memory_per_child: Option<u64>,
    /// How many failures make a task dead.
    pub max_attempts: Option<u32>,
    /// How many crashes of the process that ran it alone make a task dead.
    pub max_crashes: Option<u32>,
}

/// A program that handles tasks: its name and arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// Started for each task.
    Command(Vec<String>),
    /// Started once, and given one task after the other.
    Process(Vec<String>),
    /// The worker's own program, which has the handler: started once, and given one task after the other.
    Own,
}

impl TaskSettings {
    /// Whether its processes are given one task after the other.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self.program, Some(Program::Process(_) | Program::Own))
    }

    /// Takes a value in.
    pub(super) fn take(&mut self, key: &str, value: &Raw) -> Result<(), Wrong> {
        let count = || value.number(1, u64::from(u32::MAX)).map(|n| u32::try_from(n).ok());
        match key {
            "queue" => self.queue = Some(QueueName::new(&value.text()?).map_err(|e| e.report())?),
            "command" => self.program = Some(Program::Command(value.program()?)),
            "process" => self.program = Some(value.process()?),
            "processes" => self.processes = Some(size(value.number(1, MAX_PROCESSES)?)),
            "run_limit" => self.run_limit = Some(some_time(value)?),
            "memory_limit" => self.memory_limit = Some(value.size()?),
            "address_space_limit" => self.address_space_limit = Some(value.size()?),
            "cpu_limit" => self.cpu_limit = Some(whole_seconds(value)?),
            "open_files_limit" => self.open_files_limit = Some(value.number(8, u64::from(u32::MAX))?),
            "file_size_limit" => self.file_size_limit = Some(value.size()?),
            "max_tasks_per_child" => self.max_tasks_per_child = count()?,
            "max_age_per_child" => self.max_age_per_child = Some(some_time(value)?),
            "max_memory_per_child" => self.max_memory_per_child = Some(value.size()?),
            "max_attempts" => self.max_attempts = count()?,
            _ => self.max_crashes = count()?,
        }
        Ok(())
    }
}

fn some_time(value: &Raw) -> Result<Duration, String> {
    match value.duration()? {
        Duration::ZERO => Err("a limit of nothing lets nothing run".to_owned()),
        time => Ok(time),
    }
}

fn whole_seconds(value: &Raw) -> Result<Duration, String> {
    let time = some_time(value)?;
    if time.subsec_nanos() > 0 {
        return Err("the system counts it in whole seconds: write \"1s\" or more".to_owned());
    }
    Ok(time)
}

impl Raw {
    /// A program that is kept, or `true` for a handler of the worker's own program.
    fn process(&self) -> Result<Program, String> {
        match self.bool() {
            Ok(true) => Ok(Program::Own),
            Ok(false) => Err("there is nothing to be turned off: leave it out".to_owned()),
            Err(_) => self.program().map(Program::Process),
        }
    }

    /// A program and its arguments; in the environment, a list in JSON.
    fn program(&self) -> Result<Vec<String>, String> {
        let parts = match self {
            Self::List(parts) => parts.clone(),
            Self::Text(text) if text.trim_start().starts_with('[') => {
                serde_json::from_str(text).map_err(|_| format!("{text:?} is no list of texts in JSON"))?
            }
            other => {
                return Err(format!(
                    "{other} is no list: write the program and its arguments apart, [\"python3\", \"resize.py\"]; there is no shell"
                ));
            }
        };
        match parts.first() {
            Some(program) if !program.is_empty() => {}
            _ => return Err("the list names no program".to_owned()),
        }
        if let Some(bad) = parts.iter().find(|part| part.contains('\0')) {
            return Err(format!("{bad:?} has a zero byte in it, which no argument can have"));
        }
        Ok(parts)
    }
}
