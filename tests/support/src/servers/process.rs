//! The processes of a server, and the folder they work in.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, getpgid, kill_process_group};
use tempfile::TempDir;

use super::guard::Guard;
use crate::kill::{self, Signal, Watch};

/// How long a server may take to start, or to end. Only a broken one takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a server is asked whether it is ready: nothing else tells.
const ASK: Duration = Duration::from_millis(2);

/// What a program is started with.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
}

impl Recipe {
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new() }
    }

    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// With nothing of this process but PATH: neither its variables nor its outputs.
    fn outfit(&self, mut command: Command, log: &Path) -> io::Result<Command> {
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("LANG", "C.UTF-8");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdout(log.try_clone()?).stderr(log).current_dir("/");
        Ok(command)
    }

    /// Starts it for good: it does not end with this process.
    pub(crate) fn detach(&self, log: &Path) -> io::Result<Process> {
        // A session of its own has no terminal whose end would be told.
        let mut command = Command::new("setsid");
        command.arg(&self.program).args(&self.args).stdin(Stdio::null());
        Ok(Process { leader: self.outfit(command, log)?.spawn()?, ended: false })
    }
}

/// A folder, and the guard that removes it, with the processes, if this process cannot.
#[derive(Debug)]
pub(crate) struct Home {
    // Dropped last, by the order of the fields, the guard finds nothing left to do.
    folder: TempDir,
    guard: Guard,
}

impl Home {
    pub(crate) fn new() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("manyhands-test-").tempdir()?;
        let guard = Guard::start(folder.path())?;
        Ok(Self { folder, guard })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a program. It waits at a gate until the guard knows of it, so that at no moment nobody would end it.
    pub(crate) fn start(&self, recipe: &Recipe, log: &Path) -> io::Result<Process> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"read -r go && exec "$@" </dev/null"#, "gate"]);
        command.arg(&recipe.program).args(&recipe.args).stdin(Stdio::piped()).process_group(0);
        let mut leader = recipe.outfit(command, log)?.spawn()?;
        let gate = leader.stdin.take();
        let process = Process { leader, ended: false };
        self.guard.owns(process.pid())?;
        gate.ok_or(io::ErrorKind::BrokenPipe)?.write_all(b"go\n")?;
        Ok(process)
    }

    /// SIGKILL to the whole group, and returns when all are dead.
    pub(crate) fn kill(&self, process: &mut Process) -> io::Result<()> {
        process.kill(|pid| self.guard.lost(pid))
    }
}

/// The leader of a group of processes.
#[derive(Debug)]
pub(crate) struct Process {
    leader: Child,
    /// That it was waited for: its pid may be somebody else's now.
    ended: bool,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.leader.id()
    }

    pub(crate) fn kill(&mut self, lost: impl FnOnce(u32) -> io::Result<()>) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        let pid = self.pid();
        // Helpers that left the group end by themselves, when the pipe from their parent does.
        let family: Vec<_> =
            kill::descendants(pid).into_iter().filter_map(|pid| Watch::open(pid).ok()).collect();
        kill_process_group(Pid::from_child(&self.leader), Signal::KILL)?;
        Watch::open(pid)?.end(PATIENCE)?;
        lost(pid)?;
        self.ended = true;
        self.leader.wait()?;
        forget_clock(pid);
        family.iter().try_for_each(|watch| watch.end(PATIENCE))
    }

    /// Sends a signal to the whole group.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.ended {
            return Err(rustix::io::Errno::SRCH.into());
        }
        Ok(kill_process_group(Pid::from_child(&self.leader), signal)?)
    }

    /// SIGSTOP to its group, and returns when all of that stand still.
    pub(crate) fn suspend(&self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        // Those of its group alone are told to go on again; and one that has ended never stands still.
        let leader = Pid::from_child(&self.leader);
        let is_ours = |pid: &u32| {
            let group = i32::try_from(*pid).ok().and_then(Pid::from_raw).map(|pid| getpgid(Some(pid)));
            matches!(group, Some(Ok(group)) if group == leader) && kill::started(*pid).is_some()
        };
        for pid in std::iter::once(self.pid()).chain(kill::descendants(self.pid())).filter(is_ours) {
            kill::stop(pid)?;
        }
        Ok(())
    }

    /// Waits until the server says that it works; false if it ended, as when somebody else took the port.
    pub(crate) fn ready(&self, mut works: impl FnMut() -> bool) -> io::Result<bool> {
        let (watch, patience) = (Watch::open(self.pid())?, Instant::now() + PATIENCE);
        while Instant::now() < patience {
            if works() {
                return Ok(true);
            }
            if watch.ended(ASK)? {
                return Ok(false);
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not become ready"))
    }
}

/// Removes the two files that libfaketime makes for a process, which a killed one cannot remove.
pub(crate) fn forget_clock(pid: u32) {
    let _ = fs::remove_file(format!("/dev/shm/faketime_shm_{pid}"));
    let _ = fs::remove_file(format!("/dev/shm/sem.faketime_sem_{pid}"));
}

/// The error of a server that does not start, with the end of what it said.
pub(crate) fn failed(name: &str, log: &Path) -> io::Error {
    let said = fs::read(log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said[said.len().saturating_sub(2000)..]).into_owned();
    io::Error::other(format!("{name} does not start: {said}"))
}
