//! Where the lines come from, and what names them for ever: the batch.

use std::{
    fs::{File, Metadata},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use manyhands_broker::{BatchName, Error, Result, TaskId, TaskName};
use uuid::{Uuid, uuid};

/// What the ids of all lines are made from, besides their batch and number.
const LINES: Uuid = uuid!("0c1de6a1-6d0c-5a0e-9a53-5b0c7f6b3e1d");

/// A file, or standard input.
pub(super) struct Source {
    pub(super) reader: Box<dyn Read + Send>,
    /// How it is called where people read it.
    pub(super) name: String,
    /// `None` if the lines have no ids that would be the same again.
    pub(super) batch: Option<Batch>,
    /// How many bytes it has, if that is known.
    pub(super) size: Option<u64>,
    /// Where rejected lines go unless told otherwise.
    pub(super) rejected: PathBuf,
    /// The file, if it is one that can be looked at again.
    file: Option<(File, Metadata)>,
}

/// What the ids of the lines are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch(Uuid);

impl Batch {
    /// The batch of a name. The same lines may be fed to handlers of several names, so these differ.
    fn named(task: &TaskName, name: &BatchName) -> Self {
        Self::of(task, &format!("name {name}"))
    }

    /// The batch of a file as it is now.
    fn of_file(task: &TaskName, file: &Metadata) -> Self {
        let (device, inode, size) = (file.dev(), file.ino(), file.size());
        Self::of(task, &format!("file {device} {inode} {size} {}.{:09}", file.mtime(), file.mtime_nsec()))
    }

    fn of(task: &TaskName, what: &str) -> Self {
        Self(Uuid::new_v5(&LINES, format!("{task} {what}").as_bytes()))
    }

    /// The id of a line: the same whenever the line is fed.
    pub(super) fn id(self, line: u64) -> TaskId {
        Uuid::new_v5(&self.0, line.to_string().as_bytes()).into()
    }
}

impl Source {
    /// Opens a file, or takes standard input for `-`.
    pub(super) fn open(path: &Path, task: &TaskName, batch: Option<&BatchName>) -> Result<Self> {
        let named = batch.map(|batch| Batch::named(task, batch));
        if path == Path::new("-") {
            let rejected = batch.map_or_else(|| "stdin".to_owned(), ToString::to_string);
            return Ok(Self {
                reader: Box::new(std::io::stdin()),
                name: "standard input".to_owned(),
                batch: named,
                size: None,
                rejected: format!("{rejected}.rejected").into(),
                file: None,
            });
        }
        let name = path.display().to_string();
        let unreadable = |e| Error::invalid("feed", format!("{name} cannot be read")).because(e);
        let file = File::open(path).map_err(unreadable)?;
        let seen = file.metadata().map_err(unreadable)?;
        if seen.is_dir() {
            return Err(Error::invalid("feed", format!("{name} is a directory, not a file")));
        }
        let again = file.try_clone().map_err(unreadable)?;
        let mut rejected = path.as_os_str().to_owned();
        rejected.push(".rejected");
        // A pipe has a name in the file system, but not the same lines again.
        let regular = seen.is_file();
        Ok(Self {
            reader: Box::new(file),
            batch: named.or_else(|| regular.then(|| Batch::of_file(task, &seen))),
            size: regular.then(|| seen.size()),
            rejected: rejected.into(),
            file: regular.then_some((again, seen)),
            name,
        })
    }

    /// Whether reading never has to wait for somebody to write.
    pub(super) fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Whether it is this very file.
    pub(super) fn is(&self, path: &Path) -> bool {
        match (&self.file, std::fs::metadata(path)) {
            (Some((_, seen)), Ok(other)) => (seen.dev(), seen.ino()) == (other.dev(), other.ino()),
            _ => false,
        }
    }

    /// Whether somebody wrote to the file since it was opened: its batch is another one then.
    pub(super) fn changed(&self) -> bool {
        let stamp = |file: &Metadata| (file.size(), file.mtime(), file.mtime_nsec());
        match &self.file {
            Some((file, seen)) => file.metadata().map_or(true, |now| stamp(&now) != stamp(seen)),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_one_id_for_ever() {
        let (task, other) = (TaskName::new("count").unwrap(), TaskName::new("double").unwrap());
        let monday = BatchName::new("monday").unwrap();
        let batch = Batch::named(&task, &monday);
        // Written down: another version of this program must give the same one.
        assert_eq!(batch.id(1).to_string(), "0e07d54a-997b-553c-9a69-d6c950407998");
        assert_ne!(batch.id(1), batch.id(2));
        assert_ne!(batch.id(1), Batch::named(&other, &monday).id(1));
        assert_ne!(batch, Batch::named(&task, &BatchName::new("tuesday").unwrap()));
    }

    #[test]
    fn a_file_that_changes_is_another_batch() {
        let folder = tempfile::tempdir().unwrap();
        let (path, task) = (folder.path().join("numbers"), TaskName::new("count").unwrap());
        std::fs::write(&path, "1\n").unwrap();
        let first = Source::open(&path, &task, None).unwrap();
        assert_eq!(first.batch, Source::open(&path, &task, None).unwrap().batch);
        assert!(!first.changed());
        std::fs::write(&path, "1\n2\n").unwrap();
        assert!(first.changed());
        assert_ne!(first.batch, Source::open(&path, &task, None).unwrap().batch);
        assert!(
            Source::open(folder.path(), &task, None).is_err_and(|e| e.report().contains("is a directory"))
        );
    }
}
