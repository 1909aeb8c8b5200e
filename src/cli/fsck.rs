//! `manyhands fsck`: looks a broker's books through, and mends them if asked to.

use std::{io::Write, process::ExitCode};

use manyhands::{Error, ErrorKind, Finding, Report, Result};
use manyhands_cli::block_on;
use manyhands_worker::entry::{BrokerArg, LogArgs, report, session, start_logging, success};

/// Looks a broker's books through: each task in exactly one state, every index and counter as the tasks say
///
/// One line for each finding, then a summary. Exit code 0 when all is well, 1 when something was wrong, also if it was repaired.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also mend what is wrong: no task is lost by that, and none is taken for settled
    #[arg(long)]
    repair: bool,

    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    broker: BrokerArg,

    #[command(flatten)]
    log: LogArgs,
}

pub(super) fn run(args: Args) -> ExitCode {
    start_logging(&args.log);
    match block_on("fsck", look(&args)).and_then(|looked| print(&looked, args.json).map(|()| looked)) {
        Ok(looked) if looked.is_clean() => success(),
        Ok(_) => ExitCode::FAILURE,
        Err(error) => report(&error, args.broker.text()),
    }
}

async fn look(args: &Args) -> Result<Report> {
    let (_, broker) = session(&args.broker).await?;
    let Some(fsck) = broker.fsck() else {
        let message = format!("{} cannot do that: only the server itself sees its tasks", broker.backend());
        return Err(Error::new(ErrorKind::Unsupported, "fsck", message)
            .advise("rabbitmq-diagnostics check_running, or: rabbitmqctl list_queues name state messages"));
    };
    fsck.fsck(args.repair).await
}

fn print(report: &Report, json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let mut lines =
        report.findings.iter().map(|finding| if json { object(finding) } else { finding.to_string() });
    let summary = if json { totals(report) } else { summary(report) };
    let written =
        lines.try_for_each(|line| writeln!(out, "{line}")).and_then(|()| writeln!(out, "{summary}"));
    written
        .map_err(|e| Error::new(ErrorKind::Internal, "fsck", "what was found cannot be printed").because(e))
}

fn object(finding: &Finding) -> String {
    let Finding { queue, id, wrong, repair, repaired, .. } = finding;
    serde_json::json!({ "queue": queue, "id": id, "wrong": wrong, "repair": repair, "repaired": repaired })
        .to_string()
}

fn totals(report: &Report) -> String {
    let found = found(report);
    serde_json::json!({
        "queues": report.queues,
        "tasks": report.tasks,
        "findings": found,
        "unrepaired": report.unrepaired(),
        "not_listed": report.further,
    })
    .to_string()
}

fn summary(report: &Report) -> String {
    let looked = format!("{} tasks in {} queues", report.tasks, report.queues);
    if report.is_clean() {
        return format!("{looked}: all is well");
    }
    let (found, unrepaired) = (found(report), report.unrepaired());
    let further =
        if report.further > 0 { format!(", {} of them not listed", report.further) } else { String::new() };
    let left = if unrepaired == 0 { "all repaired".to_owned() } else { format!("{unrepaired} not repaired") };
    format!("{looked}: {found} findings{further}, {left}")
}

/// How many findings there are, those that are only counted among them.
fn found(report: &Report) -> u64 {
    report.findings.len() as u64 + report.further
}
