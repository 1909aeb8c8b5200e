//! One worker, handlers in three languages, 300 results that are checked.
//!
//! ```text
//! cargo run --release --example polyglot           # needs python3 and node
//! ```
//!
//! The handlers are `words.py`, `slug.js` and `square.sh`, named in `manyhands.toml`. Without arguments this program starts itself as the
//! worker, sends them tasks over a store in a temporary folder, and compares what comes back with what it finds itself. With
//! arguments it is the worker: `polyglot --config examples/polyglot/manyhands.toml --broker redis://host`.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "it is a program")]

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Child, Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use manyhands::{Client, Task};
use serde::{Deserialize, Serialize};

/// How many tasks each handler gets.
const EACH: u64 = 100;

/// How long all of it may take. Starting six interpreters takes most of it.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Words {
    text: String,
}

impl Task for Words {
    const NAME: &'static str = "words";
    type Output = Vec<String>;
}

#[derive(Serialize, Deserialize)]
struct Slug {
    title: String,
}

impl Task for Slug {
    const NAME: &'static str = "slug";
    type Output = String;
}

#[derive(Serialize, Deserialize)]
struct Square(u64);

impl Task for Square {
    const NAME: &'static str = "square";
    type Output = u64;
}

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        return manyhands::main(|app| app);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let url = format!("local:{}", folder.path().display());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let client = runtime.block_on(Client::connect(&url.parse()?))?;
    let mut worker = worker(&url)?;
    let checked = runtime.block_on(async {
        tokio::select! {
            checked = check(&client) => checked,
            () = ended(&mut worker) => bail!("the worker ended: it says why above"),
        }
    });
    stop(&mut worker)?;
    checked?;
    println!(
        "words.py {EACH}, slug.js {EACH}, square.sh {EACH}: {} results, all as they should be",
        3 * EACH
    );
    Ok(())
}

fn worker(url: &str) -> Result<Child> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/polyglot/manyhands.toml");
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--config").arg(config).args(["--broker", url]);
    command.spawn().context("the worker cannot be started")
}

async fn check(client: &Client) -> Result<()> {
    let numbers = || 0..EACH;
    let words = numbers().map(async |n| {
        let text = format!("many Hands make light work {n} many hands {n}");
        let expected: BTreeSet<_> = text.to_lowercase().split_whitespace().map(str::to_owned).collect();
        let found = client.send(Words { text }).wait(PATIENCE).await?;
        ensure!(found == expected.into_iter().collect::<Vec<_>>(), "words.py found {found:?} for {n}");
        Ok(())
    });
    let slugs = numbers().map(async |n| {
        let found = client.send(Slug { title: format!(" Many hands: {n} of them ") }).wait(PATIENCE).await?;
        ensure!(found == format!("many-hands-{n}-of-them"), "slug.js found {found:?} for {n}");
        Ok(())
    });
    let squares = numbers().map(async |n| {
        let found = client.send(Square(n)).wait(PATIENCE).await?;
        ensure!(found == n * n, "square.sh found {found} for {n}");
        Ok(())
    });
    let (words, slugs, squares) = tokio::join!(all(words), all(slugs), all(squares));
    words.and(slugs).and(squares)
}

/// All at a time; the first that goes wrong is told.
async fn all(checks: impl Iterator<Item = impl Future<Output = Result<()>>>) -> Result<()> {
    futures_util::future::try_join_all(checks).await.map(drop)
}

async fn ended(worker: &mut Child) {
    while matches!(worker.try_wait(), Ok(None)) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Lets the worker end, which it does when its tasks are done.
fn stop(worker: &mut Child) -> Result<()> {
    let ended = Command::new("kill").arg(worker.id().to_string()).status()?;
    let status = worker.wait()?;
    ensure!(ended.success() && status.success(), "the worker ended with {status}");
    Ok(())
}
