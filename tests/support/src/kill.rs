//! Processes that are killed, stopped and watched, ours or not.

use std::{
    fs, io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, kill_process, pidfd_open, pidfd_send_signal},
};

pub use rustix::process::Signal;

/// How long a signal may take to have its effect. Only a broken machine takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a signal.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] if this cannot be a pid; otherwise as `kill(2)`, such as ESRCH for nobody.
pub fn send(pid: u32, signal: Signal) -> io::Result<()> {
    Ok(kill_process(raw(pid)?, signal)?)
}

/// SIGKILL, and returns when the process has ended, though its parent may not have asked for its status yet.
///
/// # Errors
///
/// As [`send`]; [`io::ErrorKind::TimedOut`] if it lives on.
pub fn kill(pid: u32) -> io::Result<()> {
    let watch = Watch::open(pid)?;
    send(pid, Signal::KILL)?;
    watch.end(PATIENCE)
}

/// SIGSTOP, and returns when the process stands still, all threads of it.
///
/// # Errors
///
/// As [`send`]; [`io::ErrorKind::TimedOut`] if it does not stop.
pub fn stop(pid: u32) -> io::Result<()> {
    send(pid, Signal::STOP)?;
    let patience = Instant::now() + PATIENCE;
    while !stands(pid)? {
        if Instant::now() > patience {
            return Err(timed_out(&format!("process {pid} does not stop")));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// SIGCONT: the process goes on.
///
/// # Errors
///
/// As [`send`].
pub fn resume(pid: u32) -> io::Result<()> {
    send(pid, Signal::CONT)
}

/// When a process started, in the kernel's ticks since the boot: with its pid, this names one process for ever.
/// `None` if there is no such process, or only what its parent has not asked for yet.
#[must_use]
pub fn started(pid: u32) -> Option<u64> {
    let stat = Stat::read(&format!("/proc/{pid}/stat"))?;
    (stat.state() != "Z").then(|| stat.field(19)?.parse().ok())?
}

/// The processes that this one started, those that they started, and so on.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |pid: u32| Stat::read(&format!("/proc/{pid}/stat"))?.field(1)?.parse::<u32>().ok();
    let parents: Vec<_> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// Watches one process, so that its end can be awaited though it is not ours. A pid that is given to another
/// process meanwhile does not confuse it.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    process: OwnedFd,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// As `pidfd_open(2)`, such as ESRCH if there is no such process any more.
    pub fn open(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, process: pidfd_open(raw(pid)?, PidfdFlags::empty())? })
    }

    /// Sends it a signal: to this process, or to nobody.
    ///
    /// # Errors
    ///
    /// As `pidfd_send_signal(2)`, such as ESRCH if it has ended.
    pub fn send(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.process, signal)?)
    }

    /// Waits until the process has ended, at most so long; tells whether it has.
    ///
    /// # Errors
    ///
    /// As `poll(2)`.
    pub fn ended(&self, within: Duration) -> io::Result<bool> {
        let until = Instant::now() + within;
        loop {
            let left = Timespec::try_from(until.saturating_duration_since(Instant::now()))
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            match poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&left)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if it lives on for so long; otherwise as `poll(2)`.
    pub fn end(&self, within: Duration) -> io::Result<()> {
        if self.ended(within)? {
            return Ok(());
        }
        Err(timed_out(&format!("process {} does not end", self.pid)))
    }
}

/// What the kernel tells of a process or a thread, from the field after the name on.
struct Stat(String);

impl Stat {
    fn read(path: &str) -> Option<Self> {
        // The name, in parentheses, may hold spaces and parentheses itself.
        Some(Self(fs::read_to_string(path).ok()?.rsplit_once(") ")?.1.to_owned()))
    }

    fn field(&self, number: usize) -> Option<&str> {
        self.0.split(' ').nth(number)
    }

    fn state(&self) -> &str {
        self.field(0).unwrap_or_default()
    }
}

/// Tells whether all threads of a process stand still; one that has ended does, too.
fn stands(pid: u32) -> io::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = thread?.path().join("stat");
        let stat = Stat::read(&path.to_string_lossy());
        if stat.is_some_and(|stat| !matches!(stat.state(), "T" | "t" | "Z" | "X")) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn raw(pid: u32) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        process::{Child, Command, Stdio},
    };

    use super::*;

    /// A process that gives back what it gets.
    fn cat() -> Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn a_killed_process_has_ended() {
        let mut child = cat();
        let watch = Watch::open(child.id()).unwrap();
        assert!(!watch.ended(Duration::ZERO).unwrap());
        assert!(started(child.id()).is_some());
        kill(child.id()).unwrap();
        assert!(watch.ended(Duration::ZERO).unwrap());
        assert_eq!(started(child.id()), None, "what is left is no process");
        child.wait().unwrap();
        assert_eq!(watch.send(Signal::KILL).unwrap_err().raw_os_error(), Some(Errno::SRCH.raw_os_error()));
        assert_eq!(Watch::open(child.id()).unwrap_err().raw_os_error(), Some(Errno::SRCH.raw_os_error()));
    }

    #[test]
    fn a_stopped_process_does_nothing_until_it_is_resumed() {
        let mut child = cat();
        stop(child.id()).unwrap();
        child.stdin.take().unwrap().write_all(b"x").unwrap();
        let mut output = child.stdout.take().unwrap();
        let timeout = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        assert_eq!(poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&timeout)).unwrap(), 0);
        resume(child.id()).unwrap();
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        child.wait().unwrap();
    }

    #[test]
    fn descendants_are_found() {
        let mut child = Command::new("sh").args(["-c", "cat; :"]).stdin(Stdio::piped()).spawn().unwrap();
        let patience = Instant::now() + PATIENCE;
        while descendants(child.id()).len() != 1 {
            assert!(Instant::now() < patience, "the shell starts cat");
            std::thread::yield_now();
        }
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
