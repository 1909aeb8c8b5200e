//! The database as it was after each commit, as a number that tells one image from another.

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

use manyhands_test_recorder::{Disk, Entry, Event};
use rusqlite::Connection;

/// As the store makes its database.
const PAGE: usize = 4096;

/// The lengths of the log's header and of that of a frame (SQLite's file format, 4.1 and 4.2).
const LOG_HEAD: u64 = 32;
const FRAME_HEAD: usize = 24;

/// The images of all commits so far.
#[derive(Default)]
pub(crate) struct Images {
    /// The pages as of the last commit.
    pages: BTreeMap<u32, u64>,
    /// The frames that follow the last commit: their page, the size of the database if they end one, and what is in them.
    frames: BTreeMap<u64, (u32, u32, u64)>,
    /// All pages of each commit together.
    images: Vec<u64>,
}

impl Images {
    /// Sees what is about to happen on a disk.
    pub(crate) fn see(&mut self, disk: &Disk, entry: &Entry) {
        let Event::Write { fd, offset, data } = &entry.event else { return };
        if disk.path(entry.pid, *fd) != Some(Path::new("tasks.db-wal")) {
            return;
        }
        let Some(offset) = offset.checked_sub(LOG_HEAD) else {
            // The log begins anew.
            self.frames.clear();
            return;
        };
        let frame = (FRAME_HEAD + PAGE) as u64;
        let number = |from: usize| u32::from_be_bytes(data[from..from + 4].try_into().unwrap());
        match (offset % frame, data.len()) {
            (0, FRAME_HEAD) => drop(self.frames.insert(offset / frame, (number(0), number(4), 0))),
            (24, PAGE) => {
                let (page, size, hash) = self.frames.get_mut(&(offset / frame)).unwrap();
                *hash = hash_of(*page, data);
                if *size > 0 {
                    let size = *size;
                    self.commit(offset / frame, size);
                }
            }
            _ => panic!("SQLite writes its log in another way: {} bytes at {offset}", data.len()),
        }
    }

    fn commit(&mut self, last: u64, size: u32) {
        // What lies behind was left by a transaction that was rolled back.
        for (_, (page, _, hash)) in std::mem::take(&mut self.frames).range(..=last) {
            self.pages.insert(*page, *hash);
        }
        self.pages.retain(|page, _| *page <= size);
        self.images.push(self.pages.values().fold(0, |all, page| all ^ page));
    }

    pub(crate) fn commits(&self) -> usize {
        self.images.len()
    }

    /// What is left in a folder must be one of the images; returns how many commits were made after it.
    pub(crate) fn must_know(&self, store: &Path) -> usize {
        let file = store.join("tasks.db");
        let database = Connection::open(&file).unwrap();
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 = database.query_row(tables, [], |row| row.get(0)).unwrap();
        if tables == 0 {
            // Not made yet. That nothing was promised is for others to say.
            return 0;
        }
        // Brings all pages into the file.
        let stuck: i64 = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
        assert_eq!(stuck, 0);
        drop(database);
        let pages = fs::read(&file).unwrap();
        let pages = pages.chunks(PAGE).zip(1..);
        let image = pages.fold(0, |all, (data, page)| all ^ hash_of(page, data));
        let found = self.images.iter().rposition(|known| *known == image);
        let found = found.unwrap_or_else(|| panic!("what is left was never committed"));
        self.images.len() - 1 - found
    }
}

fn hash_of(page: u32, data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (page, data).hash(&mut hasher);
    hasher.finish()
}
