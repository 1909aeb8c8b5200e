//! The bounds that hold everywhere, in one place.
//!
//! Every one of them ends in a clear error or in back-pressure, never in silence.

use std::{ops::RangeInclusive, time::Duration};

/// The largest payload of one task, in bytes of JSON text: 1 MiB.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

/// The most tasks in one call: 256.
pub const MAX_BATCH: usize = 256;

/// The most payload bytes in one call, children included: 4 MiB.
pub const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// The longest error text kept with a task, in bytes. A longer one is cut.
pub const MAX_ERROR: usize = 4096;

/// How many failures of a task are kept with it; the oldest go first.
pub const MAX_HISTORY: usize = 10;

/// The longest text of a failure in a task's history, in bytes. A longer one is cut.
pub const MAX_HISTORY_ERROR: usize = 256;

/// The longest text that says who paused a queue, in bytes.
pub const MAX_BY: usize = 256;

/// For how long it is known what a worker told of itself: 30 s. It tells anew every two seconds.
pub const WORKER_SILENT: Duration = Duration::from_secs(30);

/// How many of its queues, handlers and running tasks a worker tells of: the first hundred of each.
pub const MAX_TOLD: usize = 100;

/// The most that a worker tells of itself at a time, in bytes of JSON text: 128 KiB.
pub const MAX_REPORT: usize = 128 * 1024;

/// The longest progress that a handler tells, in bytes of JSON text: 4 KiB.
pub const MAX_PROGRESS: usize = 4096;

/// Of how many enqueue calls of an incarnation the answers are kept.
pub const MAX_CALLS: usize = 64;

/// For how long a call that enqueues is made again while the broker cannot be reached, unless the user says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long the answer of an enqueue call is kept: ten minutes.
pub const KEEP_CALLS: Duration = Duration::from_secs(600);

/// How long it is known how a batch ended: an hour.
pub const KEEP_BATCH: Duration = Duration::from_secs(3600);

/// Batches of one namespace of which it is known how they ended; the ones that are forgotten first go first.
pub const MAX_BATCHES: u64 = 10_000;

/// The most tasks of one key that a queue's limit can let run: 2^31 - 1.
pub const MAX_KEY_LIMIT: u32 = i32::MAX as u32;

/// The longest time between two tasks of one key that a queue can ask for: a day.
pub const MAX_KEY_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// Tasks of one queue that are not settled, unless the queue says otherwise.
pub const CAPACITY: u64 = 1_000_000;

/// Dead tasks kept in one queue; the oldest go first.
pub const MAX_DEAD: u64 = 10_000;

/// How long a dead task is kept: 7 days.
pub const KEEP_DEAD: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a result is kept unless the task says otherwise: an hour.
pub const KEEP_RESULT: Duration = Duration::from_secs(3600);

/// Results kept in one queue; the ones that end first go first.
pub const MAX_RESULTS: u64 = 100_000;

/// The priorities: from minus this to plus this, 2^53, exact in JSON.
pub const MAX_PRIORITY: i64 = 1 << 53;

/// The priorities where each is a class with a line of its own.
pub const PRIORITY_CLASSES: RangeInclusive<i64> = 0..=3;

/// Ids remembered in one queue after settlement; the ones that end first go first.
pub const MAX_REMEMBERED: u64 = 1_000_000;

/// Unique keys of one queue that are held after their task was settled; the ones that end first go first.
pub const MAX_SEEN: u64 = 1_000_000;

/// How long an id that the user gave is remembered after its task was settled.
pub const REMEMBER_IDS: Duration = Duration::from_secs(3600);

/// How long a lease lasts unless it is beaten.
pub const LEASE: Duration = Duration::from_secs(30);

/// The shortest lease that a claim may ask for.
pub const MIN_LEASE: Duration = Duration::from_millis(100);

/// The longest lease that a claim may ask for: a day.
pub const MAX_LEASE: Duration = Duration::from_secs(24 * 3600);

/// The longest time for which a task can be put off, or anything be kept: ten years.
pub const MAX_DELAY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The longest time for which a task can be put off where it goes through waiting lines of 1, 2, 4 … s: 2^20 s, twelve days.
pub const MAX_LADDER_DELAY: Duration = Duration::from_secs(1 << 20);

/// How often a handler may fail before its task is dead.
pub const MAX_ATTEMPTS: u32 = 5;

/// How often a process may die while it ran a task alone before the task is dead.
pub const MAX_CRASHES: u32 = 3;

/// How often a task may be handed out and lost before it is dead, where a broker cannot tell what a lost connection was.
pub const MAX_DELIVERIES: u32 = 20;

/// How long a task whose name nobody knows is parked again and again before it is dead.
pub const MAX_PARKED: Duration = Duration::from_secs(3600);

/// How far it is counted how many tasks are ahead of another: 256.
pub const MAX_AHEAD: u64 = 2048;

/// How many due tasks, how many expired leases, and how many keys whose time has come, one claim takes care of.
pub const UPKEEP: usize = 256;
