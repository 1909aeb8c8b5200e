//! What happened, written down outside the broker by those who did it.
//!
//! Each process appends to a file of its own, one JSON object a line. A record is on the disk before the call that
//! wrote it returns, so that no kill can take back what a process then did. [`checker`](crate::checker) reads it all.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::kill;

/// One line of a ledger. Times are nanoseconds since the boot of the machine, see [`now`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Record {
    /// A producer sent a task and knows this much.
    Sent {
        /// The task's id.
        id: String,
        /// What the broker told.
        outcome: Outcome,
        /// When it was known.
        at: u64,
    },
    /// A handler began.
    Begin {
        /// The run.
        #[serde(flatten)]
        run: Run,
        /// When.
        at: u64,
    },
    /// A handler did all that it has to do, and returned. Written by the handler, so before the broker is told.
    Done {
        /// The run.
        #[serde(flatten)]
        run: Run,
        /// When.
        at: u64,
    },
    /// A handler returned without having done its work, as for a retry.
    Failed {
        /// The run.
        #[serde(flatten)]
        run: Run,
        /// When.
        at: u64,
    },
    /// The broker answered the settlement of a run, which is over now if it was not before.
    End {
        /// The run.
        #[serde(flatten)]
        run: Run,
        /// What the broker told.
        result: Answer,
        /// When it was known.
        at: u64,
    },
    /// The test injected a fault.
    Fault {
        /// Which, in words.
        fault: String,
        /// The only process that it concerned; none, if it concerned all.
        pid: Option<u32>,
        /// When it began.
        from: u64,
        /// When it was over.
        to: u64,
    },
    /// The test killed a process: after this it did nothing.
    Killed {
        /// The process.
        pid: u32,
        /// A moment just before.
        at: u64,
    },
}

/// One run of a handler.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Run {
    /// The task's id.
    pub id: String,
    /// The claim under which it runs: the fence.
    pub epoch: u64,
    /// The process.
    pub pid: u32,
}

impl Run {
    /// A run of this process.
    #[must_use]
    pub fn new(id: impl Into<String>, epoch: u64) -> Self {
        Self { id: id.into(), epoch, pid: std::process::id() }
    }
}

/// What a producer knows of a task that it sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The broker has it, so it must be run.
    Confirmed,
    /// There was no answer: it may be run.
    Unknown,
    /// The broker does not have it.
    Refused,
}

/// What the broker said to a settlement.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It counts.
    Accepted,
    /// It came too late: somebody else has the task, or it is gone.
    Refused,
    /// There was no answer.
    Unknown,
}

/// The file of one process, for all its threads.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: Mutex<File>,
}

impl Ledger {
    /// Opens a file of this process in this folder, which must be there.
    ///
    /// # Errors
    ///
    /// If the file cannot be made; [`io::ErrorKind::AlreadyExists`] if this process has one of this name.
    pub fn open(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(format!("{name}-{}-{}.jsonl", std::process::id(), now()));
        let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        // The file's name must be on the disk too.
        File::open(folder)?.sync_all()?;
        Ok(Self { path, file: Mutex::new(file) })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a record, which is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// If it cannot be written: then nothing may be concluded from what is missing.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let mut file = self.file.lock().map_err(|_| io::Error::other("a writer of this ledger panicked"))?;
        file.write_all(&line)?;
        file.sync_data()
    }

    /// Notes what a producer knows of a task.
    ///
    /// # Errors
    ///
    /// As [`Ledger::write`].
    pub fn sent(&self, id: impl Into<String>, outcome: Outcome) -> io::Result<()> {
        self.write(&Record::Sent { id: id.into(), outcome, at: now() })
    }

    /// Notes that a handler begins.
    ///
    /// # Errors
    ///
    /// As [`Ledger::write`].
    pub fn begin(&self, run: &Run) -> io::Result<()> {
        self.write(&Record::Begin { run: run.clone(), at: now() })
    }

    /// Notes that a handler has done its work.
    ///
    /// # Errors
    ///
    /// As [`Ledger::write`].
    pub fn done(&self, run: &Run) -> io::Result<()> {
        self.write(&Record::Done { run: run.clone(), at: now() })
    }

    /// Notes that a handler returns without having done its work.
    ///
    /// # Errors
    ///
    /// As [`Ledger::write`].
    pub fn failed(&self, run: &Run) -> io::Result<()> {
        self.write(&Record::Failed { run: run.clone(), at: now() })
    }

    /// Notes the broker's answer to a settlement.
    ///
    /// # Errors
    ///
    /// As [`Ledger::write`].
    pub fn end(&self, run: &Run, result: Answer) -> io::Result<()> {
        self.write(&Record::End { run: run.clone(), result, at: now() })
    }

    /// Notes a fault that is over now; `pid` if it concerned only that process.
    ///
    /// # Errors
    ///
    /// As [`Ledger::write`].
    pub fn fault(&self, fault: impl Into<String>, pid: Option<u32>, from: u64) -> io::Result<()> {
        self.write(&Record::Fault { fault: fault.into(), pid, from, to: now() })
    }

    /// Kills a process and notes it, as the end of its runs and as a fault of its own.
    ///
    /// # Errors
    ///
    /// As [`Ledger::write`] and [`kill::kill`].
    pub fn kill(&self, pid: u32) -> io::Result<()> {
        let at = now();
        kill::kill(pid)?;
        self.write(&Record::Killed { pid, at })?;
        self.fault("SIGKILL", Some(pid), at)
    }
}

/// Nanoseconds since the boot of the machine, time asleep included: the same for all processes, and never set.
#[must_use]
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let part = |part: i64| u64::try_from(part).unwrap_or_default();
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}
