//! The log: one entry after the other, each appended by one write.

use std::{fs, io, os::unix::ffi::OsStrExt, path::Path, path::PathBuf};

/// What a process did, or said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The process.
    pub pid: u32,
    /// What it did.
    pub event: Event,
}

/// What was done, with success. Paths are those in the folder; a file is named by the descriptor of its process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A file or a folder was opened.
    Open {
        /// The descriptor it got.
        fd: i32,
        /// Whether it was made if it was missing.
        create: bool,
        /// Whether it was emptied.
        truncate: bool,
        /// Its path; empty for the folder itself.
        path: PathBuf,
    },
    /// Bytes were written.
    Write {
        /// The file.
        fd: i32,
        /// Where.
        offset: u64,
        /// What.
        data: Vec<u8>,
    },
    /// A file was cut or extended.
    Length {
        /// The file.
        fd: i32,
        /// How long it is now.
        length: u64,
    },
    /// A file or a folder was synced: whatever happened to it before is on the disk.
    Sync {
        /// The file.
        fd: i32,
    },
    /// A file got another name.
    Rename {
        /// The old one.
        from: PathBuf,
        /// The new one.
        to: PathBuf,
    },
    /// A name was removed.
    Remove {
        /// The name.
        path: PathBuf,
    },
    /// A folder was made.
    Folder {
        /// Its path.
        path: PathBuf,
    },
    /// The process said something.
    Note {
        /// Its words.
        text: Vec<u8>,
    },
}

impl Entry {
    /// The bytes of the entry, its length first.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, fd, number, bytes): (u8, i32, u64, Vec<u8>) = match &self.event {
            Event::Open { fd, create, truncate, path } => {
                (0, *fd, u64::from(*create) | u64::from(*truncate) << 1, path_bytes(path))
            }
            Event::Write { fd, offset, data } => (1, *fd, *offset, data.clone()),
            Event::Length { fd, length } => (2, *fd, *length, Vec::new()),
            Event::Sync { fd } => (3, *fd, 0, Vec::new()),
            Event::Rename { from, to } => {
                let mut both = path_bytes(from);
                let first = both.len() as u64;
                both.extend(path_bytes(to));
                (4, 0, first, both)
            }
            Event::Remove { path } => (5, 0, 0, path_bytes(path)),
            Event::Folder { path } => (6, 0, 0, path_bytes(path)),
            Event::Note { text } => (7, 0, 0, text.clone()),
        };
        let mut entry = Vec::with_capacity(HEAD + bytes.len());
        entry.extend((bytes.len() as u64).to_le_bytes());
        entry.extend(self.pid.to_le_bytes());
        entry.extend(fd.to_le_bytes());
        entry.extend(number.to_le_bytes());
        entry.push(kind);
        entry.extend(bytes);
        entry
    }
}

/// The bytes before those of variable length.
const HEAD: usize = 8 + 4 + 4 + 8 + 1;

/// Reads a log.
///
/// # Errors
///
/// If it cannot be read; [`io::ErrorKind::InvalidData`] for what is no log, or one whose last entry is not whole.
pub fn read(log: &Path) -> io::Result<Vec<Entry>> {
    let log = fs::read(log)?;
    let (mut rest, mut entries) = (log.as_slice(), Vec::new());
    while !rest.is_empty() {
        let (entry, behind) = decode(rest).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        entries.push(entry);
        rest = behind;
    }
    Ok(entries)
}

fn decode(bytes: &[u8]) -> Option<(Entry, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (pid, rest) = rest.split_first_chunk()?;
    let (fd, rest) = rest.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let (bytes, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (fd, number) = (i32::from_le_bytes(*fd), u64::from_le_bytes(*number));
    let path = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    let event = match kind {
        0 => Event::Open { fd, create: number & 1 != 0, truncate: number & 2 != 0, path: path(bytes) },
        1 => Event::Write { fd, offset: number, data: bytes.to_vec() },
        2 => Event::Length { fd, length: number },
        3 => Event::Sync { fd },
        4 => {
            let (from, to) = bytes.split_at_checked(usize::try_from(number).ok()?)?;
            Event::Rename { from: path(from), to: path(to) }
        }
        5 => Event::Remove { path: path(bytes) },
        6 => Event::Folder { path: path(bytes) },
        7 => Event::Note { text: bytes.to_vec() },
        _ => return None,
    };
    Some((Entry { pid: u32::from_le_bytes(*pid), event }, rest))
}

fn path_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let path = |text: &str| PathBuf::from(text);
        let events = [
            Event::Open { fd: 7, create: true, truncate: false, path: path("a/b") },
            Event::Open { fd: 8, create: false, truncate: true, path: path("") },
            Event::Write { fd: 7, offset: 1 << 40, data: vec![1, 2, 3] },
            Event::Length { fd: 7, length: 9 },
            Event::Sync { fd: 7 },
            Event::Rename { from: path("a"), to: path("bc") },
            Event::Remove { path: path("bc") },
            Event::Folder { path: path("d") },
            Event::Note { text: b"said".to_vec() },
        ];
        let entries: Vec<_> = events.into_iter().map(|event| Entry { pid: 5, event }).collect();
        let bytes: Vec<u8> = entries.iter().flat_map(Entry::encode).collect();
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        fs::write(&log, &bytes).unwrap();
        assert_eq!(read(&log).unwrap(), entries);
        fs::write(&log, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(read(&log).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
