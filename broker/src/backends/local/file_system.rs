//! What kind of file system a directory is on.

use std::path::Path;

use super::error;
use crate::{Error, ErrorKind, Result};

/// Refuses file systems where locks, shared memory or inotify do not reach every process that can see the files.
#[cfg(target_os = "linux")]
pub(super) fn check_file_system(path: &Path) -> Result<()> {
    const REMOTE: [(i64, &str); 6] = [
        (0x6969, "NFS"),
        (0x517B, "SMB"),
        (0xFF53_4D42, "CIFS"),
        (0xFE53_4D42, "SMB 2"),
        (0x6573_5546, "FUSE or virtiofs"),
        (0x0102_1997, "9p"),
    ];
    let magic = magic(path)?;
    match REMOTE.iter().find(|(number, _)| *number == magic) {
        Some((_, name)) => {
            let message = format!("{} is on {name}, where file locks cannot be trusted", path.display());
            Err(Error::new(ErrorKind::Unsupported, "open", message)
                .advise("name a directory on a local disk"))
        }
        None => Ok(()),
    }
}

/// The number by which the kernel tells what kind of file system something is on.
#[cfg(target_os = "linux")]
fn magic(path: &Path) -> Result<i64> {
    let stat = rustix::fs::statfs(path).map_err(|e| error::file("open", path, e.into()))?;
    // The kernel's type has another width on other machines.
    #[allow(clippy::unnecessary_cast, reason = "f_type is i64 on some targets and narrower on others")]
    let magic = stat.f_type as i64;
    Ok(magic)
}

/// What kind of file system something is on: its name, or its number.
#[cfg(target_os = "linux")]
pub(super) fn kind(path: &Path) -> Result<String> {
    const KNOWN: [(i64, &str); 9] = [
        (0xEF53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683E, "btrfs"),
        (0x2FC1_2FC1, "zfs"),
        (0xF2F5_2010, "f2fs"),
        (0xCA45_1A4E, "bcachefs"),
        (0x794C_7630, "overlayfs"),
        (0x0102_1994, "tmpfs"),
        (0x8584_58F6, "ramfs"),
    ];
    let magic = magic(path)?;
    let known = KNOWN.iter().find(|(number, _)| *number == magic);
    Ok(known.map_or_else(|| format!("a file system of kind {magic:#x}"), |(_, name)| (*name).to_owned()))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn kind(_path: &Path) -> Result<String> {
    Ok("a file system that is not looked at here".to_owned())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn check_file_system(_path: &Path) -> Result<()> {
    Ok(())
}
