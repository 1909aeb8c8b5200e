//! Servers that outlive whoever started them.

use std::{fs, io, time::Duration};

use rustix::{
    io::Errno,
    process::{Pid, kill_process_group},
};
use serde::{Deserialize, Serialize};

use super::process::{Process, forget_clock};
use crate::kill::{self, Signal, Watch};

/// How long a killed process may take to end. Only a broken machine takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that runs until it is told to end, by whoever has this.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Detached {
    /// Where it listens, as a broker's URL.
    pub url: String,
    /// The boot of the machine in which it was started.
    boot: String,
    leaders: Vec<Leader>,
}

/// A process that leads a group, told from later ones with its pid by when it started.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Leader {
    pid: u32,
    /// In the kernel's ticks since the boot.
    started: u64,
}

impl Detached {
    /// Notes what runs, so that it can be found again. The first is the server.
    pub(super) fn new(url: String, processes: &[&Process]) -> io::Result<Self> {
        let leader = |process: &&Process| {
            let pid = process.pid();
            let started = kill::started(pid).ok_or_else(|| io::Error::other("the server ended at once"))?;
            Ok(Leader { pid, started })
        };
        let leaders = processes.iter().map(leader).collect::<io::Result<_>>()?;
        Ok(Self { url, boot: boot()?, leaders })
    }

    /// The pids of what still runs of it.
    ///
    /// # Errors
    ///
    /// If the machine does not tell which boot this is.
    pub fn running(&self) -> io::Result<Vec<u32>> {
        if boot()? != self.boot {
            return Ok(Vec::new());
        }
        let alive = |leader: &&Leader| kill::started(leader.pid) == Some(leader.started);
        Ok(self.leaders.iter().filter(alive).map(|leader| leader.pid).collect())
    }

    /// Tells whether all of it runs.
    ///
    /// # Errors
    ///
    /// As [`Detached::running`].
    pub fn is_running(&self) -> io::Result<bool> {
        Ok(self.running()?.len() == self.leaders.len())
    }

    /// SIGKILL to what still runs of it, and returns when all is dead. Its folder stays.
    ///
    /// # Errors
    ///
    /// If it does not die.
    pub fn kill(&self) -> io::Result<()> {
        for pid in self.running()? {
            let family = kill::descendants(pid).into_iter().chain([pid]);
            let family: Vec<_> = family.filter_map(|pid| Watch::open(pid).ok()).collect();
            match i32::try_from(pid)
                .ok()
                .and_then(Pid::from_raw)
                .map(|pid| kill_process_group(pid, Signal::KILL))
            {
                // It may have ended meanwhile.
                Some(Ok(()) | Err(Errno::SRCH)) | None => {}
                Some(Err(error)) => return Err(error.into()),
            }
            family.iter().try_for_each(|watch| watch.end(PATIENCE))?;
            forget_clock(pid);
        }
        Ok(())
    }
}

/// The boot of the machine.
fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
}
