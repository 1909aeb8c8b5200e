//! How processes end, and what is told of it.
//!
//! ```sh
//! cargo run --example process_end
//! ```

#![allow(
    clippy::disallowed_methods,
    clippy::exit,
    clippy::panic,
    clippy::print_stdout,
    reason = "it is a program, and shows what happens"
)]

use std::{process::ExitCode, time::Duration};

use manyhands::multiprocessing::{self, Process};

fn work(how: String) {
    match how.as_str() {
        "returns" => {}
        "panics" => panic!("something is wrong"),
        "exits" => std::process::exit(3),
        "aborts" => std::process::abort(),
        _ => loop {
            std::thread::sleep(Duration::from_secs(60));
        },
    }
}

fn run() -> Result<(), manyhands::Error> {
    for how in ["returns", "panics", "exits", "aborts"] {
        let process = Process::new(work, (how.to_owned(),))?;
        process.start()?;
        println!("one that {how}: {}", process.join()?);
    }
    for (name, end) in [("terminate", Process::terminate as fn(&Process) -> _), ("kill", Process::kill)] {
        let process = Process::new(work, ("works for ever".to_owned(),))?;
        process.start()?;
        println!("alive: {}, exit code: {:?}", process.is_alive(), process.exit_code());
        end(&process)?;
        // It takes a moment to end.
        let exit = process.join()?;
        println!("{name}: {exit} ({:?}), alive: {}", exit.signal_name(), process.is_alive());
    }
    Ok(())
}

fn main() -> ExitCode {
    multiprocessing::main(|app| app.function(work), run)
}
