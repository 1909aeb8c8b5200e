//! What Python programmers know as `multiprocessing`: processes, and pools of processes that call functions.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use manyhands_multiprocessing::{CallError, Pool};
//!
//! fn square(n: u64) -> u64 {
//!     n * n
//! }
//!
//! fn run() -> Result<(), CallError> {
//!     let pool = Pool::new(2)?;                                  // two processes of this box
//!     for result in pool.imap(square, 0..100_000) {              // in order; as much is under way as keeps them busy
//!         println!("{}", result?);
//!     }
//!     Ok(())
//! }
//!
//! fn main() -> ExitCode {
//!     manyhands_multiprocessing::main(|app| app.function(square), run)
//! }
//! ```
//!
//! A process is this program, started again, which is why the program begins with [`main()`]: functions are known by their paths there,
//! and arguments and results pass as JSON. All calls of this crate block, and may be made from any thread, with or without an async runtime; the
//! result of a call under way can be awaited as well.
//!
//! But for [`main()`], this crate prints nothing and never ends the process.

mod entry;
mod error;
mod home;
mod pool;
mod process;
mod serve;
mod wire;

pub use entry::main;
pub use error::CallError;
pub use manyhands_worker::{
    App,
    function::{Function, Run},
    processes::Exit,
};
pub use pool::{AsyncResult, OnCrash, Pool, PoolBuilder, Results};
pub use process::{Current, Process, active_children, current_process};
