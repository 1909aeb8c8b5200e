//! The ways to get many results: all at once, in order as they come, as they come, and by callbacks.
//!
//! ```sh
//! cargo run --example pool_results
//! ```

#![allow(clippy::print_stdout, reason = "it is a program, and shows what happens")]

use std::{process::ExitCode, sync::mpsc};

use manyhands::multiprocessing::{self, CallError, Pool};

fn cube(n: i64) -> i64 {
    assert!(n != 13, "13 is unlucky");
    n * n * n
}

fn power(base: i64, exponent: u32) -> i64 {
    base.pow(exponent)
}

fn run() -> Result<(), CallError> {
    let pool = Pool::new(2)?;
    println!("map: {:?}", pool.map(cube, 0..6)?);
    println!("starmap: {:?}", pool.starmap(power, [(2, 3), (2, 10), (3, 3)])?);

    // One error fails a map, and only its own call of an imap.
    println!("map of 12 to 14: {}", pool.map(cube, 12..15).expect_err("one panics"));
    for result in pool.imap(cube, 12..15) {
        println!("imap: {}", result.map_or_else(|error| error.to_string(), |n| n.to_string()));
    }

    // An endless source: no more is taken from it than keeps the processes busy.
    let large = pool.imap_chunked(cube, 14.., 100).find(|n| matches!(n, Ok(n) if *n > 1_000_000_000));
    println!("the first above a milliard: {:?}", large.transpose()?);

    let mut all: Vec<_> = pool.imap_unordered(cube, 0..6).collect::<Result<_, _>>()?;
    all.sort_unstable();
    println!("imap_unordered, sorted: {all:?}");

    let (sender, heard) = mpsc::channel();
    let errors = sender.clone();
    for n in [3, 13] {
        let (sender, errors) = (sender.clone(), errors.clone());
        pool.apply_async(cube, (n,))
            .callback(move |n| sender.send(format!("result {n}")).unwrap_or_default())
            .error_callback(move |error| errors.send(format!("error: {error}")).unwrap_or_default())
            .get()
            .ok();
    }
    drop((sender, errors));
    for line in heard {
        println!("callback: {line}");
    }
    Ok(())
}

fn main() -> ExitCode {
    multiprocessing::main(|app| app.function(cube).function(power), run)
}
