//! As with the executors of `concurrent.futures`: twenty calls are submitted, five processes serve all of them.
//!
//! ```sh
//! cargo run --example pool_submit
//! ```

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it is a program, and shows what happens"
)]

use std::{
    collections::BTreeSet,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use manyhands::multiprocessing::{self, CallError, Pool};

/// Takes a moment, so that all processes have something to do.
fn work(n: u64) -> (u64, u32) {
    std::thread::sleep(Duration::from_millis(20));
    (n * n, std::process::id())
}

fn run() -> Result<(), CallError> {
    let pool = Pool::new(5)?;
    let sum = Arc::new(AtomicU64::new(0));
    let futures: Vec<_> = (0..20)
        .map(|n| {
            let sum = Arc::clone(&sum);
            pool.submit(work, (n,)).add_done_callback(move |done| {
                if let Ok((square, _)) = done {
                    sum.fetch_add(*square, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let results = futures.into_iter().map(|future| future.result()).collect::<Result<Vec<_>, _>>()?;
    let pids: BTreeSet<_> = results.iter().map(|(_, pid)| pid).collect();
    pool.shutdown();
    println!(
        "{} results by {} processes; the callbacks' sum is {}",
        results.len(),
        pids.len(),
        sum.load(Ordering::SeqCst)
    );
    Ok(())
}

fn main() -> ExitCode {
    multiprocessing::main(|app| app.function(work), run)
}
