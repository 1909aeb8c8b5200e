//! What workers told of themselves: a small file for each, named after its incarnation. Not in the database, which would be written
//! every other second by a worker that has nothing to do.
//!
//! A file goes when its worker leaves, and with whatever else a dead process held.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{LocalBroker, error, writer::Call};
use crate::{
    Incarnation, LiveWorker, Request, Result, WorkerReport, Workers, clock::Clock, limits, workers::page,
};

/// A file's content.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    /// The boot in which the clock counts.
    boot: String,
    /// When it was told, in ms of the steady clock.
    at: u64,
    report: WorkerReport,
}

#[async_trait]
impl Workers for LocalBroker {
    async fn report(&self, report: &WorkerReport) -> Result<Request> {
        let (folder, clock, incarnation) = self.reports();
        let told = Told { boot: clock.boot(), at: clock.now().steady, report: report.clone() };
        let write = move || -> io::Result<Request> {
            fs::create_dir_all(&folder)?;
            let (file, unfinished) =
                (folder.join(incarnation.to_string()), folder.join(format!(".{incarnation}")));
            fs::write(&unfinished, serde_json::to_vec(&told)?)?;
            fs::rename(&unfinished, &file)?;
            let asked = asked(&folder, incarnation).exists();
            Ok(if asked { Request::Drain } else { Request::Nothing })
        };
        self.with_files("report", write).await
    }

    async fn leave(&self) -> Result<()> {
        let (folder, _, incarnation) = self.reports();
        self.with_files("leave", move || forget(&folder, incarnation)).await
    }

    async fn live(&self, after: Option<Incarnation>, max: usize) -> Result<Vec<LiveWorker>> {
        let (folder, clock, _) = self.reports();
        let read = move || -> io::Result<Vec<LiveWorker>> {
            let entries = match fs::read_dir(&folder) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries?,
            };
            let mut all = Vec::new();
            for entry in entries {
                let name = entry?.file_name();
                // Other names are of files that are being written, or say what was asked.
                let Some(uuid) = name.to_str().and_then(|name| Uuid::try_parse(name).ok()) else { continue };
                all.extend(look(&folder, &*clock, uuid.into())?);
            }
            Ok(page(all, after, max))
        };
        self.with_files("live", read).await
    }

    async fn drain(&self, worker: Incarnation) -> Result<bool> {
        let (folder, clock, _) = self.reports();
        let ask = move || -> io::Result<bool> {
            let there =
                look(&folder, &*clock, worker)?.is_some_and(|live| live.heard <= limits::WORKER_SILENT);
            if there {
                fs::write(asked(&folder, worker), [])?;
            }
            Ok(there)
        };
        self.with_files("drain", ask).await
    }
}

impl LocalBroker {
    /// What the calls need, on another thread.
    fn reports(&self) -> (PathBuf, std::sync::Arc<dyn Clock>, Incarnation) {
        (self.config.workers(), std::sync::Arc::clone(&self.config.clock), self.incarnation)
    }

    /// Reads and writes small files where no runtime is kept waiting by it.
    async fn with_files<T: Send + 'static>(
        &self,
        operation: &'static str,
        mut work: impl FnMut() -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let folder = self.config.workers();
        let call = Call::read(operation, move |_| work().map_err(|e| error::file(operation, &folder, e)));
        self.call(operation, call).await
    }
}

/// Forgets what a worker told, and what was asked of it.
pub(super) fn forget(folder: &Path, worker: Incarnation) -> io::Result<()> {
    let name = worker.to_string();
    for path in [folder.join(format!(".{name}")), asked(folder, worker), folder.join(name)] {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// The file that is there while a worker is asked to drain.
fn asked(folder: &Path, worker: Incarnation) -> PathBuf {
    folder.join(format!("{worker}.drain"))
}

/// What one worker told; nothing where it has left, or told it before the last boot.
fn look(folder: &Path, clock: &dyn Clock, worker: Incarnation) -> io::Result<Option<LiveWorker>> {
    let json = match fs::read(folder.join(worker.to_string())) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        json => json?,
    };
    let told = serde_json::from_slice::<Told>(&json).ok().filter(|told| told.boot == clock.boot());
    Ok(told.map(|Told { at, report, .. }| {
        let heard = Duration::from_millis(clock.now().steady.saturating_sub(at));
        LiveWorker::new(worker, heard, asked(folder, worker).exists(), report)
    }))
}
