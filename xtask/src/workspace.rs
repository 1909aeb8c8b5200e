//! Where this workspace is, and the cargo that works on it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Where and with which cargo the calls are made.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The cargo that runs this program, or the first on the path.
    cargo: OsString,
    /// The folder of the workspace's manifest.
    root: PathBuf,
}

impl Workspace {
    /// Finds the workspace from the place of this package, whatever the current folder is.
    pub(crate) fn find() -> Result<Self> {
        // What cargo says now comes before what it said when this was compiled: two copies of the sources may
        // share one target folder.
        let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&here).parent().context("the xtask package lies in no folder")?.to_owned();
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Ok(Self { cargo, root })
    }

    /// Returns a command for cargo in the root of the workspace.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(&self.root);
        command
    }

    /// Tells whether cargo knows this subcommand.
    pub(crate) fn has(&self, subcommand: &str) -> bool {
        let mut command = self.cargo();
        command.args([subcommand, "--version"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Ends what cannot do without nextest, where that is not installed.
    pub(crate) fn needs_nextest(&self) -> Result<()> {
        ensure!(
            self.has("nextest"),
            "cargo-nextest is needed for this: cargo install cargo-nextest --locked"
        );
        Ok(())
    }

    /// The folder of the workspace's manifest.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that cargo builds in, wherever it was told to.
    pub(crate) fn target(&self) -> Result<PathBuf> {
        let metadata = self.metadata()?;
        let target = metadata.get("target_directory").and_then(serde_json::Value::as_str);
        Ok(target.context("cargo metadata names no target_directory")?.into())
    }

    /// What cargo tells of the packages of the workspace.
    pub(crate) fn metadata(&self) -> Result<serde_json::Value> {
        let mut command = self.cargo();
        command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).stdin(Stdio::null());
        let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata failed ({})", output.status);
        serde_json::from_slice(&output.stdout).context("cargo metadata wrote no JSON")
    }
}
