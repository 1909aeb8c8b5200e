//! Turns at writing.
//!
//! SQLite's own busy handler sleeps 1 to 100 ms between tries, and whoever asks most often wins: with three
//! processes the longest wait was seconds. A blocking lock on a file makes the kernel wake the next one at once.
//! SQLite's time-out stays for tools that do not know the turn.

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
pub(super) struct Turn(File);

impl Turn {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        open.map(Self).map_err(|e| error::file("open", path, e))
    }

    /// Waits for the turn and keeps it until the guard is dropped.
    pub(super) fn take(&self) -> std::io::Result<Taken<'_>> {
        loop {
            match flock(self.0.as_fd(), FlockOperation::LockExclusive) {
                Ok(()) => {
                    at(Point::TurnTaken);
                    return Ok(Taken(self));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Lets those who wait get in first.
    #[expect(
        clippy::disallowed_methods,
        reason = "the pause is the point: without it the kernel gives us the lock again"
    )]
    pub(super) fn let_others_in() {
        std::thread::sleep(PAUSE);
    }
}

/// The turn, taken.
#[derive(Debug)]
pub(super) struct Taken<'a>(&'a Turn);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        // Unlocking a lock that we hold cannot fail; and closing the file would release it too.
        let _ = flock(self.0.0.as_fd(), FlockOperation::Unlock);
        at(Point::TurnGiven);
    }
}
