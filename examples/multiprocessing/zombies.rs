//! A thousand short processes, ten at a time, most of which nobody waits for: none is left as a zombie.
//!
//! ```sh
//! cargo run --release --example process_zombies
//! ```

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it is a program, and shows what happens"
)]

use std::{process::ExitCode, time::Duration};

use manyhands::multiprocessing::{self, Process, active_children};

const PROCESSES: usize = 1000;

fn nothing() {}

fn run() -> anyhow::Result<()> {
    for _ in 0..PROCESSES / 10 {
        let some = (0..10).map(|_| Process::new(nothing, ())).collect::<Result<Vec<_>, _>>()?;
        for process in &some {
            process.start()?;
        }
        some[9].join()?;
    }
    while !active_children().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("{PROCESSES} processes have ended, {} zombies are left", zombies()?);
    Ok(())
}

/// Children of this process that have ended and were not waited for.
fn zombies() -> anyhow::Result<usize> {
    let mut zombies = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        for pid in std::fs::read_to_string(thread?.path().join("children"))?.split_whitespace() {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            zombies += usize::from(stat.contains(") Z "));
        }
    }
    Ok(zombies)
}

fn main() -> ExitCode {
    multiprocessing::main(|app| app.function(nothing), run)
}
