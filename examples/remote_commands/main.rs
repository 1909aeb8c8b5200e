//! Remote commands: a front on TCP takes the name of a command and its arguments, and any of the workers runs it.
//!
//! ```text
//! cargo run --release --example remote_commands                              # all of it on this box, checked byte by byte
//!
//! export MANYHANDS_BROKER=redis://127.0.0.1                                   # or amqp://…, or local:/path on one box
//! cargo run --release --example remote_commands -- front                     # TCP on 127.0.0.1:7007, until Ctrl-C
//! cargo run --release --example remote_commands -- worker                    # elsewhere, as many as are needed
//! cargo run --release --example remote_commands -- call seq 1 3              # prints 1 2 3, ends with the command's exit code
//! cargo run --release --example remote_commands -- call upper --input hello  # HELLO
//! ```
//!
//! **What is run** is in a list, `commands.json`: a name, its program, and which arguments it takes. There is no shell, and an argument
//! that begins with a dash is refused unless the list has it. Front and worker look at the list, each at its own. Nobody is asked who he
//! is, so listen where only those reach it who may run what is in the list.
//!
//! **A request** is one frame: 4 bytes, big endian, how long it is, then so many bytes of JSON: `{"command": "seq", "args": ["1", "3"]}`, and if
//! need be `"input"` and `"deadline_ms"`. **The answer** is such a frame, too, `{"ran": {"exit_code": 0, "stdout": 6, "stderr": 0, …}}` or
//! `{"refused": "why"}`, and after it exactly so many bytes of stdout, then of stderr (`answer.rs`). A connection may ask again and again.
//!
//! **How output comes back.** A task says where the front takes answers, and the worker connects to that, asks whether it is to begin, and
//! sends what the command writes while it runs. The front keeps it, the first bytes in memory and the rest in a file without a name,
//! and answers when it has all of it: so the size is known first, output may be larger than the result of a task (1 MiB), a worker that
//! is killed in the middle leaves nothing but a run that is thrown away, and a caller who reads slowly holds up no worker. Through the
//! broker, in pieces, every byte would be stored and numbered, and what is meant for a front that is gone would stay there.
//! Workers must reach the front for it (`--answers`).
//!
//! **A command may run more than once**: when its worker dies or is cut off, another one begins anew, within the deadline. So list none
//! that does harm twice. It runs no longer than somebody waits: at the deadline, or when the caller goes, it is killed with its process group. A
//! caller that closes its side of the connection, the sending half alone included, has gone.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to who started it")]

mod answer;
mod call;
mod caller;
mod calls;
mod command;
mod front;
mod list;
mod run;
mod show;
mod spool;
mod stage;
mod stop;
mod wire;
mod worker;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use manyhands::BrokerUrl;

use list::List;

/// Runs commands of a list elsewhere. Without a role: all of it on this box, with 500 callers
#[derive(Parser)]
struct Cli {
    /// Where the queue is: local:/path, redis://host, amqp://host
    #[arg(long, env = "MANYHANDS_BROKER", hide_env_values = true, global = true)]
    broker: Option<BrokerUrl>,

    /// The list of commands, as commands.json, which is in the program
    #[arg(long, value_name = "FILE", global = true)]
    commands: Option<PathBuf>,

    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(clap::Subcommand)]
enum Role {
    /// Takes requests, queues them, and answers them
    Front(front::FrontArgs),
    /// Runs what was queued
    Worker(worker::WorkerArgs),
    /// Asks a front, prints what the command printed, and ends with its exit code
    Call(caller::CallArgs),
    /// What a worker starts: becomes the command
    #[command(hide = true)]
    Stage(stage::StageArgs),
}

fn main() -> ExitCode {
    let ended = match Cli::parse() {
        // Before any thread is started.
        Cli { role: Some(Role::Stage(args)), .. } => return stage::enter(&args),
        cli => run(cli),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[tokio::main]
async fn run(cli: Cli) -> Result<ExitCode> {
    stop::raise_open_files();
    let list = || List::read(cli.commands.as_deref());
    let broker = || cli.broker.as_ref().context("which broker? --broker URL, or MANYHANDS_BROKER");
    match cli.role {
        Some(Role::Front(args)) => front::front(broker()?, list()?, args).await?,
        Some(Role::Worker(args)) => worker::worker(broker()?, list()?, args).await?,
        Some(Role::Call(args)) => return caller::call(args).await,
        Some(Role::Stage(_)) => {}
        None => show::show(cli.broker.as_ref()).await?,
    }
    Ok(ExitCode::SUCCESS)
}
