//! Many hands make light work: a task queue for one box or many.
//!
//! *Producers* put tasks on *queues*, *workers* take them off; they are separate processes and meet at a *broker*, which a
//! URL names.
//!
//! ```
//! use std::process::ExitCode;
//!
//! use manyhands::{App, Context, Task, TaskError};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Fetch { url: String }
//! impl Task for Fetch { const NAME: &'static str = "fetch"; type Output = usize; }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Parse { html: String }
//! impl Task for Parse { const NAME: &'static str = "parse"; type Output = usize; }
//!
//! # async fn get(_url: &str) -> Result<String, std::io::Error> { Ok(String::new()) }
//! async fn fetch(task: Fetch, ctx: Context) -> Result<usize, TaskError> {
//!     let html = get(&task.url).await?;                  // `?` retries with back-off
//!     if html.is_empty() {
//!         return Err(TaskError::bury("empty page"));     // no retry will help
//!     }
//!     ctx.then(Parse { html })?;                         // enqueued with the settlement
//!     Ok(1)
//! }
//!
//! fn parse(task: Parse, _ctx: &Context) -> Result<usize, TaskError> {
//!     Ok(task.html.matches("<li").count())               // computing: runs on a thread
//! }
//!
//! fn main() -> ExitCode {
//!     # if true { return ExitCode::SUCCESS; }
//!     manyhands::main(|app: App| app.handle(fetch).handle_blocking(parse))
//! }
//! ```

pub use manyhands_broker::{
    Ahead, BatchName, BatchStatus, Broker, BrokerExt, BrokerUrl, Cancel, Capabilities, Check, DeadLetters,
    DeadTask, Doctor, Enqueued, Error, ErrorKind, Failure, Finding, Fsck, Hold, Holder, Incarnation,
    Interest, LastClaim, LimitKey, LiveWorker, Lookup, Mark, NewTask, Order, Outcome, Pause, Payload,
    QueueName, QueueOptions, QueueStatus, Report, Request, Result, Revived, RunningTask, Standing, Start,
    State, Task, TaskDetail, TaskId, TaskInfo, TaskName, TaskPage, Token, Unique, UniqueKey, Verdict, Wanted,
    Why, WorkerReport, Workers, capabilities, connect, connect_to_examine,
};
/// Processes and pools, under the names that Python has for them.
#[cfg(feature = "multiprocessing")]
pub use manyhands_multiprocessing as multiprocessing;
pub use manyhands_producer::Client;
#[cfg(feature = "cli")]
pub use manyhands_worker::main;
pub use manyhands_worker::{App, Context, Ending, Observer, Running, Shutdown, TaskError, Worker};
