//! How much memory a child has.

use std::{
    fs,
    time::{Duration, Instant},
};

/// How often it is looked at while a task runs that may have only so much.
const EVERY: Duration = Duration::from_millis(100);

/// How deep what a child started is followed.
const DEEPEST: u32 = 8;

/// The resident memory of a process and of what it started, in bytes; 0 where the system does not tell. What shares memory is counted
/// once for each.
pub(super) fn resident(pid: u32) -> u64 {
    with_children(pid, DEEPEST)
}

fn with_children(pid: u32, deeper: u32) -> u64 {
    let own = own(pid);
    if deeper == 0 {
        return own;
    }
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let started = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids: Vec<u32> = started
        .flat_map(|pids| pids.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    pids.into_iter().map(|pid| with_children(pid, deeper - 1)).fold(own, u64::saturating_add)
}

fn own(pid: u32) -> u64 {
    let pages = || -> Option<u64> {
        fs::read_to_string(format!("/proc/{pid}/statm")).ok()?.split(' ').nth(1)?.parse().ok()
    };
    pages().unwrap_or(0).saturating_mul(rustix::param::page_size() as u64)
}

/// Completes when a process has more than so much, with how much that is; never where there is no limit. `looked` is when it was looked
/// at last, as far as whoever waits remembers.
///
/// # Cancel safety
/// Cancel safe.
pub(super) async fn exceeded(pid: u32, limit: Option<u64>, looked: &mut Instant) -> u64 {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        tokio::time::sleep(EVERY.saturating_sub(looked.elapsed())).await;
        *looked = Instant::now();
        let has = resident(pid);
        if has > limit {
            return has;
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_started_counts() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let (of_child, of_both) = (resident(child.id()), resident(std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(of_both > of_child, "{of_child} {of_both}");
        assert_eq!(resident(child.id()), 0, "it is gone");
    }
}
