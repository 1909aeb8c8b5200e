//! A pool of processes: a function over many numbers, in order, though a process is killed in the middle.
//!
//! ```sh
//! cargo run --release --example pool_map
//! ```
//!
//! Prints the pids of the two processes, none of which is this one's own, kills one of them when a third of the results is there, and
//! checks that all results come, in order.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it is a program, and shows what happens"
)]

use std::{collections::BTreeSet, process::ExitCode, time::Duration};

use manyhands::multiprocessing::{self, Pool};

const NUMBERS: u64 = 100_000;

fn square(n: u64) -> u64 {
    n * n
}

/// Waits a little, so that the other process has a turn, too.
fn pid_of(_turn: u32) -> u32 {
    std::thread::sleep(Duration::from_millis(5));
    std::process::id()
}

fn run() -> anyhow::Result<()> {
    let pool = Pool::new(2)?;
    let pids = two_pids(&pool)?;
    println!("this is process {}; the pool has {pids:?}", std::process::id());
    anyhow::ensure!(!pids.contains(&std::process::id()), "a process of the pool is this one");

    let mut sum = 0;
    for (n, result) in pool.imap(square, 0..NUMBERS).enumerate() {
        let (n, result) = (n as u64, result?);
        anyhow::ensure!(result == n * n, "result {n} is {result}");
        sum += result;
        if n == NUMBERS / 3 {
            let victim = pids[0].to_string();
            anyhow::ensure!(std::process::Command::new("kill").args(["-KILL", &victim]).status()?.success());
            println!("killed {victim} after {n} results");
        }
    }
    let expected = (0..NUMBERS).map(|n| n * n).sum::<u64>();
    anyhow::ensure!(sum == expected, "the sum is {sum}, not {expected}");
    let after = two_pids(&pool)?;
    println!("{NUMBERS} results, complete and in order; the pool has {after:?} now");

    pool.close();
    pool.join()?;
    Ok(())
}

/// Asks until both processes have answered.
fn two_pids(pool: &Pool) -> anyhow::Result<Vec<u32>> {
    for _ in 0..100 {
        let pids: BTreeSet<u32> = pool.imap_unordered(pid_of, 0..8).collect::<Result<_, _>>()?;
        if pids.len() == 2 {
            return Ok(pids.into_iter().collect());
        }
    }
    anyhow::bail!("one process did everything")
}

fn main() -> ExitCode {
    multiprocessing::main(|app| app.function(square).function(pid_of), run)
}
