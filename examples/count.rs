//! A worker of your own: counts the words of files.
//!
//! ```text
//! cargo run --example count                                        # a worker, until Ctrl-C
//! cargo run -- send count '{"path": "README.md"}'                  # elsewhere: a task for it
//! ```

#![allow(clippy::print_stdout, reason = "what this worker is for")]

use std::process::ExitCode;

use manyhands::{App, Context, Task, TaskError};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Count {
    path: String,
}

impl Task for Count {
    const NAME: &'static str = "count";
    type Output = usize;
}

fn count(task: Count, _ctx: &Context) -> Result<usize, TaskError> {
    if task.path.is_empty() {
        return Err(TaskError::bury("no path given")); // no retry will help
    }
    let text = std::fs::read_to_string(&task.path)?; // `?` retries, later each time
    let words = text.split_whitespace().count();
    println!("{}: {words} words", task.path);
    Ok(words)
}

fn main() -> ExitCode {
    manyhands::main(|app: App| app.handle_blocking(count))
}
