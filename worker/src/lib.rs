//! The worker runtime of manyhands: claim, run, settle.
//!
//! A worker takes tasks into free slots only, runs a handler for each, and settles them in batches. Leases are
//! renewed from a thread of their own; what a process held when it dies is run by another.
//!
//! ```
//! use manyhands_worker::{App, Context, Task, TaskError, Worker};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Count { text: String }
//! impl Task for Count { const NAME: &'static str = "count"; type Output = usize; }
//!
//! async fn count(task: Count, _ctx: Context) -> Result<usize, TaskError> {
//!     Ok(task.text.chars().count())
//! }
//!
//! # async fn example() -> manyhands_broker::Result<()> {
//! let broker = manyhands_broker::connect(&"memory:".parse()?).await?;
//! let worker = Worker::builder(broker).app(App::new().handle(count)).build()?;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
//! ```
//!
//! But for `entry` (feature `cli`), which is the main function of worker programs, this crate reads no
//! environment, prints nothing and never ends the process.

mod app;
pub mod autoscale;
pub mod backoff;
mod beats;
mod builder;
#[cfg(feature = "cli")]
mod children;
mod claims;
mod context;
#[cfg(feature = "cli")]
pub mod entry;
pub mod function;
mod handler;
mod leases;
mod observer;
mod presence;
#[cfg(feature = "cli")]
pub mod processes;
mod run_time;
mod runner;
mod settler;
mod shutdown;
mod slots;
#[cfg(feature = "cli")]
mod supervisor;
mod task_error;
mod turns;
mod watchdog;
mod worker;

pub use app::App;
pub use builder::WorkerBuilder;
pub use context::Context;
#[cfg(feature = "cli")]
pub use entry::main;
pub use manyhands_broker::Task;
pub use observer::{Ending, Observer, Running};
pub use shutdown::Shutdown;
pub use task_error::TaskError;
pub use worker::{Summary, Worker};
