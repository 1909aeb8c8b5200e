//! What a disk may hold.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use crate::log::{Entry, Event};

/// What a disk writes whole.
const SECTOR: u64 = 512;

/// What becomes of whatever was not synced when the power is cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loss {
    /// All of it is lost.
    All,
    /// All of it was written, as after the death of a process.
    Nothing,
    /// What was done last is lost, from a sector in the middle of something on.
    Tail,
    /// Of each write each sector, and each change of a name, is there or not.
    Any,
}

impl Loss {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::All, Self::Nothing, Self::Tail, Self::Any];
}

/// A disk, as the processes see it and as it is.
#[derive(Debug, Default)]
pub struct Disk {
    files: Vec<File>,
    /// What the processes see.
    names: BTreeMap<PathBuf, Node>,
    /// What is on the disk.
    synced: BTreeMap<PathBuf, Node>,
    /// What happened to names since.
    renamed: Vec<Naming>,
    open: HashMap<(u32, i32), Opened>,
    /// Counts the changes.
    now: u64,
}

#[derive(Clone, Copy, Debug)]
enum Node {
    File(usize),
    Folder,
}

#[derive(Clone, Debug)]
enum Opened {
    File(usize),
    Folder(PathBuf),
}

#[derive(Debug, Default)]
struct File {
    /// What is on the disk.
    synced: Vec<u8>,
    /// What happened since, and when.
    changes: Vec<(u64, Change)>,
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

/// What happened to some names at once.
#[derive(Debug)]
struct Naming {
    when: u64,
    names: Vec<(PathBuf, Option<Node>)>,
}

impl Disk {
    /// Lets something happen.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] for what cannot happen, such as a write to a file that was never opened.
    pub fn apply(&mut self, entry: &Entry) -> io::Result<()> {
        self.now += 1;
        let pid = entry.pid;
        match &entry.event {
            Event::Open { fd, create, truncate, path } => {
                let opened = match self.names.get(path) {
                    Some(Node::File(file)) => {
                        if *truncate {
                            self.files[*file].changes.push((self.now, Change::Length(0)));
                        }
                        Opened::File(*file)
                    }
                    Some(Node::Folder) => Opened::Folder(path.clone()),
                    // It was there from the beginning.
                    None if path.as_os_str().is_empty() => Opened::Folder(path.clone()),
                    None if *create => {
                        self.files.push(File::default());
                        let file = self.files.len() - 1;
                        self.name(vec![(path.clone(), Some(Node::File(file)))]);
                        Opened::File(file)
                    }
                    None => return Err(impossible(entry)),
                };
                self.open.insert((pid, *fd), opened);
            }
            Event::Write { fd, offset, data } => {
                let change = (self.now, Change::Write(*offset, data.clone()));
                self.file(pid, *fd).ok_or_else(|| impossible(entry))?.changes.push(change);
            }
            Event::Length { fd, length } => {
                let change = (self.now, Change::Length(*length));
                self.file(pid, *fd).ok_or_else(|| impossible(entry))?.changes.push(change);
            }
            Event::Sync { fd } => self.sync(pid, *fd).ok_or_else(|| impossible(entry))?,
            Event::Rename { from, to } => {
                let node = self.names.get(from).copied().ok_or_else(|| impossible(entry))?;
                self.name(vec![(from.clone(), None), (to.clone(), Some(node))]);
            }
            Event::Remove { path } => self.name(vec![(path.clone(), None)]),
            Event::Folder { path } => self.name(vec![(path.clone(), Some(Node::Folder))]),
            Event::Note { .. } => {}
        }
        Ok(())
    }

    /// The path of an open file; `None` for a folder, and for a file that has no name any more.
    #[must_use]
    pub fn path(&self, pid: u32, fd: i32) -> Option<&Path> {
        let Some(Opened::File(file)) = self.open.get(&(pid, fd)) else { return None };
        let mut names = self.names.iter();
        names
            .find(|(_, node)| matches!(node, Node::File(found) if found == file))
            .map(|(path, _)| path.as_path())
    }

    /// All files as the processes see them.
    #[must_use]
    pub fn whole(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.files_of(&self.names, &mut |_, _| true)
    }

    /// How many changes of files are not synced.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.files.iter().map(|file| file.changes.len()).sum()
    }

    /// Puts into a folder what is left after a power cut: `seed` chooses among all that it can be.
    ///
    /// # Errors
    ///
    /// If the files cannot be written.
    pub fn cut(&self, loss: Loss, seed: u64, into: &Path) -> io::Result<()> {
        let mut chance = Chance(seed | 1);
        let last = self.now + 1 - chance.below(1 + self.unsynced() as u64 * 2).min(self.now);
        let mut keeps = |when: u64, whole: bool| match loss {
            Loss::All => false,
            Loss::Nothing => true,
            Loss::Tail => when < last || when == last && !whole && chance.below(2) == 0,
            Loss::Any => chance.below(2) == 0,
        };
        let mut names = self.synced.clone();
        let mut stuck = BTreeSet::new();
        for naming in &self.renamed {
            // What happened later to a name can be there only if what happened before is.
            let possible = naming.names.iter().all(|(name, _)| !stuck.contains(name));
            if possible && keeps(naming.when, true) {
                rename(&mut names, naming);
            } else {
                stuck.extend(naming.names.iter().map(|(name, _)| name.clone()));
            }
        }
        // Below a folder that is not there, nothing is.
        let there = |path: &Path| {
            let mut above = path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
            above.all(|folder| matches!(names.get(folder), Some(Node::Folder)))
        };
        for (path, _) in names.iter().filter(|(path, node)| matches!(node, Node::Folder) && there(path)) {
            fs::create_dir_all(into.join(path))?;
        }
        for (path, data) in self.files_of(&names, &mut keeps) {
            if there(&path) {
                fs::write(into.join(path), data)?;
            }
        }
        Ok(())
    }

    fn files_of(
        &self,
        names: &BTreeMap<PathBuf, Node>,
        keeps: &mut impl FnMut(u64, bool) -> bool,
    ) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        for (path, node) in names {
            if let Node::File(file) = node {
                found.insert(path.clone(), self.files[*file].data(keeps));
            }
        }
        found
    }

    fn file(&mut self, pid: u32, fd: i32) -> Option<&mut File> {
        match self.open.get(&(pid, fd))? {
            Opened::File(file) => self.files.get_mut(*file),
            Opened::Folder(_) => None,
        }
    }

    fn name(&mut self, names: Vec<(PathBuf, Option<Node>)>) {
        let naming = Naming { when: self.now, names };
        rename(&mut self.names, &naming);
        self.renamed.push(naming);
    }

    fn sync(&mut self, pid: u32, fd: i32) -> Option<()> {
        match self.open.get(&(pid, fd))? {
            Opened::File(file) => {
                let file = &mut self.files[*file];
                file.synced = file.data(&mut |_, _| true);
                file.changes.clear();
            }
            Opened::Folder(folder) => {
                let inside =
                    |naming: &Naming| naming.names.iter().all(|(name, _)| name.parent() == Some(folder));
                for naming in self.renamed.iter().filter(|naming| inside(naming)) {
                    rename(&mut self.synced, naming);
                }
                self.renamed.retain(|naming| !inside(naming));
            }
        }
        Some(())
    }
}

impl File {
    /// What is there of it, if of the changes those are that are kept. A write is asked for sector by sector.
    fn data(&self, keeps: &mut impl FnMut(u64, bool) -> bool) -> Vec<u8> {
        let mut data = self.synced.clone();
        for (when, change) in &self.changes {
            match change {
                Change::Length(length) => {
                    if keeps(*when, true) {
                        data.resize(*length as usize, 0);
                    }
                }
                Change::Write(offset, bytes) => {
                    let mut from = 0;
                    while from < bytes.len() {
                        let start = offset + from as u64;
                        let end = ((start / SECTOR + 1) * SECTOR - offset).min(bytes.len() as u64) as usize;
                        if keeps(*when, false) {
                            let (start, length) = (start as usize, end - from);
                            data.resize(data.len().max(start + length), 0);
                            data[start..start + length].copy_from_slice(&bytes[from..end]);
                        }
                        from = end;
                    }
                }
            }
        }
        data
    }
}

fn rename(names: &mut BTreeMap<PathBuf, Node>, naming: &Naming) {
    for (name, node) in &naming.names {
        match node {
            Some(node) => drop(names.insert(name.clone(), *node)),
            None => drop(names.remove(name)),
        }
    }
}

fn impossible(entry: &Entry) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("this cannot happen: {entry:?}"))
}

/// xorshift: chance that is the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[cfg(test)]
mod tests;
