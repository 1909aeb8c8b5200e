//! The processes: this executable again, under the names of the roles.

use std::{
    io,
    process::{ExitStatus, Stdio},
};

use rustix::{
    io::Errno,
    process::{self, Pid, Signal, WaitId, WaitIdOptions},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
};

use manyhands_broker::sabotage::{Defect, planted};

use super::{events::Event, role::RoleName};

/// News of one process.
#[derive(Debug)]
pub(super) enum News {
    Told(usize, Event),
    /// It ended, and everything that it told came before.
    Ended(usize, io::Result<ExitStatus>),
}

/// A process that was started.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) pid: u32,
    child: Child,
    /// Closing it is the order to end.
    stdin: Option<ChildStdin>,
}

impl Member {
    /// Starts a role: never by a name on PATH, always this very executable.
    pub(super) fn start(role: RoleName, args: &[String], broker: &str) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("demo")
            .arg(role.as_str())
            .arg("--directed")
            .args(args)
            .env("MANYHANDS_BROKER", broker)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // If the director fails on its way, nobody stays behind.
            .kill_on_drop(!planted(Defect::StopLeavesChildren))
            .spawn()?;
        let stdin = child.stdin.take();
        let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
        Ok(Self { pid, child, stdin })
    }

    /// Passes on what it tells, and in the end how it ended.
    pub(super) fn watch(self, index: usize, news: mpsc::UnboundedSender<News>) -> Option<ChildStdin> {
        let Self { mut child, stdin, .. } = self;
        tokio::spawn(async move {
            if let Some(out) = child.stdout.take() {
                let mut lines = BufReader::new(out).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    // Half a line is what a killed process leaves at most.
                    if let Ok(event) = serde_json::from_str(&line) {
                        let _ = news.send(News::Told(index, event));
                    }
                }
            }
            let _ = news.send(News::Ended(index, child.wait().await));
        });
        stdin
    }
}

/// Sends a signal to a process that was started here. One that ended just now does not mind.
pub(super) fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    match process::kill_process(raw(pid)?, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Stops a process that was started here, and returns when it does nothing more.
pub(super) fn stop(pid: u32) -> io::Result<()> {
    signal(pid, Signal::STOP)?;
    let stopped = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    match process::waitid(WaitId::Pid(raw(pid)?), stopped) {
        Ok(_) | Err(Errno::CHILD) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn raw(pid: u32) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
