//! What manyhands reaches, beside what the machine can do: `cargo xtask bench local`, `children`, `pool`, `redis` and `rabbitmq`.
//!
//! Every measurement is made by processes: this program starts itself again for each role, such as a producer, a worker or a
//! raw limit, tells it when to begin and reads its answer.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the output of a command, not of a library")]

mod actor;
mod cases;
mod figures;
mod functions;
mod machine;
mod peers;
mod place;
mod python;
#[path = "../raw/mod.rs"]
mod raw;
mod reference;
mod report;
mod roles;
mod settings;
mod work;
mod worker;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use manyhands::multiprocessing;

use crate::{cases::Options, raw::Raw, roles::Role};

/// What manyhands reaches, beside what the machine can do.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure the broker of one box, `local:`.
    Local(Options<cases::local::Case>),
    /// Measure handlers in processes of their own.
    Children(Options<cases::children::Case>),
    /// Measure pools of processes that call functions, beside Python's.
    Pool(Options<cases::pool::Case>),
    /// Measure the broker over a Redis server, `redis:`, which is started for it.
    Redis(Options<cases::redis::Case>),
    /// Measure the broker over a RabbitMQ server, `amqp:`, which is started for it.
    Rabbitmq(Options<cases::rabbitmq::Case>),
    /// Measure one raw limit, and print it with the settings it ran with.
    #[command(subcommand)]
    Raw(Raw),
    /// What this program starts itself as.
    #[command(hide = true)]
    Role {
        /// The role and all about it, as JSON.
        role: String,
    },
}

/// Whether targets are met is no matter of the exit code: a figure is not a test.
fn main() -> ExitCode {
    // A worker of users, and its children, have a main function of their own. All others may be processes of a pool.
    if let Some(ended) = worker::begin() {
        return ended;
    }
    multiprocessing::main(functions::register, run)
}

fn run() -> Result<()> {
    match Cli::parse().command {
        Command::Local(options) => cases::run(&options),
        Command::Children(options) => cases::run(&options),
        Command::Pool(options) => cases::run(&options),
        Command::Redis(options) => cases::run(&options),
        Command::Rabbitmq(options) => cases::run(&options),
        Command::Raw(raw) => print_raw(&raw),
        Command::Role { role } => roles::play(serde_json::from_str::<Role>(&role)?),
    }
}

fn print_raw(raw: &Raw) -> Result<()> {
    let place = place::Place::choose(None)?;
    let measured = raw.measure(place.path())?;
    println!("{}", serde_json::to_string_pretty(&measured)?);
    Ok(())
}
