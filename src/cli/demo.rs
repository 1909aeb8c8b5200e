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

    /// The broker: local:, local:/path, redis://host:port or amqp://host:port  [default: a folder that is removed afterwards]
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

/// The processes of the demo. It starts them itself; by hand, they work on as many hosts as there are.
#[derive(Debug, Subcommand)]
enum Role {
    /// Only the site: serves the films until SIGTERM
    Site(Part<demo::SiteArgs>),
    /// Only the producer: sends the site's pages to be fetched, then ends
    Producer(Part<demo::ProducerArgs>),
    /// Only a fetcher, of which there may be many: ends when all pages are fetched
    Fetcher(Part<demo::FetcherArgs>),
    /// Only a parser, of which there may be many: ends when all pages are parsed
    Parser(Part<demo::ParserArgs>),
    /// Only the saver, of which there must be one: ends when all films are in the file
    Saver(Part<demo::SaverArgs>),
}

/// The arguments of a role, and whether the demo started it.
#[derive(Debug, clap::Args)]
struct Part<A: clap::Args> {
    /// Tell what happens in JSON, and end when standard input does
    #[arg(long, hide = true)]
    directed: bool,

    #[command(flatten)]
    args: A,
}

impl<A: clap::Args> Part<A> {
    fn play<F>(self, role: demo::RoleName, act: impl FnOnce(A, demo::Scene) -> F) -> ExitCode
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        demo::play(role, self.directed, |scene| act(self.args, scene))
    }
}

pub(super) fn run(args: Args) -> ExitCode {
    match args.role {
        Some(Role::Site(part)) => part.play(demo::RoleName::Site, demo::site_role),
        Some(Role::Producer(part)) => part.play(demo::RoleName::Producer, demo::producer_role),
        Some(Role::Fetcher(part)) => part.play(demo::RoleName::Fetcher, demo::fetcher_role),
        Some(Role::Parser(part)) => part.play(demo::RoleName::Parser, demo::parser_role),
        Some(Role::Saver(part)) => part.play(demo::RoleName::Saver, demo::saver_role),
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
