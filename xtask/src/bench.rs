//! `cargo xtask bench`: builds the benchmark as users build their programs, and runs it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{servers, workspace::Workspace};

/// What `cargo xtask bench` is given: all of it goes to the benchmark.
#[derive(Args, Debug, Default)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// What to measure, and how: `local --help`, `children --help`, `pool --help`, `redis --help` and `rabbitmq --help` say more.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, default_value = "--help")]
    args: Vec<OsString>,
}

/// Builds the benchmark, and the command that it starts, installs the server beside which it measures where that is possible,
/// and runs it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::find()?;
    let mut build = workspace.cargo();
    build.args([
        "build",
        "--release",
        "--locked",
        "--quiet",
        "--bins",
        "--package=manyhands-bench",
        "--package=manyhands",
    ]);
    let built = build.status().context("cannot start cargo build")?;
    ensure!(built.success(), "the benchmark cannot be built ({built})");
    let given = |argument: &str| options.args.iter().any(|arg| arg == argument);
    if given("local")
        && !given("--quick")
        && let Err(error) = servers::install(servers::BENCHMARK)
    {
        // It measures without, and says what is missing.
        eprintln!("{error:#}");
    }
    let target = workspace.target()?;
    if given("redis") {
        servers::install(servers::BENCHMARK_REDIS)?;
    }
    if given("rabbitmq") {
        servers::install(servers::BENCHMARK_RABBITMQ)?;
    }
    if given("redis") && !given("--quick") {
        let (from, to) = (workspace.root().join("bench/peers"), target.join("bench-peers"));
        for installed in [install_peers(&from, &to), build_apalis(&workspace, &from, &to)] {
            if let Err(error) = installed {
                // As above.
                eprintln!("{error:#}");
            }
        }
    }
    let program = target.join("release/manyhands-bench");
    let ended = Command::new(program).args(&options.args).status().context("cannot start the benchmark")?;
    ensure!(ended.success(), "the benchmark failed ({ended})");
    Ok(())
}

/// Installs the queues of others that are written for Node, at the versions that are locked.
fn install_peers(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut same = true;
    for file in ["package.json", "package-lock.json", "peer.js"] {
        let wanted = fs::read(from.join(file)).with_context(|| format!("{file} is missing"))?;
        same &= fs::read(to.join(file)).is_ok_and(|there| there == wanted);
        fs::write(to.join(file), wanted)?;
    }
    if same && to.join("node_modules").is_dir() {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(to).stdin(Stdio::null()).stdout(Stdio::null());
    let ended = npm.status().context("npm is missing: not measured beside BullMQ and bee-queue")?;
    ensure!(ended.success(), "npm ci failed ({ended}): not measured beside BullMQ and bee-queue");
    Ok(())
}

/// Builds the one that is written in Rust, at the versions that are locked, apart from the workspace: that needs none of its crates.
fn build_apalis(workspace: &Workspace, from: &Path, to: &Path) -> Result<()> {
    let to = to.join("apalis");
    if !to.is_dir() {
        eprintln!("== building apalis, which takes some minutes the first time");
    }
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]);
    build.arg(from.join("apalis/Cargo.toml")).arg("--target-dir").arg(to);
    let built = build.status().context("cannot start cargo build")?;
    ensure!(built.success(), "apalis cannot be built ({built}): not measured beside it");
    Ok(())
}
