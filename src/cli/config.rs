//! `manyhands config`: what is in force, and where each value came from.

use std::process::ExitCode;

use manyhands::Result;
use manyhands_cli::{BrokerArg, LogArgs, start_logging};
use serde_json::json;

use super::{
    ask,
    print::{Cell, Out, plain},
};

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

    #[command(flatten)]
    log: LogArgs,
}

pub(super) fn run(args: &Args) -> ExitCode {
    start_logging(&args.log);
    ask::end(print(args).map(|()| true), None)
}

fn print(args: &Args) -> Result<()> {
    let configuration = args.broker.configuration()?;
    let mut out = Out::new(args.log.color);
    let file = configuration.file().map(|file| file.display().to_string());
    if args.json {
        out.object(&json!({ "file": file }))?;
        for entry in configuration.entries() {
            let source = entry.source().to_string();
            out.object(&json!({ "key": entry.key(), "value": entry.value(), "source": source }))?;
        }
    } else {
        out.line(&format!("file: {}", plain(file.as_deref().unwrap_or("none"))))?;
        let cells = |entry: &manyhands_cli::config::Entry| {
            let (value, source) = (entry.value().to_string(), entry.source().to_string());
            vec![Cell::text(entry.key()), Cell::text(value), Cell::text(source)]
        };
        out.rows(&["key", "value", "from"], configuration.entries().map(cells).collect())?;
    }
    out.finish()
}
