//! One process, as Python's `Process`.

use std::{
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use manyhands_broker::{Error, ErrorKind, Result};
use manyhands_worker::{
    function::{Function, Run, name_of, name_of_run},
    processes::{self, Exit},
};
use rustix::process::Signal;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::home::{self, here, home, registered};

/// A process that runs a function, or a value of a type with `run`, and then ends.
///
/// It is this program, started again: it shares nothing with this process, and does not read its standard input; what it prints goes where
/// this one's goes. It is a group of its own, which is killed as a whole, and none outlives this process, however that ends: where this one
/// returns from its main function, those that are no daemons are waited for first.
///
/// ```no_run
/// use std::process::ExitCode;
/// use manyhands_multiprocessing::Process;
///
/// fn greet(name: String) {
///     println!("hello, {name}");
/// }
///
/// fn run() -> Result<(), Box<dyn std::error::Error>> {
///     let process = Process::new(greet, ("Ada".to_owned(),))?;
///     process.start()?;
///     assert!(process.join()?.success());
///     Ok(())
/// }
///
/// fn main() -> ExitCode {
///     manyhands_multiprocessing::main(|app| app.function(greet), run)
/// }
/// ```
pub struct Process {
    order: Order,
    running: OnceLock<Arc<Running>>,
    /// One start at a time.
    starting: Mutex<()>,
}

/// What a process is told to be.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    pub(crate) function: String,
    /// A JSON array of one call.
    pub(crate) calls: Box<RawValue>,
    pub(crate) name: String,
    pub(crate) daemon: bool,
    pub(crate) parent: u32,
}

impl Process {
    /// A process that will call `function` with `args`, a tuple. It is not started.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the function is not registered, the arguments cannot be written as JSON, or the program does not begin
    /// with [`main`](crate::main).
    pub fn new<A, F>(function: F, args: A) -> Result<Self>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        F: Function<A>,
    {
        let name = registered(name_of(&function), std::any::type_name::<F>(), "function({})")?;
        Self::calling(name.as_str(), &args)
    }

    /// A process that will run `value`. It is not started.
    ///
    /// # Errors
    /// As [`Process::new`].
    pub fn of<T: Run>(value: T) -> Result<Self> {
        let name = registered(name_of_run::<T>(), std::any::type_name::<T>(), "runs::<{}>()")?;
        Self::calling(name.as_str(), &(value,))
    }

    fn calling<A: Serialize>(function: &str, args: &A) -> Result<Self> {
        let calls = serde_json::value::to_raw_value(&[args])
            .map_err(|e| Error::invalid("start", "the arguments cannot be written as JSON").because(e))?;
        let (function, parent) = (function.to_owned(), std::process::id());
        let order = Order { function, calls, name: String::new(), daemon: false, parent };
        Ok(Self { order, running: OnceLock::new(), starting: Mutex::new(()) })
    }

    /// Gives it a name, instead of `Process-1` and so on.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.order.name = name.into();
        self
    }

    /// Makes it a daemon: it is not waited for where this process ends, but killed, and may not have processes of its own.
    #[must_use]
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.order.daemon = daemon;
        self
    }

    /// Starts it, and returns when it has a pid; its function begins a moment later.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it was started before, or this process is a daemon; [`ErrorKind::Internal`] when the system cannot start it.
    pub fn start(&self) -> Result<()> {
        let home = home()?;
        let _one = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.running.get().is_some() {
            return Err(Error::invalid("start", format!("process {} was started before", self.label()))
                .advise("make another Process of the same function"));
        }
        let mut order = self.order.clone();
        if order.name.is_empty() {
            order.name = home.next_name();
        }
        let failed = |e: io::Error| {
            Error::new(ErrorKind::Internal, "start", format!("process {} cannot be started", order.name))
                .because(e)
        };
        let begin =
            serde_json::to_vec(&crate::serve::Begin::Process(order.clone())).map_err(|e| failed(e.into()))?;
        let started = home.wait(async move { home::start(home, &begin).await })?;
        let (process, _) = started.map_err(failed)?;
        let running = Arc::new(Running {
            pid: process.pid(),
            name: order.name,
            daemon: order.daemon,
            orders: Mutex::default(),
            exit: Mutex::new(None),
            ended: Condvar::new(),
            wake: tokio::sync::Notify::new(),
        });
        home.watch(Arc::clone(&running));
        home.runtime.spawn(attend(process, Arc::clone(&running)));
        // It was empty a moment ago, and nobody else is here.
        self.running.get_or_init(|| running);
        Ok(())
    }

    fn label(&self) -> &str {
        self.running.get().map_or(&self.order.name, |running| &running.name)
    }

    fn running(&self, operation: &'static str) -> Result<&Arc<Running>> {
        self.running.get().ok_or_else(|| {
            let name = &self.order.name;
            Error::invalid(operation, format!("process {name} was not started")).advise("call start() first")
        })
    }

    /// Waits until it has ended, and tells how.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it was not started.
    pub fn join(&self) -> Result<Exit> {
        let running = self.running("join")?;
        running.join(None);
        running.exit().ok_or_else(|| unknown_end(running))
    }

    /// Waits until it has ended, at most so long, and tells how it ended; `None` if it goes on.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it was not started.
    pub fn join_timeout(&self, timeout: Duration) -> Result<Option<Exit>> {
        let running = self.running("join")?;
        Ok(if running.join(Some(timeout)) {
            Some(running.exit().ok_or_else(|| unknown_end(running))?)
        } else {
            None
        })
    }

    /// Asks it to end, with SIGTERM. It is alive until it does.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it was not started.
    pub fn terminate(&self) -> Result<()> {
        self.running("terminate")?.order(Signal::TERM);
        Ok(())
    }

    /// Kills it and all of its group, with SIGKILL.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it was not started.
    pub fn kill(&self) -> Result<()> {
        self.running("kill")?.kill();
        Ok(())
    }

    /// Whether it was started and has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.running.get().is_some_and(|running| running.is_alive())
    }

    /// How it ended; `None` as long as it has not.
    #[must_use]
    pub fn exit_code(&self) -> Option<Exit> {
        self.running.get().and_then(|running| running.exit())
    }

    /// Its number; `None` before it is started.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.get().map(|running| running.pid)
    }

    /// Its name; empty before it is started, if it was given none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.label()
    }
}

fn unknown_end(running: &Running) -> Error {
    Error::new(
        ErrorKind::Internal,
        "join",
        format!("process {} has ended, and the system does not tell how", running.name),
    )
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.label())
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

/// What this process is, if it was started by [`Process`] or a pool, or began with [`main`](crate::main).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Current {
    /// `MainProcess`, unless it was given another name.
    pub name: String,
    /// Its number.
    pub pid: u32,
    /// The number of the process that started it, where that is one of this program.
    pub parent: Option<u32>,
    /// Whether it is a daemon.
    pub daemon: bool,
}

/// What this process is.
///
/// # Errors
/// When the program does not begin with [`main`](crate::main).
pub fn current_process() -> Result<Current> {
    let here = here()?;
    Ok(Current { name: here.name.clone(), pid: std::process::id(), parent: here.parent, daemon: here.daemon })
}

/// The processes that this one started with [`Process`] and that live: pid and name.
#[must_use]
pub fn active_children() -> Vec<(u32, String)> {
    let Ok(home) = home() else { return Vec::new() };
    home.alive().iter().map(|process| (process.pid, process.name.clone())).collect()
}

/// A process that was started, as it is seen from all threads.
#[derive(Debug)]
pub(crate) struct Running {
    pid: u32,
    name: String,
    daemon: bool,
    /// Signals that are to be sent to it, by the thread that knows that its number is its own.
    orders: Mutex<Vec<Signal>>,
    wake: tokio::sync::Notify,
    /// Once it has ended; the inner one where that is known.
    exit: Mutex<Option<Option<Exit>>>,
    ended: Condvar,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Option<Option<Exit>>> {
        self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, signal: Signal) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(signal);
        self.wake.notify_one();
    }

    pub(crate) fn kill(&self) {
        self.order(Signal::KILL);
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.lock().is_none()
    }

    pub(crate) fn is_daemon(&self) -> bool {
        self.daemon
    }

    fn exit(&self) -> Option<Exit> {
        self.lock().flatten()
    }

    /// Waits for its end; false after this time.
    pub(crate) fn join(&self, within: Option<Duration>) -> bool {
        let deadline = within.and_then(|within| Instant::now().checked_add(within));
        let mut exit = self.lock();
        while exit.is_none() {
            exit = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return false,
                Some(left) => self.ended.wait_timeout(exit, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.ended.wait(exit).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }
}

/// Watches a process until it has ended, so that it is no zombie for longer than that.
async fn attend(process: processes::Process, running: Arc<Running>) {
    loop {
        tokio::select! {
            biased;
            () = process.ended() => break,
            () = running.wake.notified() => {
                let orders = std::mem::take(&mut *running.orders.lock().unwrap_or_else(PoisonError::into_inner));
                for signal in orders {
                    if signal == Signal::KILL {
                        process.kill();
                    } else {
                        process.signal(signal);
                    }
                }
            }
        }
    }
    let exit = process.reap().await;
    *running.lock() = Some(exit.ok());
    running.ended.notify_all();
}
