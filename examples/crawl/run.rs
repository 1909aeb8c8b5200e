//! `crawl run`: all on this box. Starts what the other commands are, each as a process of its own.

use std::{
    path::PathBuf,
    process::{ExitCode, ExitStatus},
};

use anyhow::{Context, Result, bail};
use tokio::{
    process::{Child, Command},
    task::JoinSet,
};

use crate::{
    save,
    session::{BrokerArg, until_signal},
    start::{self, Wish},
};

/// How many processes that died are replaced before the crawl is given up.
const REPLACEMENTS: usize = 10;

/// What a program ends with that was interrupted.
const INTERRUPTED: u8 = 130;

/// What to crawl, with how many processes, and where to write.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) broker: BrokerArg,
    #[command(flatten)]
    pub(crate) wish: Wish,
    /// How many worker processes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) workers: u8,
    /// Where the pages go, one JSON object a line; until it is whole, it has the ending .part
    #[arg(long, value_name = "FILE", default_value = "pages.jsonl")]
    pub(crate) out: PathBuf,
}

/// A process: the saver, or one of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Saver,
    Worker,
}

/// Crawls. A process that is killed is replaced; whoever stops this one, and starts it again, goes on where it was.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let broker = args.broker.open().await?;
    save::is_done(&*broker, &args.out).await?;
    start::begin(&*broker, args.wish.clone()).await?;
    let shutdown = until_signal()?;
    let mut parts = JoinSet::new();
    parts.spawn(watch(Part::Saver, spawn(Part::Saver, &args)?));
    for _ in 0..args.workers {
        parts.spawn(watch(Part::Worker, spawn(Part::Worker, &args)?));
    }
    let mut replaced = 0;
    loop {
        let ended = tokio::select! {
            ended = parts.join_next() => ended,
            // A Ctrl-C is theirs too. Dropped, they are killed, by which nothing is lost.
            () = shutdown.stopping() => {
                eprintln!("ended by a signal: the same command goes on");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        };
        let Some(ended) = ended else { return Ok(ExitCode::SUCCESS) };
        let (part, status) = ended?;
        match status? {
            status if status.success() => {}
            status if status.code().is_none() && replaced < REPLACEMENTS => {
                replaced += 1;
                eprintln!("a process was killed ({status}), another one takes its place");
                parts.spawn(watch(part, spawn(part, &args)?));
            }
            // It has said why.
            status => bail!("a process ended early ({status}): the same command goes on"),
        }
    }
}

fn spawn(part: Part, args: &Args) -> Result<Child> {
    let program = std::env::current_exe().context("this program does not find itself")?;
    let mut command = Command::new(program);
    match part {
        Part::Saver => command.arg("save").arg("--out").arg(&args.out),
        Part::Worker => command.arg("worker"),
    };
    // By the environment, other users of the host cannot read it.
    command.env("MANYHANDS_BROKER", args.broker.broker.expose()).kill_on_drop(true);
    command.spawn().context("a process cannot be started")
}

async fn watch(part: Part, mut child: Child) -> (Part, std::io::Result<ExitStatus>) {
    (part, child.wait().await)
}
