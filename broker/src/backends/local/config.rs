//! What a local broker is told.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::clock::BootClock;
use crate::{Durability, Namespace, clock::Clock};

/// Where a local broker keeps its files.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    pub(super) dir: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) durability: Option<Durability>,
}

impl LocalConfig {
    /// A namespace in a directory. It is made, readable by its owner only, if it is missing.
    #[must_use]
    pub fn new(dir: &Path, namespace: Namespace) -> Self {
        // A namespace is a folder of its own: what settles together is one database file.
        let dir = dir.join(namespace.as_str());
        Self { dir, clock: Arc::new(BootClock), durability: None }
    }

    /// Uses another clock; all sessions with one directory must use the same.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Says what calls are to survive. A directory that is made gets it, [`Durability::Power`] if nothing is said; in one that is
    /// there, opening is refused if it has another.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    pub(super) fn durability(&self) -> PathBuf {
        self.dir.join("durability")
    }

    pub(super) fn database(&self) -> PathBuf {
        self.dir.join("tasks.db")
    }

    pub(super) fn line(&self) -> PathBuf {
        self.dir.join("line")
    }

    pub(super) fn turn(&self) -> PathBuf {
        self.dir.join("turn")
    }

    pub(super) fn bell(&self) -> PathBuf {
        self.dir.join("bell")
    }

    /// What workers told of themselves.
    pub(super) fn workers(&self) -> PathBuf {
        self.dir.join("workers")
    }

    pub(super) fn incarnations(&self) -> PathBuf {
        self.dir.join("incarnations")
    }
}
