//! `manyhands demo`: the flags, and the roles that it starts as processes of their own.

use std::{path::PathBuf, process::ExitCode};

use clap::{Subcommand, ValueEnum};
use manyhands_worker::entry::resolve;

use crate::demo;

/// Scrapes 250 films with six processes over a durable queue, and kills one of them if asked to
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    /// Kill a process with SIGKILL while it works: a fetcher, for which no replacement is started, or the only
    /// site, parser, saver or producer, which is started again
    #[arg(long, value_name = "ROLE", num_args = 0..=1, require_equals = true, default_missing_value = "fetcher")]
    kill: Option<Victim>,

    /// Where the films go, one JSON object a line
    #[arg(long, value_name = "FILE", default_value = "films.jsonl")]
    out: PathBuf,

    /// Wait so long, in milliseconds, before killing
    #[arg(long, value_name = "MS", default_value_t = 0, hide = true)]
    kill_delay: u64,

    /// The broker: local:, local:/path or redis://host:port  [default: a folder that is removed afterwards]
    #[arg(long, value_name = "URL", env = "MANYHANDS_BROKER", hide_env_values = true)]
    broker: Option<String>,

    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Victim {
    Fetcher,
    Site,
    Parser,
    Saver,
    Producer,
}

/// The processes of the demo. They are started by it and end with it.
#[derive(Debug, Subcommand)]
enum Role {
    #[command(hide = true)]
    Site(demo::SiteArgs),
    #[command(hide = true)]
    Producer(demo::ProducerArgs),
    #[command(hide = true)]
    Fetcher(demo::FetcherArgs),
    #[command(hide = true)]
    Parser(demo::StageArgs),
    #[command(hide = true)]
    Saver(demo::SaverArgs),
}

pub(super) fn run(args: Args) -> ExitCode {
    match args.role {
        Some(Role::Site(args)) => demo::play("site", demo::site_role(args)),
        Some(Role::Producer(args)) => demo::play("producer", demo::producer_role(args)),
        Some(Role::Fetcher(args)) => demo::play("fetcher", demo::fetcher_role(args)),
        Some(Role::Parser(args)) => demo::play("parser", demo::parser_role(args)),
        Some(Role::Saver(args)) => demo::play("saver", demo::saver_role(args)),
        None => demo::direct(demo::Plan {
            // Without a broker of the user's, a folder that is gone afterwards: a demo leaves nothing behind.
            broker: args.broker.as_deref().filter(|url| !url.is_empty()).map(|url| resolve(Some(url))),
            out: args.out,
            victim: args.kill.map(|victim| match victim {
                Victim::Fetcher => demo::RoleName::Fetcher,
                Victim::Site => demo::RoleName::Site,
                Victim::Parser => demo::RoleName::Parser,
                Victim::Saver => demo::RoleName::Saver,
                Victim::Producer => demo::RoleName::Producer,
            }),
            kill_delay: std::time::Duration::from_millis(args.kill_delay),
        }),
    }
}
