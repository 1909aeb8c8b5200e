//! What all pools and processes of this process share: a thread on which they are watched, and the one that starts them.

use std::{
    future::Future,
    io,
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use manyhands_broker::{Error, ErrorKind, Result, TaskName};
use manyhands_worker::{
    function::Functions,
    processes::{Process, Socket, Spawner},
};
use tokio::{
    io::AsyncWriteExt,
    runtime::{Builder, Handle},
};

use crate::{pool::Line, process::Running, wire};

/// What this process is.
#[derive(Debug)]
pub(crate) struct Here {
    pub(crate) functions: Functions,
    pub(crate) name: String,
    pub(crate) daemon: bool,
    /// The process that started it, if that was by this crate.
    pub(crate) parent: Option<u32>,
}

static HERE: OnceLock<Here> = OnceLock::new();
static HOME: OnceLock<Home> = OnceLock::new();

/// The threads, and the processes that are watched.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) runtime: Handle,
    spawner: Spawner,
    running: Mutex<Vec<Arc<Running>>>,
    pools: Mutex<Vec<Weak<Line>>>,
    names: AtomicU64,
}

/// Says what this process is. To be called once, before anything else.
pub(crate) fn settle(here: Here) -> Result<&'static Here> {
    let twice =
        || Error::new(ErrorKind::Internal, "start", "the main function of multiprocessing was called twice");
    HERE.set(here).map_err(|_| twice())?;
    self::here()
}

/// What this process is.
///
/// # Errors
/// When the program does not begin as one that can start itself again.
pub(crate) fn here() -> Result<&'static Here> {
    HERE.get().ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "start", "this program cannot start processes: it does not begin with multiprocessing::main")
            .advise("write: fn main() -> ExitCode { manyhands::multiprocessing::main(|app| app.function(square), run) }")
    })
}

/// The name of a function that may be called.
///
/// # Errors
/// When it is not registered; it names the line that is missing.
pub(crate) fn registered(name: Result<TaskName>, path: &str, how: &str) -> Result<TaskName> {
    let (name, here) = (name?, here()?);
    if here.functions.has(&name) {
        return Ok(name);
    }
    let short = path.rsplit("::").next().unwrap_or(path);
    Err(Error::invalid("call", format!("{path} is not registered: no process of this program could find it"))
        .advise(format!(
            "add it where the program begins: multiprocessing::main(|app| app.{how}, …)",
            how = how.replace("{}", short)
        )))
}

/// The threads; they are started when they are needed first.
///
/// # Errors
/// When this process may not have children, or no thread can be started.
pub(crate) fn home() -> Result<&'static Home> {
    if here()?.daemon {
        return Err(Error::invalid(
            "start",
            "a daemon may not have processes of its own: who would end them with it?",
        )
        .advise(
            "start the process that is to have children without daemon; the processes of a pool are daemons",
        ));
    }
    home_of_any()
}

/// As [`home`], for who starts no processes.
pub(crate) fn home_of_any() -> Result<&'static Home> {
    static BEGINNING: Mutex<()> = Mutex::new(());
    let _one = BEGINNING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(home) = HOME.get() {
        return Ok(home);
    }
    let failed =
        |e: io::Error| Error::new(ErrorKind::Internal, "start", "no thread can be started").because(e);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let handle = runtime.handle().clone();
    let watch = move || runtime.block_on(std::future::pending::<()>());
    thread::Builder::new().name("processes".to_owned()).spawn(watch).map_err(failed)?;
    let spawner = Spawner::new(Vec::new());
    Ok(HOME.get_or_init(|| Home {
        runtime: handle,
        spawner,
        running: Mutex::default(),
        pools: Mutex::default(),
        names: AtomicU64::new(1),
    }))
}

impl Home {
    /// Runs a future on the thread, and waits for what it comes to.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let (sender, answer) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // Who asked waits.
            let _ = sender.send(future.await);
        });
        answer
            .recv()
            .map_err(|_| Error::new(ErrorKind::Internal, "start", "the thread of processes has ended"))
    }

    /// The next name of a process that was given none.
    pub(crate) fn next_name(&self) -> String {
        format!("Process-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn watch(&self, process: Arc<Running>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|process| process.is_alive());
        running.push(process);
    }

    /// Notes a pool, whose end is waited for where this process ends.
    pub(crate) fn note(&self, pool: &Arc<Line>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// The processes that live.
    pub(crate) fn alive(&self) -> Vec<Arc<Running>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().filter(|process| process.is_alive()).cloned().collect()
    }
}

/// Starts this program again, which is told what it is to be by a frame.
pub(crate) async fn start(home: &Home, begin: &[u8]) -> io::Result<(Process, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let process = home.spawner.start_again(Socket { ours: ours.try_clone()?, theirs }).await?;
    let mut frame = Vec::new();
    wire::put(&mut frame, wire::Kind::Begin, 0, &[begin]);
    ours.set_nonblocking(true)?;
    let mut stream = tokio::net::UnixStream::from_std(ours)?;
    stream.write_all(&frame).await?;
    Ok((process, stream.into_std()?))
}

/// Ends what this process started: waits for the processes that are no daemons, then ends the others.
pub(crate) fn finish() {
    let Some(home) = HOME.get() else { return };
    for process in home.alive().into_iter().filter(|process| !process.is_daemon()) {
        process.join(None);
    }
    let pools = std::mem::take(&mut *home.pools.lock().unwrap_or_else(PoisonError::into_inner));
    // One that is open is somebody's who does not end it: its processes are left to the guard.
    for pool in pools.iter().filter_map(Weak::upgrade).filter(|pool| pool.is_closed()) {
        pool.join(Some(Duration::from_secs(5)));
    }
    let daemons = home.alive();
    for process in &daemons {
        process.kill();
    }
    for process in daemons {
        // One that cannot be killed is left to the guard.
        process.join(Some(Duration::from_secs(5)));
    }
}
