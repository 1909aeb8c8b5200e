//! The project's own chores, run as `cargo xtask <command>`.
//!
//! Exit codes: 0 when all went well, 1 when a part failed, 2 when the command line is wrong, 3 when something is
//! missing that must be installed by hand.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the output of a command, not of a library")]

mod bench;
mod releases;
mod sabotage;
mod servers;
mod targets;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// The chores there are.
#[derive(Debug, Subcommand)]
enum Command {
    /// Check the whole workspace, part by part, and run its tests last.
    Test(test::Options),
    /// Run the tests of the brokers with the servers of other Debian releases.
    Releases(releases::Options),
    /// Plant one defect after the other, each of which must make a test fail.
    Sabotage(sabotage::Options),
    /// Measure what the project reaches, beside what the machine can do.
    Bench(bench::Options),
    /// Start or stop servers to try things with, on free ports of this machine.
    #[command(subcommand)]
    Servers(servers::running::Command),
}

/// Runs the chore that the command line names.
fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Releases(options) => releases::run(&options),
        Command::Sabotage(options) => sabotage::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Servers(command) => servers::running::run(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("== {error:#}");
            if error.is::<servers::Missing>() { ExitCode::from(3) } else { ExitCode::FAILURE }
        }
    }
}
