//! A web front: takes requests faster than its back ends work, and answers each of them within a deadline.
//!
//! ```text
//! export MANYHANDS_BROKER=redis://127.0.0.1                          # or local:/path, amqp://…
//! cargo run --release --example web_front -- front                  # HTTP on 127.0.0.1:8080, until Ctrl-C
//! cargo run --release --example web_front -- back                   # elsewhere, as many as are needed
//! curl -i -d '{"number": 7}' http://127.0.0.1:8080/squares          # {"number":7,"square":49}
//! ```
//!
//! The queue is short on purpose: what it holds is what the back ends do before the deadline is over. Whatever more comes
//! is refused at once with 429, costs nobody any work, and can be sent again.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to who started it")]

mod answers;
mod back;
mod front;
mod http;
mod intake;
mod job;
mod stop;

use std::process::ExitCode;

use clap::Parser;
use manyhands::BrokerUrl;

/// A web front with a queue behind it, and its back ends.
#[derive(Parser)]
struct Cli {
    /// Where the queue is: local:/path, redis://host, amqp://host
    #[arg(long, env = "MANYHANDS_BROKER", hide_env_values = true)]
    broker: BrokerUrl,

    #[command(subcommand)]
    role: Role,
}

#[derive(clap::Subcommand)]
enum Role {
    /// Takes requests, queues them, and answers them
    Front(front::FrontArgs),
    /// Works on what was queued
    Back(back::BackArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { broker, role } = Cli::parse();
    let ended = match role {
        Role::Front(args) => front::front(&broker, args).await,
        Role::Back(args) => back::back(&broker, args).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
