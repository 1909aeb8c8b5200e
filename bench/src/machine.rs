//! What the kernel tells of this machine, and of a process.

use std::{fs, num::NonZeroUsize, time::Duration};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// One line about the machine.
pub(crate) fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    let memory = field(&read("/proc/meminfo"), "MemTotal:").unwrap_or_default() / (1024 * 1024);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cpus} CPUs ({model}), {memory} GiB of memory, Linux {}", kernel.trim())
}

/// How much memory may still be had, in bytes.
pub(crate) fn free_memory() -> Result<u64> {
    let info = fs::read_to_string("/proc/meminfo")?;
    Ok(1024 * field(&info, "MemAvailable:").context("the kernel does not tell how much memory is free")?)
}

/// How busy it was in the last minute.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// How long all threads of a process have run that are there.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    Ok(cpu_times(pid)?.0)
}

/// How long all threads of a process that are there have run, and how long they could have run and waited for a processor.
pub(crate) fn cpu_times(pid: u32) -> Result<(Duration, Duration)> {
    let (mut ran, mut waited) = (0, 0);
    for thread in fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")? {
        // One that ended meanwhile has nothing to tell.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let mut nanos = text.split(' ').map(|nanos| nanos.parse::<u64>().unwrap_or_default());
        ran += nanos.next().unwrap_or_default();
        waited += nanos.next().unwrap_or_default();
    }
    Ok((Duration::from_nanos(ran), Duration::from_nanos(waited)))
}

/// How long this process has run, in nanoseconds, threads that ended included.
pub(crate) fn own_cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let part = |part: i64| u64::try_from(part).unwrap_or_default();
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// How much memory a process had at most, in MiB.
pub(crate) fn resident(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = field(&status, "VmHWM:").context("the kernel does not tell the memory of a process")?;
    Ok(kib as f64 / 1024.0)
}

/// The number behind this name, in what the kernel tells as lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_this_process() {
        let me = std::process::id();
        assert!(resident(me).unwrap() > 0.1);
        assert!(cpu_time(me).unwrap() > Duration::ZERO);
        assert!(own_cpu_nanos() > 0);
        assert!(describe().contains("Linux "));
        assert_eq!(field("A: 1\nVmHWM:\t  12 kB\n", "VmHWM:"), Some(12));
    }
}
