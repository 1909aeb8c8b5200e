//! A crawler: all pages of one site, with their titles and links, as JSON lines.
//!
//! ```text
//! cargo run --release --example crawl -- run https://example.org/      # all of it, on this box
//! ```
//!
//! Or each part as a process of its own, as many workers as wanted, on any hosts that reach the broker:
//!
//! ```text
//! crawl start https://example.org/ --depth 3 --broker redis://host?namespace=example
//! crawl worker --broker redis://host?namespace=example
//! crawl save --out example.jsonl --broker redis://host?namespace=example
//! ```
//!
//! What it shows: that a page is seen and that it is enqueued are one step (`follow.rs`), politeness by keys (`plan.rs`), a limit that many
//! workers keep exactly (`follow.rs`), stages one after the other without a leader (`levels.rs`), and a file that is written once
//! though tasks are run again (`save.rs`).
//!
//! After the death of any of its processes, however often: every page is in the file once, and no more pages are in it than were asked for.
//! A page may be fetched again, if its worker died between the answer and the settlement. A broker remembers a million URLs of a crawl.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "it is a program")]

mod fetch;
mod follow;
mod html;
mod levels;
mod page;
mod plan;
mod run;
mod save;
mod session;
mod start;
mod tasks;
mod worker;

use std::process::ExitCode;

use clap::Parser;

/// Crawls a site: fetches its pages, follows the links to the same host, writes titles and links as JSON lines
#[derive(Debug, Parser)]
#[command(version, name = "crawl")]
enum Command {
    /// Does it all on this box: starts the crawl, workers and the saver, and ends with them
    Run(run::Args),
    /// Reads robots.txt and enqueues the first page; ends at once. A second time it changes nothing
    Start(start::Args),
    /// Fetches pages until there are no more. Start as many as wanted
    Worker(worker::Args),
    /// Writes what the workers find to a file, until there is no more
    Save(save::Args),
}

fn main() -> ExitCode {
    let command = Command::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let result = runtime.block_on(async {
        match command {
            Command::Run(args) => run::run(args).await,
            Command::Start(args) => start::start(args).await,
            Command::Worker(args) => worker::work(args).await,
            Command::Save(args) => save::save(args).await,
        }
    });
    result.unwrap_or_else(|error| fail(&error))
}

/// Says what went wrong, and what to do about it where that is known.
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    if let Some(advice) = error.downcast_ref::<manyhands::Error>().and_then(manyhands::Error::advice) {
        eprintln!("  try  {advice}");
    }
    ExitCode::FAILURE
}
