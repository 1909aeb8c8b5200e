//! Processes whose own parent died before them, and which are this process's to wait for: those of whoever is the first process of a
//! container, or asked for them.

use std::io;

/// Asks the kernel to give this process, instead of the first one of all, what its children start and leave behind.
#[cfg(target_os = "linux")]
pub(crate) fn adopt() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Elsewhere they go to the first process of all, which waits for them.
#[cfg(not(target_os = "linux"))]
pub(crate) fn adopt() -> io::Result<()> {
    Ok(())
}

/// Waits for all children that have ended, but for those that somebody else waits for. To be called by the only thread that starts
/// processes: nobody else's status is taken then.
#[cfg(target_os = "linux")]
pub(super) fn reap(awaited: impl Fn(u32) -> bool) {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    for pid in children().into_iter().filter(|pid| !awaited(*pid)) {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
        // Most of them live.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn reap(_awaited: impl Fn(u32) -> bool) {}

/// The pids of all children, those that have ended among them: the kernel lists them by the thread that they belong to.
#[cfg(target_os = "linux")]
fn children() -> Vec<u32> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}
