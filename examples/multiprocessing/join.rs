//! Three processes that take 0.1, 0.2 and 0.3 s: waited for together they take as long as the longest, one by one as long as all.
//!
//! ```sh
//! cargo run --example process_join
//! ```

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it is a program, and shows what happens"
)]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use manyhands::multiprocessing::{self, Process};

const MILLIS: [u64; 3] = [100, 200, 300];

fn wait(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

fn processes() -> Result<Vec<Process>, manyhands::Error> {
    MILLIS.iter().map(|millis| Process::new(wait, (*millis,))).collect()
}

fn run() -> Result<(), manyhands::Error> {
    let began = Instant::now();
    let together = processes()?;
    for process in &together {
        process.start()?;
    }
    for process in &together {
        process.join()?;
    }
    let together = began.elapsed();
    println!("together: {} ms", together.as_millis());

    let began = Instant::now();
    for process in processes()? {
        process.start()?;
        process.join()?;
    }
    let one_by_one = began.elapsed();
    println!("one by one: {} ms", one_by_one.as_millis());

    // Waiting can be given up; the process goes on.
    let long = Process::new(wait, (60_000,))?;
    long.start()?;
    let ended = long.join_timeout(Duration::from_millis(50))?;
    println!("after 50 ms: {ended:?}, alive: {}", long.is_alive());
    long.kill()?;
    println!("killed: {}", long.join()?);
    Ok(())
}

fn main() -> ExitCode {
    multiprocessing::main(|app| app.function(wait), run)
}
