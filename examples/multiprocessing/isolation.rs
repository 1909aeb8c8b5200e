//! Processes share nothing: what one changes stays as it was in the others, and one that dies takes nobody with it.
//!
//! ```sh
//! cargo run --example process_isolation
//! ```

#![allow(clippy::print_stdout, reason = "it is a program, and shows what happens")]

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use manyhands::multiprocessing::{self, Process};

static MONEY: AtomicU64 = AtomicU64::new(100);

fn spend() {
    MONEY.store(0, Ordering::SeqCst);
    println!("in the process: {}", MONEY.load(Ordering::SeqCst));
}

fn abort() {
    std::process::abort();
}

fn run() -> Result<(), manyhands::Error> {
    let process = Process::new(spend, ())?;
    process.start()?;
    process.join()?;
    println!("here: {}", MONEY.load(Ordering::SeqCst));

    let process = Process::new(abort, ())?;
    process.start()?;
    println!("one ended so: {}; this one goes on", process.join()?);
    Ok(())
}

fn main() -> ExitCode {
    multiprocessing::main(|app| app.function(spend).function(abort), run)
}
