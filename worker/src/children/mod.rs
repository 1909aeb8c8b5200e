//! Handlers in processes of their own.
//!
//! A *child* is a process that a worker starts to run handlers: one for each task ([`Command`]), or *warm*, one task after the
//! other ([`Pool`]). Each is the leader of a process group of its own, which is killed as a whole. Who makes sure that none
//! outlives its worker, however that ends:
//!
//! * A child is started by way of the worker's own program ([`stage`]), which asks the kernel for SIGKILL at the death of its
//!   parent, waits until the guard knows of it, and only then becomes the handler's program.
//! * The *guard* ([`guard`]) is a process that waits for the end of the worker and kills the groups that are left: the kernel's
//!   signal goes to the child alone, not to what it started.
//! * All children are started by one thread ([`spawner`]), as the kernel's signal is sent when the thread ends that started them.
//!
//! A process that leaves its group (`setsid`) escapes all of this.

mod command;
mod guard;
mod lines;
mod log;
mod orphans;
mod pool;
mod process;
mod protocol;
mod spawner;
mod stage;
mod template;
mod warm;

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{ExitCode, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use manyhands_broker::TaskName;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::orphans::adopt;
use self::pool::Keeper;
pub(crate) use self::{
    command::Command,
    pool::Pool,
    process::Process,
    spawner::{Plan, Socket, Spawner},
    template::Template,
};

/// The first argument of our own program where it is started as something else than a worker.
const FLAG: &str = "--manyhands-child";

/// The second one for the guard.
const GUARD: &str = "guard";

/// The second one for what becomes a handler's program.
const STAGE: &str = "stage";

/// The variable that names the supervisor of a worker, by its pid. It is for that worker alone.
pub(crate) const SUPERVISOR: &str = "MANYHANDS_SUPERVISOR";

/// How long warm children get to end by themselves when the worker ends.
const GOODBYE: Duration = Duration::from_secs(2);

/// What all children of one handler have in common.
#[derive(Clone, Debug)]
pub(crate) struct Outfit {
    /// Where they run; empty for where the worker does.
    pub(crate) folder: PathBuf,
    /// How long they may run for one task.
    pub(crate) limit: Option<Duration>,
    /// How many tasks one that is kept warm is given before another takes its place.
    pub(crate) most_tasks: Option<u32>,
    /// The name of the tasks.
    pub(crate) name: TaskName,
}

/// All children of a worker.
#[derive(Clone, Debug)]
pub(crate) struct Children {
    spawner: Spawner,
    /// Ends the warm ones.
    ending: CancellationToken,
    /// Of the warm ones that are to be started.
    keepers: Arc<Mutex<Vec<Keeper>>>,
    kept: TaskTracker,
}

impl Children {
    /// There are none yet.
    pub(crate) fn new() -> Self {
        Self {
            spawner: Spawner::new(),
            ending: CancellationToken::new(),
            keepers: Arc::default(),
            kept: TaskTracker::new(),
        }
    }

    fn add(&self, keeper: Keeper) {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner).push(keeper);
    }

    /// Starts the warm ones. To be called inside a runtime.
    pub(crate) fn begin(&self) {
        for keeper in self.keepers.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.kept.spawn(keeper.keep());
        }
    }

    /// Ends those that are left, when nothing runs any more.
    pub(crate) async fn end(&self) {
        self.ending.cancel();
        self.kept.close();
        // A child that cannot even be killed must not hold the worker: the guard stays with it.
        let _ = tokio::time::timeout(2 * GOODBYE, self.kept.wait()).await;
    }
}

/// Does what this process was started for, if it is no worker but was started by one.
pub(crate) fn begin(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if args.nth(1)? != FLAG {
        return None;
    }
    let role = args.next()?;
    if role == GUARD {
        return Some(guard::stand());
    }
    (role == STAGE).then(|| stage::enter(args))
}

/// How a child ended, for people.
pub(crate) fn describe(status: ExitStatus) -> String {
    command::describe(status)
}

/// Our own program, also where its file was replaced since.
fn own_program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}
