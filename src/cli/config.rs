//! `manyhands config`: what is in force, and where each value came from.

use std::{io::Write, process::ExitCode};

use manyhands::{Error, ErrorKind, Result};
use manyhands_cli::{BrokerArg, report, success};
use serde_json::json;

/// Prints the configuration that is in force, each value with where it came from, without passwords
///
/// Defaults come first, then one file, then variables (MANYHANDS__QUEUES__IMAGES__CAPACITY for queues.images.capacity, and
/// MANYHANDS_BROKER for the broker), then flags; the later wins.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    broker: BrokerArg,
}

pub(super) fn run(args: &Args) -> ExitCode {
    match print(args) {
        Ok(()) => success(),
        Err(error) => report(&error, None),
    }
}

fn print(args: &Args) -> Result<()> {
    let configuration = args.broker.configuration()?;
    let file = configuration.file().map(|file| file.display().to_string());
    let mut lines = Vec::new();
    if args.json {
        lines.push(json!({ "file": file }).to_string());
        for entry in configuration.entries() {
            let source = entry.source().to_string();
            lines.push(json!({ "key": entry.key(), "value": entry.value(), "source": source }).to_string());
        }
    } else {
        lines.push(format!("file: {}", file.as_deref().unwrap_or("none")));
        let rows: Vec<_> = configuration
            .entries()
            .map(|entry| (entry.key(), entry.value().to_string(), entry.source().to_string()))
            .collect();
        let keys = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0);
        let values = rows.iter().map(|row| row.1.chars().count()).max().unwrap_or(0);
        lines.extend(rows.iter().map(|(key, value, from)| format!("{key:keys$}  {value:values$}  {from}")));
    }
    let mut out = std::io::stdout().lock();
    let written = lines.iter().try_for_each(|line| writeln!(out, "{line}"));
    written.map_err(|e| {
        Error::new(ErrorKind::Internal, "config", "the configuration cannot be printed").because(e)
    })
}
