//! `manyhands fsck`: looks a broker's books through, and mends them if asked to.

use std::process::ExitCode;

use manyhands::{Error, ErrorKind, Finding, Report, Result};
use serde_json::{Value, json};

use super::{
    ask::{self, Common, Desk},
    print,
};

/// Looks a broker's books through: each task in exactly one state, every index and counter as the tasks say
///
/// One line for each finding, then a summary. Exit code 0 when all is well, 1 when something was wrong, also if it was repaired.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also mend what is wrong: no task is lost by that, and none is taken for settled
    #[arg(long)]
    repair: bool,

    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args) -> ExitCode {
    ask::run("fsck", &args.common, false, async |desk| look(desk, args.repair).await)
}

async fn look(desk: &mut Desk, repair: bool) -> Result<bool> {
    let Some(fsck) = desk.broker.fsck() else {
        let message =
            format!("{} cannot do that: only the server itself sees its tasks", desk.broker.backend());
        return Err(Error::new(ErrorKind::Unsupported, "fsck", message)
            .advise("rabbitmq-diagnostics check_running, or: rabbitmqctl list_queues name state messages"));
    };
    let report = fsck.fsck(repair).await?;
    if desk.json {
        report.findings.iter().try_for_each(|finding| desk.out.object(&object(finding)))?;
        desk.out.object(&totals(&report))?;
    } else {
        report.findings.iter().try_for_each(|finding| desk.out.line(&print::plain(&finding.to_string())))?;
        desk.out.line(&summary(&report))?;
    }
    Ok(report.is_clean())
}

fn object(finding: &Finding) -> Value {
    let Finding { queue, id, wrong, repair, repaired, .. } = finding;
    json!({ "queue": queue, "id": id, "wrong": wrong, "repair": repair, "repaired": repaired })
}

fn totals(report: &Report) -> Value {
    json!({
        "queues": report.queues,
        "tasks": report.tasks,
        "findings": found(report),
        "unrepaired": report.unrepaired(),
        "not_listed": report.further,
    })
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
