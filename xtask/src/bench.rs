//! `cargo xtask bench`: builds the benchmark as users build their programs, and runs it.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{servers, workspace::Workspace};

/// What `cargo xtask bench` is given: all of it goes to the benchmark.
#[derive(Args, Debug, Default)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// What to measure, and how: `local --help` says more.
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
    let program = workspace.target()?.join("release/manyhands-bench");
    let ended = Command::new(program).args(&options.args).status().context("cannot start the benchmark")?;
    ensure!(ended.success(), "the benchmark failed ({ended})");
    Ok(())
}
