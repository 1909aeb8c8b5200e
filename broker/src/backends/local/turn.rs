//! Turns at writing.
//!
//! SQLite's own busy handler sleeps 1 to 100 ms between tries, and whoever asks most often wins: with three
//! processes the longest wait was seconds. A blocking lock on a file makes the kernel wake the next one at once.
//! SQLite's time-out stays for tools that do not know the turn.
//!
//! Who unlocks and locks again at once is faster than whom the kernel has woken for it, so who had a turn stays away for a
//! moment; but only if somebody waits. Waiters share the lock on a second file for this: who cannot have it alone is not
//! alone.

use std::{
    fs::{File, OpenOptions},
    os::fd::AsFd,
    path::Path,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

use super::error;
use crate::{
    Result,
    crash::{Point, at},
};

/// How long to stay away after a turn when more is to be written: long enough for a waiter to get in.
const PAUSE: Duration = Duration::from_micros(30);

/// The lock that a writer holds for the length of one commit.
#[derive(Debug)]
pub(super) struct Turn {
    turn: File,
    /// Locked by all that wait for the turn.
    line: File,
}

impl Turn {
    pub(super) fn open(turn: &Path, line: &Path) -> Result<Self> {
        let open = |path: &Path| {
            let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
            open.map_err(|e| error::file("open", path, e))
        };
        Ok(Self { turn: open(turn)?, line: open(line)? })
    }

    /// Takes the turn if nobody has it.
    pub(super) fn try_take(&self) -> std::io::Result<Option<Taken<'_>>> {
        let taken = lock(&self.turn, FlockOperation::NonBlockingLockExclusive)?;
        if taken {
            at(Point::TurnTaken);
        }
        Ok(taken.then(|| Taken(self)))
    }

    /// Waits for the turn and keeps it until the guard is dropped.
    pub(super) fn take(&self) -> std::io::Result<Taken<'_>> {
        if !lock(&self.turn, FlockOperation::NonBlockingLockExclusive)? {
            lock(&self.line, FlockOperation::LockShared)?;
            let taken = lock(&self.turn, FlockOperation::LockExclusive);
            unlock(&self.line);
            taken?;
        }
        at(Point::TurnTaken);
        Ok(Taken(self))
    }

    /// Lets those who wait get in first.
    #[expect(
        clippy::disallowed_methods,
        reason = "the pause is the point: without it the kernel gives us the lock again"
    )]
    pub(super) fn let_others_in(&self) {
        match lock(&self.line, FlockOperation::NonBlockingLockExclusive) {
            Ok(true) => unlock(&self.line),
            Ok(false) | Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// The turn, taken.
#[derive(Debug)]
pub(super) struct Taken<'a>(&'a Turn);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        unlock(&self.0.turn);
        at(Point::TurnGiven);
    }
}

/// Locks a file; `false` when that would mean to wait, and it must not.
fn lock(file: &File, how: FlockOperation) -> std::io::Result<bool> {
    loop {
        match flock(file.as_fd(), how) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(e) => return Err(e.into()),
        }
    }
}

fn unlock(file: &File) {
    // Unlocking a lock that we hold cannot fail; and closing the file would release it too.
    let _ = flock(file.as_fd(), FlockOperation::Unlock);
}
