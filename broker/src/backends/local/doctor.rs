//! What a directory is on, and what it survives.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;

use super::{LocalBroker, LocalConfig, durability, error, file_system};
use crate::{Check, Doctor, Durability, Error, ErrorKind, Result};

/// Less free than this, in bytes: the next calls may find no room.
const NEARLY_FULL: u64 = 64 << 20;

/// Less free than this, in bytes.
const SCARCE: u64 = 1 << 30;

/// How far a file may be ahead of the clock.
const AHEAD: Duration = Duration::from_secs(60);

#[async_trait]
impl Doctor for LocalBroker {
    async fn examine(&self) -> Result<Vec<Check>> {
        let config = self.config.clone();
        let examined = tokio::task::spawn_blocking(move || {
            Ok(vec![survives(&config)?, place(&config.dir)?, disk(&config.dir)?, clock(&config)?])
        });
        let ended =
            |e| Error::new(ErrorKind::Internal, "doctor", "looking at the directory ended").because(e);
        examined.await.map_err(ended)?
    }
}

fn survives(config: &LocalConfig) -> Result<Check> {
    Ok(match durability::settle(config)? {
        Durability::Power => Check::ok("durability", "power: what was answered survives a power cut"),
        Durability::Process => {
            let found =
                "process: what was answered survives killed processes; a power cut may take the last of it";
            Check::ok("durability", found)
        }
    })
}

fn place(dir: &Path) -> Result<Check> {
    const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];
    let kind = file_system::kind(dir)?;
    let found = format!("{} is on {kind}", dir.display());
    Ok(if IN_MEMORY.contains(&kind.as_str()) {
        let found = format!("{found}: tasks are gone when this box is started again");
        Check::bad("file system", found, "a directory on a disk: --broker local:/path")
    } else {
        Check::ok("file system", found)
    })
}

fn disk(dir: &Path) -> Result<Check> {
    let stat = rustix::fs::statvfs(dir).map_err(|e| error::file("doctor", dir, e.into()))?;
    let (free, all) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
    let found = format!("{} MiB of {} MiB are free", free >> 20, all >> 20);
    let advice = "make room: a full disk refuses what is sent";
    Ok(match free {
        free if free < NEARLY_FULL => Check::bad("disk", found, advice),
        free if free < SCARCE => Check::warn("disk", found, advice),
        _ => Check::ok("disk", found),
    })
}

/// A clock that was put back lets what is put off wait for longer.
fn clock(config: &LocalConfig) -> Result<Check> {
    let path = config.database();
    let changed =
        fs::metadata(&path).and_then(|data| data.modified()).map_err(|e| error::file("doctor", &path, e))?;
    Ok(match changed.duration_since(SystemTime::now()) {
        Ok(ahead) if ahead > AHEAD => {
            let found = format!(
                "{} was changed {} s after now: the clock was put back",
                path.display(),
                ahead.as_secs()
            );
            Check::warn("clock", found, "set the clock, by NTP best: tasks that are put off start by it")
        }
        _ => Check::ok("clock", "not before the last change of the store"),
    })
}
