//! A daemon ends with the process that started it, also if that is killed; and it may not have processes of its own.
//!
//! ```sh
//! cargo run --example process_daemon
//! ```
//!
//! Prints the daemon's pid, and waits to be killed when it is given the argument `wait`: then the daemon is gone a moment later.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it is a program, and shows what happens"
)]

use std::{process::ExitCode, time::Duration};

use manyhands::multiprocessing::{self, Process};

fn work_for_ever() {
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

fn start_another() {
    let started = Process::new(work_for_ever, ()).and_then(|process| process.start());
    println!("a daemon starts a process: {}", started.expect_err("a daemon may not"));
}

fn run() -> Result<(), manyhands::Error> {
    let parent = Process::new(start_another, ())?.daemon(true);
    parent.start()?;
    parent.join()?;

    let daemon = Process::new(work_for_ever, ())?.named("background").daemon(true);
    daemon.start()?;
    println!("daemon {} is {}", daemon.name(), daemon.pid().unwrap_or_default());
    if std::env::args().nth(1).as_deref() == Some("wait") {
        work_for_ever();
    }
    // It would run for ever; this ends, and so does it.
    Ok(())
}

fn main() -> ExitCode {
    multiprocessing::main(|app| app.function(work_for_ever).function(start_another), run)
}
