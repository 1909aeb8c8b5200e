//! Calls in a pool of three processes: one at a time, several at a time, and what becomes of them when the pool is closed or
//! terminated.
//!
//! ```sh
//! cargo run --example pool_apply
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

use manyhands::multiprocessing::{self, CallError, Pool};

fn cook(dish: String) -> String {
    std::thread::sleep(Duration::from_millis(200));
    format!("{dish}, cooked")
}

fn run() -> Result<(), CallError> {
    let pool = Pool::new(3)?;
    println!("{}", pool.apply(cook, ("soup".to_owned(),))?);

    // The fourth waits until one of the others is done.
    let began = Instant::now();
    let dishes = ["rice", "fish", "beans", "cake"];
    let under_way: Vec<_> = dishes.iter().map(|dish| pool.apply_async(cook, ((*dish).to_owned(),))).collect();
    for result in under_way {
        println!("{}", result.get()?);
    }
    println!("four dishes by three cooks: {} rounds", began.elapsed().as_millis() / 200);

    let last = pool.apply_async(cook, ("tea".to_owned(),));
    pool.close();
    let refused = pool.apply(cook, ("more".to_owned(),)).map_err(|error| error.to_string());
    println!("after close: {refused:?}");
    pool.join()?;
    println!("{}", last.get()?);

    let pool = Pool::new(3)?;
    let never = pool.apply_async(cook, ("stew".to_owned(),));
    pool.terminate();
    println!("after terminate: {}", never.get().unwrap_or_else(|error| error.to_string()));
    Ok(())
}

fn main() -> ExitCode {
    multiprocessing::main(|app| app.function(cook), run)
}
