//! The folder that everything is measured in: on a disk, as memory needs no syncs.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

/// File systems that are memory.
const MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// How the folders of all runs begin.
const PREFIX: &str = "manyhands-bench-";

/// The file in them that a run holds locked.
const LOCK: &str = "lock";

/// A folder of this run, removed with it.
#[derive(Debug)]
pub(crate) struct Place {
    folder: TempDir,
    system: String,
    _lock: File,
}

impl Place {
    /// Makes a folder in this one, else in $TMPDIR, else in the folder that cargo builds in.
    ///
    /// # Errors
    /// If that is no disk, or cannot be written to.
    pub(crate) fn choose(folder: Option<&Path>) -> Result<Self> {
        let beside = || Some(env::current_exe().ok()?.parent()?.to_owned());
        let chosen = folder.map(Path::to_owned).or_else(|| env::var_os("TMPDIR").map(PathBuf::from));
        let parent = chosen.or_else(beside).context("there is no folder to measure in")?;
        let system = file_system(&parent)?;
        ensure!(
            !MEMORY.contains(&system.as_str()),
            "{} is on {system}, which is memory: name a folder on a disk with --folder or TMPDIR",
            parent.display()
        );
        remove_interrupted(&parent);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent);
        let folder = folder.with_context(|| format!("no folder can be made in {}", parent.display()))?;
        let lock = File::create(folder.path().join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { folder, system, _lock: lock })
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The name of its file system.
    pub(crate) fn system(&self) -> &str {
        &self.system
    }

    /// An empty folder in it, for one round.
    pub(crate) fn fresh(&self) -> Result<TempDir> {
        Ok(tempfile::tempdir_in(self.path())?)
    }
}

/// Removes the folders of runs that were interrupted: nobody holds their locks.
fn remove_interrupted(parent: &Path) {
    for folder in fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = folder.file_name().to_string_lossy().starts_with(PREFIX);
        let lock = if ours { File::open(folder.path().join(LOCK)) } else { continue };
        if lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()) {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}

/// The name of the file system that holds this folder, as the kernel mounts it.
fn file_system(folder: &Path) -> Result<String> {
    let folder = folder.canonicalize().with_context(|| format!("{} is not there", folder.display()))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("/proc is not mounted")?;
    let found = mounts.lines().filter_map(mount).filter(|(point, _)| folder.starts_with(point));
    // Of mounts on one place, the last hides the others.
    let deepest = found.max_by_key(|(point, _)| Path::new(point).components().count());
    Ok(deepest.context("the folder is on no file system")?.1.to_owned())
}

/// Where a line of mountinfo says that something is mounted, and its file system.
fn mount(line: &str) -> Option<(&str, &str)> {
    let (before, after) = line.split_once(" - ")?;
    Some((before.split(' ').nth(4)?, after.split(' ').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        assert_eq!(mount(line), Some(("/mnt2", "ext3")));
        assert_eq!(mount("nothing"), None);
    }

    #[test]
    fn only_what_an_interrupted_run_left_is_removed() {
        let parent = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let left = parent.path().join("manyhands-bench-left");
        fs::create_dir(&left).unwrap();
        File::create(left.join(LOCK)).unwrap();
        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        File::create(other.join(LOCK)).unwrap();
        let first = Place::choose(Some(parent.path())).unwrap();
        let second = Place::choose(Some(parent.path())).unwrap();
        assert!(!left.exists() && other.exists());
        assert!(first.path().exists() && second.path().exists(), "both run");
    }

    #[test]
    fn every_folder_is_on_a_file_system() {
        assert!(!file_system(Path::new("/")).unwrap().is_empty());
        assert_eq!(file_system(Path::new("/proc")).unwrap(), "proc");
    }
}
