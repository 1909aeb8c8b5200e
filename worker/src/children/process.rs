//! One child while it lives.

use std::{io, os::fd::OwnedFd, process::Child};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
#[cfg(target_os = "linux")]
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

use super::{exit::Exit, spawner::Spawner};

/// A child and its group. Dropped, they are killed.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    /// Until somebody waits for it.
    child: Option<Child>,
    watch: Watch,
    spawner: Spawner,
    pub(super) stdin: Option<pipe::Sender>,
    pub(super) stdout: Option<pipe::Receiver>,
    pub(super) stderr: Option<pipe::Receiver>,
}

impl Process {
    /// Takes a child over. To be called inside a runtime.
    pub(super) fn new(mut child: Child, spawner: Spawner) -> io::Result<Self> {
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pid = Pid::from_child(&child);
        let opened = Watch::open(pid);
        let mut process = match opened {
            Ok(watch) => {
                Self { pid, child: Some(child), watch, spawner, stdin: None, stdout: None, stderr: None }
            }
            Err(error) => {
                spawner.forget(child);
                return Err(error);
            }
        };
        process.stdin = stdin.map(|pipe| pipe::Sender::from_owned_fd(OwnedFd::from(pipe))).transpose()?;
        process.stdout = stdout.map(|pipe| pipe::Receiver::from_owned_fd(OwnedFd::from(pipe))).transpose()?;
        process.stderr = stderr.map(|pipe| pipe::Receiver::from_owned_fd(OwnedFd::from(pipe))).transpose()?;
        Ok(process)
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Completes when the child has ended; what it started may live on.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ended(&self) {
        self.watch.ended(self.pid).await;
    }

    /// A signal to the child alone.
    pub fn signal(&self, signal: Signal) {
        if self.child.is_some() {
            // Only who has ended cannot be told anything.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// SIGKILL to the whole group.
    pub fn kill(&self) {
        if self.child.is_some() {
            // Only who has ended cannot be killed.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// Kills the group of a child that has ended, or is killed hereby; tells how the child ended.
    ///
    /// # Errors
    /// When that cannot be learned.
    ///
    /// # Cancel safety
    /// The child is killed and waited for, and how it ended is lost.
    pub async fn reap(mut self) -> io::Result<Exit> {
        self.kill();
        self.ended().await;
        match self.child.take() {
            Some(child) => self.spawner.reap(child).await,
            None => Err(io::Error::other("the child was waited for twice")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if let Some(child) = self.child.take() {
            self.spawner.forget(child);
        }
    }
}

/// Tells when a process has ended, without waiting for it: its number must stay its own.
#[derive(Debug)]
#[cfg(target_os = "linux")]
struct Watch(AsyncFd<OwnedFd>);

#[cfg(target_os = "linux")]
impl Watch {
    fn open(pid: Pid) -> io::Result<Self> {
        use rustix::process::{PidfdFlags, pidfd_open};
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that are not sure to hold the same file; this one is"
        )]
        let watched = AsyncFd::with_interest(process, tokio::io::Interest::READABLE)?;
        Ok(Self(watched))
    }

    async fn ended(&self, _pid: Pid) {
        // It stays readable. An error can only mean that there is nothing to be watched.
        let _ = self.0.readable().await;
    }
}

/// Where the kernel has no such file, by asking again and again.
#[derive(Debug)]
#[cfg(not(target_os = "linux"))]
struct Watch;

#[cfg(not(target_os = "linux"))]
impl Watch {
    fn open(_pid: Pid) -> io::Result<Self> {
        Ok(Self)
    }

    async fn ended(&self, pid: Pid) {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while matches!(waitid(WaitId::Pid(pid), options), Ok(None)) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}
