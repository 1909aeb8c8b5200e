//! The life of a session: opening, taking care of the dead, closing.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{oneshot, watch};

use super::{
    LocalConfig, database,
    direct::Direct,
    durability, error,
    file_system::check_file_system,
    liveness::{Alive, Dead},
    log::Log,
    turn::Turn,
    wakeup::{Bell, Ears, Stop, Watch},
    workers,
    writer::{Call, Writer},
};
use crate::crash::{Point, at};
use crate::{Capabilities, Durability, Error, ErrorKind, Incarnation, Result};

/// A session with a queue in a directory.
///
/// Dropping a session is the end of its incarnation: what it still holds is taken back by the others, at once.
#[derive(Debug)]
pub struct LocalBroker {
    pub(super) incarnation: Incarnation,
    pub(super) config: LocalConfig,
    /// Closed before the thread of the writer closes the last connection.
    pub(super) direct: Direct,
    writer: Writer,
    /// Counts what may concern somebody who waits.
    changes: watch::Sender<u64>,
    pub(super) ears: Ears,
    /// Ends the watching thread.
    _stop: Stop,
    /// Kept to the last: when it closes, we are dead to the others.
    _alive: Arc<Alive>,
}

impl LocalBroker {
    /// What it claims to do.
    pub const CAPABILITIES: Capabilities = Capabilities::FULL;

    /// Opens a session, and makes the directory and the database if they are missing.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the files cannot be used, [`ErrorKind::Unsupported`] on a file system
    /// whose locks cannot be trusted, [`ErrorKind::Incompatible`] when a newer version wrote them,
    /// [`ErrorKind::Invalid`] when they are another program's, [`ErrorKind::Corrupt`], [`ErrorKind::Full`].
    ///
    /// # Cancel safety
    /// Cancel safe: a session that nobody gets is closed.
    pub async fn open(config: LocalConfig) -> Result<Self> {
        let (done, opened) = oneshot::channel();
        // Opening waits for the turn and for the disk: not on a thread that runs other futures.
        let open = move || {
            let _ = done.send(Self::open_blocking(&config));
        };
        let thread = std::thread::Builder::new().name("mh-open".to_owned()).spawn(open);
        thread
            .map_err(|e| Error::new(ErrorKind::Unavailable, "open", "no thread can be started").because(e))?;
        opened
            .await
            .map_err(|_| Error::new(ErrorKind::Internal, "open", "opening ended without an answer"))?
    }

    fn open_blocking(config: &LocalConfig) -> Result<Self> {
        make_dir(&config.dir)?;
        make_dir(&config.incarnations())?;
        at(Point::OpenFolders);
        check_file_system(&config.dir)?;
        let turn = Turn::open(&config.turn(), &config.line())?;
        let bell = Arc::new(Bell::open(&config.bell())?);
        at(Point::OpenFiles);
        let (durability, connection) = {
            let _turn = turn.take().map_err(|e| error::file("open", &config.turn(), e))?;
            let durability = durability::settle(config)?;
            (durability, database::open(&config.database(), config.clock.as_ref())?)
        };
        let log = Log::open(&config.database(), durability)?;
        let incarnation = Incarnation::generate();
        let alive = Arc::new(Alive::register(&config.incarnations(), incarnation)?);
        let no_thread = |e| Error::new(ErrorKind::Unavailable, "open", "no thread can be started").because(e);
        let clock = Arc::clone(&config.clock);
        let direct = Direct::new(config.clone(), Arc::clone(&bell));
        let writer =
            Writer::start(connection, log, turn, bell, clock, Arc::clone(&alive)).map_err(no_thread)?;
        at(Point::OpenWriter);
        let changes = watch::Sender::new(0);
        let (watch, stop) =
            Watch::new(&config.incarnations()).map_err(|e| error::file("open", &config.dir, e))?;
        let ears = watch.ears(&config.bell());
        let watcher = Watcher {
            watch,
            changes: changes.clone(),
            writer: writer.clone(),
            incarnations: config.incarnations(),
            workers: config.workers(),
        };
        std::thread::Builder::new()
            .name("mh-watch".to_owned())
            .spawn(move || watcher.run())
            .map_err(no_thread)?;
        at(Point::OpenWatch);
        let config = config.clone();
        Ok(Self { incarnation, config, direct, writer, changes, ears, _stop: stop, _alive: alive })
    }

    /// Hands in a call and awaits the answer.
    pub(super) async fn call<T: Send + 'static>(&self, operation: &'static str, call: Call<T>) -> Result<T> {
        self.writer.call(call).await.map_err(|_| {
            Error::new(ErrorKind::Internal, operation, "the writer's thread ended without an answer")
        })?
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// The thread that hears of commits and of deaths.
struct Watcher {
    watch: Watch,
    changes: watch::Sender<u64>,
    writer: Writer,
    incarnations: PathBuf,
    workers: PathBuf,
}

impl Watcher {
    fn run(self) {
        self.take_back_from_the_dead();
        loop {
            match self.watch.next() {
                Ok(None) => break,
                Ok(Some(news)) => {
                    if news.death {
                        Dead::await_unlocked(&self.incarnations, &news.closed);
                        self.take_back_from_the_dead();
                    }
                    if news.rung {
                        self.changes.send_modify(|changes| *changes += 1);
                    }
                }
                Err(e) => {
                    tracing::warn!(error = %e, "no more news from other processes; this one polls from now on");
                    break;
                }
            }
        }
    }

    /// Takes back what dead processes held. Whoever is alive does this; each of the dead is locked by one of us.
    fn take_back_from_the_dead(&self) {
        let dead = Dead::find(&self.incarnations).unwrap_or_else(|e| {
            tracing::warn!(error = %e, folder = %self.incarnations.display(), "cannot look for dead processes");
            Vec::new()
        });
        for dead in dead {
            let incarnation = dead.incarnation;
            at(Point::DeadLocked);
            let call = Call::write("expire", Durability::Process, move |steps| {
                steps.expire_holder(incarnation).map_err(|e| error::sqlite("expire", e))
            });
            match self.writer.call(call).blocking_recv() {
                Ok(Ok(tasks)) => {
                    at(Point::DeadExpired);
                    if tasks > 0 {
                        tracing::info!(%incarnation, tasks, "took back the tasks of a process that died");
                    }
                    // If something stays it is not listed: nobody tells it anew.
                    let _ = workers::forget(&self.workers, incarnation);
                    dead.forget();
                    at(Point::DeadForgotten);
                }
                Ok(Err(e)) => {
                    tracing::warn!(%incarnation, error = %e.report(), "cannot take back a dead process's tasks");
                }
                Err(_) => break,
            }
        }
    }
}

/// Makes a directory that only its owner can read: payloads may be private.
/// Makes a folder and those above it, and syncs the names of those that were missing: what is promised in a folder must not
/// be lost with its name.
fn make_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| error::file("open", path, e))?;
    for above in missing.iter().filter_map(|path| path.parent()) {
        // The parent of a relative path of one part.
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        fs::File::open(above)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| error::file("open", above, e))?;
    }
    Ok(())
}
