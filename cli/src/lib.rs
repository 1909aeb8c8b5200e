//! What the programs of manyhands share: flags, the configuration file, logging, the form of errors, exit codes.
//!
//! It is the part that reads the environment, writes to the terminal and chooses exit codes, so that the other libraries do
//! none of that. Programs call it, other libraries do not, but for the `entry` modules of the producer and the worker, which
//! are the code of programs.

mod answer;
mod args;
mod broker;
mod color;
pub mod config;
mod exit;
mod logging;
mod runtime;
pub mod text;

pub use answer::answer;
pub use args::{BrokerArg, LogArgs};
pub use broker::{resolve, session};
pub use color::Color;
pub use exit::{INTERRUPTED, REFUSED, code, note, on_terminal, report, success, usage};
pub use logging::{start as start_logging, start_with_pid as start_logging_with_pid};
pub use runtime::block_on;
