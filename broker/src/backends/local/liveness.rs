//! Who is alive: each process start holds an exclusive lock on a file named after its incarnation. In it is which process that is, for
//! people.
//!
//! The kernel drops the lock when the process dies, however it dies, and closing the file wakes everybody who
//! watches the folder. Whoever then gets the lock knows that the holder is dead, and takes back what it held.
//! Never by pids: they are reused, and mean nothing in another container. A stopped process keeps its lock; that is what
//! leases are for.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

use super::error;
use crate::{
    Holder, Incarnation, Result,
    crash::{Point, at},
};

/// A file that has been unfinished for so long was left by a process that died between making and naming it.
const UNFINISHED: Duration = Duration::from_secs(3600);

/// No label is longer.
const LABEL: u64 = 128;

/// The lock that says: this incarnation lives.
#[derive(Debug)]
pub(super) struct Alive {
    /// Held, never read. Closing it is the death that others see.
    _lock: File,
}

impl Alive {
    /// Makes the file. It gets its name only when it is locked, so nobody ever sees it unlocked while we live.
    pub(super) fn register(folder: &Path, incarnation: Incarnation) -> Result<Self> {
        let hidden = folder.join(format!(".{incarnation}"));
        let register = || -> io::Result<File> {
            // Opened for writing, because only then closing it is an event (IN_CLOSE_WRITE).
            let mut file = OpenOptions::new().create_new(true).write(true).open(&hidden)?;
            at(Point::AliveMade);
            flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive)?;
            at(Point::AliveLocked);
            // Where the disk is full nobody learns which process this is; that must not keep it from working the queue off.
            let _ = writeln!(file, "{}", Holder::here().label());
            fs::rename(&hidden, folder.join(incarnation.to_string()))?;
            at(Point::AliveNamed);
            Ok(file)
        };
        register().map(|lock| Self { _lock: lock }).map_err(|e| error::file("open", &hidden, e))
    }
}

/// Which process an incarnation is, as its file says; `None` where there is no file any more, or an older version made it, which
/// wrote nothing into it.
pub(super) fn holder(folder: &Path, incarnation: Incarnation) -> Option<Holder> {
    // Opened for reading: our own closing must not look like a death.
    let file = File::open(folder.join(incarnation.to_string())).ok()?;
    let mut label = String::new();
    file.take(LABEL).read_to_string(&mut label).ok()?;
    // Without the line's end it was not written whole.
    Holder::read(label.strip_suffix('\n')?)
}

/// A process start that is dead: its file, locked by us so that nobody else takes care of it meanwhile.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) incarnation: Incarnation,
    path: PathBuf,
    _lock: File,
}

impl Dead {
    /// Finds the dead among the files of a folder.
    pub(super) fn find(folder: &Path) -> io::Result<Vec<Self>> {
        let mut dead = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match Uuid::try_parse(name) {
                Ok(uuid) => dead.extend(Self::lock(&path, uuid.into())),
                Err(_) => remove_unfinished(&path),
            }
        }
        Ok(dead)
    }

    /// Waits until the files are unlocked that are being closed, for a moment at most: the kernel tells of a closed file
    /// just before it drops the lock. A lock that stays is one that a child of the dead process has inherited.
    #[expect(clippy::disallowed_methods, reason = "nothing tells of the end of a lock")]
    pub(super) fn await_unlocked(folder: &Path, closed: &[String]) {
        for name in closed {
            let path = folder.join(name);
            for pause in [50, 100, 200, 500, 1000, 2000, 5000, 10_000] {
                let unlocked =
                    |file: File| flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok();
                // Gone is as good as unlocked: somebody else has taken care of it.
                if File::open(&path).map_or(true, unlocked) {
                    break;
                }
                std::thread::sleep(Duration::from_micros(pause));
            }
        }
    }

    fn lock(path: &Path, incarnation: Incarnation) -> Option<Self> {
        // For reading only: our own closing must not look like a death.
        let file = File::open(path).ok()?;
        flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Self { incarnation, path: path.to_owned(), _lock: file })
    }

    /// Removes the file, after everything was taken back.
    pub(super) fn forget(self) {
        // If it stays, the next one finds nothing to take back and tries again.
        let _ = fs::remove_file(&self.path);
    }
}

fn remove_unfinished(path: &Path) {
    let age = fs::metadata(path)
        .and_then(|meta| meta.modified())
        .ok()
        .and_then(|t| SystemTime::now().duration_since(t).ok());
    if age.is_some_and(|age| age > UNFINISHED) {
        let _ = fs::remove_file(path);
    }
}
