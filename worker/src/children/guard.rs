//! The guard: a process that outlives its worker for a moment, to kill what that leaves behind.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

use super::{FLAG, GUARD, orphans, own_program};

/// The worker's side: the groups that are to die with it, and who sees to that.
#[derive(Debug, Default)]
pub(super) struct Guard {
    groups: BTreeSet<u32>,
    process: Option<(Child, ChildStdin)>,
}

impl Guard {
    /// Adds a group. When this returns, it will be killed however this process ends.
    pub(super) fn add(&mut self, group: u32) -> io::Result<()> {
        self.groups.insert(group);
        if self.process.is_some() && self.tell(&format!("+{group}\n")).is_ok() {
            return Ok(());
        }
        // There was none, or somebody killed it.
        self.start()
    }

    /// Removes a group that is dead, while its number is still taken by what has to be waited for.
    pub(super) fn remove(&mut self, group: u32) {
        self.groups.remove(&group);
        // A guard that is gone is noticed when the next group is added.
        let _ = self.tell(&format!("-{group}\n"));
    }

    /// Asks for the status of every child that has ended and is nobody's to wait for: neither the leader of a group, for which who
    /// started it waits, nor the guard, which is replaced if it was killed.
    pub(super) fn reap_orphans(&mut self) {
        if self.process.as_mut().is_some_and(|(guard, _)| matches!(guard.try_wait(), Ok(Some(_)))) {
            // If it cannot be started now, it is when the next group is added.
            let _ = self.start();
        }
        let guard = self.process.as_ref().map(|(guard, _)| guard.id());
        orphans::reap(|pid| Some(pid) == guard || self.groups.contains(&pid));
    }

    fn tell(&mut self, line: &str) -> io::Result<()> {
        match &mut self.process {
            Some((_, pipe)) => pipe.write_all(line.as_bytes()),
            None => Ok(()),
        }
    }

    fn start(&mut self) -> io::Result<()> {
        if let Some((mut old, pipe)) = self.process.take() {
            drop(pipe);
            old.wait()?;
        }
        let mut command = Command::new(own_program()?);
        // Signals that a terminal sends to its foreground are not for it.
        command.arg0("manyhands-guard").args([FLAG, GUARD]).process_group(0).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let pipe = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        self.process = Some((process, pipe));
        let all: String = self.groups.iter().map(|group| format!("+{group}\n")).collect();
        self.tell(&all)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some((mut process, pipe)) = self.process.take() {
            drop(pipe);
            let _ = process.wait();
        }
    }
}

/// The guard's side: keeps the groups, until the worker is gone; then kills them.
pub(super) fn stand() -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    // It ends when its worker does, not when somebody ends everything of a service: the worker then still waits for its tasks.
    // From here on these signals do nothing, as what hears of them is not asked.
    let deaf: Vec<_> = runtime.block_on(async {
        [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()]
            .into_iter()
            .filter_map(|kind| signal(kind).ok())
            .collect()
    });
    for group in listen(io::stdin().lock()).into_iter().filter_map(Pid::from_raw) {
        // It may be dead already.
        let _ = kill_process_group(group, Signal::KILL);
    }
    drop(deaf);
    ExitCode::SUCCESS
}

/// Reads until the worker is gone; the groups that are left.
fn listen(mut worker: impl BufRead) -> BTreeSet<i32> {
    let mut groups = BTreeSet::new();
    let mut line = String::new();
    while worker.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        // One that is cut off would name somebody else's group. Its child was not let in yet, and dies by the kernel's signal.
        let Some(order) = line.strip_suffix('\n') else { break };
        let group = order.get(1..).and_then(|pid| pid.parse().ok());
        match (order.get(..1), group) {
            (Some("+"), Some(group)) => groups.insert(group),
            (Some("-"), Some(group)) => groups.remove(&group),
            _ => false,
        };
        line.clear();
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_cut_off_kills_nobody() {
        assert_eq!(listen(&b"+100\n+200\n-100\n+300\n+40"[..]), BTreeSet::from([200, 300]));
        assert_eq!(listen(&b""[..]), BTreeSet::new());
    }
}
