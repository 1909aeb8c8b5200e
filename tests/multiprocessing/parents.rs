//! Processes that start others, and return or are killed.

use std::{io::Write, path::PathBuf};

use manyhands::multiprocessing::{Pool, Process};

use crate::functions::{describe, pid, wait_for};

/// The folder that a parent and its test have in common.
pub(crate) const FOLDER: &str = "MANYHANDS_TEST_FOLDER";

/// Plays a role.
pub(crate) fn run(role: &str) -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    match role {
        // A daemon that would never end, and a process that ends later than this one.
        "returns" => {
            let daemon = Process::new(wait_for, (1, Some(folder.join("never"))))?.daemon(true);
            daemon.start()?;
            let process = Process::new(describe, (folder.join("described"),))?.named("late");
            process.start()?;
            say(&[daemon.pid().unwrap()])
        }
        // Both kinds, and a pool at work: it waits until it is killed.
        "is killed" => {
            let never = folder.join("never");
            let daemon = Process::new(wait_for, (1, Some(never.clone())))?.daemon(true);
            let process = Process::new(wait_for, (2, Some(never.clone())))?;
            daemon.start()?;
            process.start()?;
            let pool = Pool::new(2)?;
            // Both are there before anything runs that does not end.
            let mut pids = Vec::new();
            while pids.len() < 2 {
                pids = pool.imap_unordered(pid, 0..1000).collect::<Result<_, _>>()?;
                pids.sort_unstable();
                pids.dedup();
            }
            let _results: Vec<_> =
                (0..100).map(|n| pool.apply_async(wait_for, (n, Some(never.clone())))).collect();
            pids.extend([daemon.pid().unwrap(), process.pid().unwrap()]);
            say(&pids)?;
            Ok(process.join().map(|_| ())?)
        }
        other => Err(format!("there is no role {other:?}").into()),
    }
}

/// Tells pids to the test, as a line.
fn say(pids: &[u32]) -> Result<(), Box<dyn std::error::Error>> {
    let pids: Vec<_> = pids.iter().map(ToString::to_string).collect();
    writeln!(std::io::stdout(), "{}", pids.join(" "))?;
    Ok(())
}
