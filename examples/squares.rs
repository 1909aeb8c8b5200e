//! Squares, by two processes.
//!
//! ```sh
//! cargo run --example squares
//! ```

#![allow(clippy::print_stdout, reason = "it is a program, and shows what happens")]

use std::process::ExitCode;

use manyhands::multiprocessing::{self, CallError, Pool};

fn square(n: u64) -> u64 {
    n * n
}

fn run() -> Result<(), CallError> {
    let pool = Pool::new(2)?; // or Pool::connect(&url)?
    println!("{:?}", pool.map(square, 0..10)?);
    Ok(())
}

fn main() -> ExitCode {
    multiprocessing::main(|app| app.function(square), run)
}
