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
mod exit;
mod failures;
mod guard;
mod keeper;
mod limits;
mod lines;
mod log;
mod memory;
mod orphans;
mod outbox;
mod own;
mod pool;
mod process;
mod protocol;
mod room;
mod serving;
mod spawner;
mod stage;
mod template;
mod verdict;
mod warm;

use std::{
    ffi::OsString,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use manyhands_broker::TaskName;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::{
    command::Command,
    limits::Limits,
    orphans::adopt,
    pool::Pool,
    protocol::Routes,
    spawner::{Plan, Start},
    template::Template,
};
pub use self::{
    exit::Exit,
    own::Own,
    process::Process,
    spawner::{Socket, Spawner},
};
use self::{
    keeper::{GOODBYE, Keeper},
    stage::Stage,
};

/// The first argument of our own program where it is started as something else than a worker.
const FLAG: &str = "--manyhands-child";

/// The second one for the guard.
const GUARD: &str = "guard";

/// The second one for what becomes a handler's program.
const STAGE: &str = "stage";

/// The variable that names the supervisor of a worker, by its pid. It is for that worker alone.
pub(crate) const SUPERVISOR: &str = "MANYHANDS_SUPERVISOR";

/// What all children of one handler have in common.
#[derive(Clone, Debug)]
pub(crate) struct Outfit {
    /// Where they run; empty for where the worker does.
    pub(crate) folder: PathBuf,
    /// How long they may run for one task.
    pub(crate) limit: Option<Duration>,
    /// What they may use.
    pub(crate) limits: Limits,
    /// How many tasks one that is kept warm is given before another takes its place.
    pub(crate) most_tasks: Option<u32>,
    /// How old it becomes before that.
    pub(crate) most_age: Option<Duration>,
    /// How much resident memory it has after a task before that, in bytes.
    pub(crate) most_memory: Option<u64>,
    /// Where the tasks go that it hands on.
    pub(crate) routes: Routes,
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
    /// There are none yet. `args` are those of our own program, for children that run its handlers.
    pub(crate) fn new(args: Vec<OsString>) -> Self {
        Self {
            spawner: Spawner::new(args),
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

/// What a process is that another one of this program started.
#[derive(Debug)]
pub enum Role {
    /// It has done what it was started for.
    Over(ExitCode),
    /// It runs one of our own program's handlers.
    Own(Own),
    /// It does what it is told over its standard input.
    Again,
}

/// Does what this process was started for, if it is no worker but was started by one.
pub(crate) fn begin(mut args: impl Iterator<Item = OsString>) -> Option<Role> {
    let program = args.next()?;
    if args.next()? != FLAG {
        return None;
    }
    let role = args.next()?;
    if role == GUARD {
        return Some(Role::Over(guard::stand()));
    }
    (role == STAGE).then(|| match stage::enter(&mut args) {
        Stage::Over(code) => Role::Over(code),
        Stage::Again => Role::Again,
        Stage::Own(name) => Role::Own(Own::new(name, std::iter::once(program).chain(args).collect())),
    })
}

/// Our own program, also where its file was replaced since.
fn own_program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}
