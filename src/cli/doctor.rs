//! `manyhands doctor`: looks whether a broker is set up to keep what it is given.

use std::{io::Write, process::ExitCode};

use manyhands::{Check, Error, ErrorKind, Result, Verdict, connect_to_examine};
use manyhands_cli::block_on;
use manyhands_worker::entry::{BrokerArg, LogArgs, report, start_logging, success};

use super::{ask::is_there, print::plain};

/// Looks at what a broker is set up as and how it is: what it keeps when it dies, how full it is, its clock, how long calls take
///
/// One line for each thing, and what to do about it. Exit code 0 when nothing is bad, 1 when something is.
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
    match block_on("doctor", examine(args)).and_then(|checks| print(&checks, args.json).map(|()| checks)) {
        Ok(checks) if checks.iter().all(|check| check.verdict != Verdict::Bad) => success(),
        Ok(_) => ExitCode::FAILURE,
        Err(error) => report(&error, args.broker.text()),
    }
}

async fn examine(args: &Args) -> Result<Vec<Check>> {
    let url = args.broker.url()?;
    is_there("doctor", &url)?;
    let broker = connect_to_examine(&url).await?;
    let Some(doctor) = broker.doctor() else {
        let message = format!("{} has nothing that could be set up badly", broker.backend());
        return Err(Error::new(ErrorKind::Unsupported, "doctor", message));
    };
    doctor.examine().await
}

fn print(checks: &[Check], json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = if json {
        checks.iter().try_for_each(|check| writeln!(out, "{}", object(check)))
    } else {
        checks
            .iter()
            .try_for_each(|check| write!(out, "{}", lines(check)))
            .and_then(|()| writeln!(out, "{}", summary(checks)))
    };
    written
        .map_err(|e| Error::new(ErrorKind::Internal, "doctor", "what was found cannot be printed").because(e))
}

fn object(Check { what, verdict, found, advice, .. }: &Check) -> serde_json::Value {
    serde_json::json!({ "check": what, "verdict": verdict.to_string(), "found": found, "advice": advice })
}

fn lines(Check { what, verdict, found, advice, .. }: &Check) -> String {
    let mut lines = format!("{verdict:<4}  {what:<11}  {}\n", plain(found));
    if let Some(advice) = advice {
        lines.push_str(&format!("      {:<11}  {}\n", "try", plain(advice)));
    }
    lines
}

fn summary(checks: &[Check]) -> String {
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    format!("{} checks: {} bad, {} to look at", checks.len(), count(Verdict::Bad), count(Verdict::Warn))
}
