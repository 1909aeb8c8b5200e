//! The `producer` program: the commands `send` and `feed`, which `manyhands` has too.
//!
//! The only part of this crate that reads arguments and environment, writes to the terminal and chooses exit codes.

pub mod feed;
pub mod send;
mod signals;
mod target;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Puts tasks on queues.
#[derive(Debug, Parser)]
#[command(name = "producer", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Send(Box<send::Args>),
    Feed(Box<feed::Args>),
}

/// Runs the `producer` program: reads its arguments and does what they say.
///
/// Exit codes: 0 done, 1 the task failed, 2 wrong usage, 3 the broker could not be reached, 4 refused, 5 time ran out, 130
/// interrupted.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(Cli { command: Command::Send(args) }) => send::run(*args),
        Ok(Cli { command: Command::Feed(args) }) => feed::run(*args),
        Err(error) => manyhands_cli::usage(&error),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
