//! `local:` — a durable queue in a directory, shared by many processes of one box, without a server.
//!
//! SQLite in WAL mode keeps the tasks. Around it stand the things that SQLite does not do:
//!
//! * [`turn`]: processes take turns at writing, so that nobody starves in SQLite's own busy handler.
//! * [`writer`]: one thread a process commits; what piles up meanwhile forms the next group.
//! * [`direct`]: a worker that has nothing to do commits its claims itself.
//! * [`log`]: what must survive a power cut is synced outside the turn.
//! * [`liveness`]: a lock on a file a process start, which the kernel drops when the process dies.
//! * [`wakeup`]: inotify tells of both commits and deaths; polling alone would do, later.
//!
//! `docs/local-store.md` describes the files and what each may lose.

mod broker;
mod clock;
mod config;
mod database;
mod direct;
mod doctor;
mod durability;
mod error;
mod file_system;
mod fsck;
mod keys;
mod liveness;
mod log;
mod lookup;
mod prepared;
mod session;
mod statements;
mod steps;
mod transaction;
mod turn;
mod wakeup;
mod workers;
mod writer;

pub use config::LocalConfig;
pub use session::LocalBroker;
