//! The write-ahead log as a file that is synced.
//!
//! SQLite could sync it inside each commit (`synchronous=FULL`), and would hold its write lock for as long. So commits are not
//! synced (`NORMAL`, where SQLite syncs the log before it carries pages over to the database, and the database before it begins
//! the log anew), and what must survive a power cut is synced here, by a descriptor of our own, before it is answered. What is
//! in no log any more was carried over, and is synced.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use crate::{Durability, Error, ErrorKind, Result};

/// The log of an open database. It exists for as long as a connection is open.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// Whether it could not be synced once. The kernel tells of a failed write once only, so no later sync can be believed.
    failed: bool,
    /// What the directory promises: nothing is synced for more than that.
    durability: Durability,
}

impl Log {
    /// Opens the log of a database that a connection of this process has open.
    pub(super) fn open(database: &Path, durability: Durability) -> Result<Self> {
        let path = database.with_extension("db-wal");
        let file = File::open(&path).map_err(|e| super::error::file("open", &path, e))?;
        Ok(Self { path, file, failed: false, durability })
    }

    /// Waits until a power cut would leave all that is committed, in a directory that promises it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the disk does not take it, now or ever before: what was committed may be lost with the
    /// power, or may not.
    pub(super) fn sync(&mut self) -> Result<()> {
        if self.durability == Durability::Process {
            return Ok(());
        }
        let synced = if self.failed { Ok(()) } else { self.file.sync_data() };
        self.failed |= synced.is_err();
        if !self.failed {
            return Ok(());
        }
        let message = format!(
            "{} cannot be synced; what was committed may not survive a power cut",
            self.path.display()
        );
        let error = Error::new(ErrorKind::Unavailable, "commit", message)
            .advise("check the disk, then start this program anew");
        Err(match synced {
            Err(cause) => error.because(cause),
            Ok(()) => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_nothing_is_promised_any_more() {
        let at = |path: &Path| {
            let (path, file) = (path.to_owned(), File::open(path).unwrap());
            Log { path, file, failed: false, durability: Durability::Power }
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(at(file.path()).sync().is_ok());
        // A device cannot be synced.
        let mut log = at(Path::new("/dev/null"));
        assert_eq!(log.sync().unwrap_err().kind(), ErrorKind::Unavailable);
        log.file = File::open(file.path()).unwrap();
        assert_eq!(log.sync().unwrap_err().kind(), ErrorKind::Unavailable, "whatever the disk says now");
    }
}
