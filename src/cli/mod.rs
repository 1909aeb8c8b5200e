//! The command line: one file a command.

mod ask;
mod completions;
mod config;
mod dead;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod fsck;
mod holders;
mod print;
mod queues;
mod task;
mod tasks;
mod wanted;
mod who;
mod why;
mod workers;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use manyhands_cli::text;
use manyhands_producer::entry::{feed, send};
use manyhands_worker::entry as worker;

/// A task queue for one box or many.
#[derive(Debug, Parser)]
#[command(name = "manyhands", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Send(Box<send::Args>),
    Feed(Box<feed::Args>),
    Worker(Box<worker::Args>),
    Config(config::Args),
    Tasks(tasks::Args),
    Queues(queues::Args),
    Dead(dead::Args),
    Workers(Box<workers::Args>),
    Fsck(fsck::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    Man(completions::ManArgs),
    #[cfg(feature = "demo")]
    Demo(Box<demo::Args>),
}

/// Reads the arguments and runs the command.
pub(crate) fn main() -> ExitCode {
    // A worker starts itself again for what it does not do on its own.
    if let Some(ended) = worker::child() {
        return ended;
    }
    let Cli { command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return manyhands_cli::usage(&error),
    };
    match command {
        Command::Send(args) => send::run(*args),
        Command::Feed(args) => feed::run(*args),
        Command::Worker(args) => worker::run(&args, "manyhands worker", |app| app),
        Command::Config(args) => config::run(&args),
        Command::Tasks(args) => tasks::run(args),
        Command::Queues(args) => queues::run(args),
        Command::Dead(args) => dead::run(args),
        Command::Workers(args) => workers::run(*args),
        Command::Fsck(args) => fsck::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => completions::man(&args, Cli::command()),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(*args),
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
