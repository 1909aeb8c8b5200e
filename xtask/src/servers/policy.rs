//! Keeps Debian's packages from starting what they bring.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The program that packages ask before they start a service.
const PATH: &str = "/usr/sbin/policy-rc.d";

/// 101 forbids it.
const SCRIPT: &str = "#!/bin/sh\n# Made by `cargo xtask test` of manyhands while it installs packages; otherwise remove it.\nexit 101\n";

/// While this lives, the installation of packages starts nothing.
#[derive(Debug)]
pub(super) struct Policy {
    /// The file to remove; `None` where the machine has its own.
    made: Option<PathBuf>,
}

impl Policy {
    /// Forbids it, unless the machine has a policy of its own, which then decides.
    pub(super) fn start_nothing() -> Result<Self> {
        Self::at(Path::new(PATH))
    }

    fn at(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(path);
        let made = match file {
            Ok(mut file) => {
                file.write_all(SCRIPT.as_bytes()).with_context(|| path.display().to_string())?;
                true
            }
            // One of ours is left from a run that was killed.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                fs::read_to_string(path).is_ok_and(|text| text == SCRIPT)
            }
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        Ok(Self { made: made.then(|| path.to_owned()) })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_policy_forbids_and_is_gone_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        let policy = Policy::at(&path).unwrap();
        assert_eq!(Command::new(&path).status().unwrap().code(), Some(101));
        std::mem::forget(policy);
        drop(Policy::at(&path).unwrap());
        assert!(!path.exists(), "one that was left is removed too");
    }

    #[test]
    fn the_policy_of_the_machine_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
        drop(Policy::at(&path).unwrap());
        assert!(path.exists());
    }
}
