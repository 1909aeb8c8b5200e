//! `manyhands workers`: which are alive, whether those of this host are well, and how one is drained.

use std::{process::ExitCode, time::Duration};

use clap::Subcommand;
use manyhands::{Error, ErrorKind, LiveWorker, Result, RunningTask, WorkerReport, Workers};
use manyhands_broker::{Incarnation, all_live, limits};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    ask::{self, Common, Desk},
    print::{self, Cell},
    text, wanted,
};

/// How often it is looked whether a worker that drains has ended.
const AGAIN: Duration = Duration::from_millis(250);

/// Lists the workers that are alive, tells whether those of a host are well, and lets one drain
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the workers that are alive; the same as without a command
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Shows all that a worker tells of itself, with the tasks that it is running
    Show {
        #[command(flatten)]
        worker: Which,

        #[command(flatten)]
        common: Common,
    },
    /// Lets workers claim nothing more, finish what they are running, and end
    Drain {
        /// Their ids, or the beginnings of these
        #[arg(value_name = "ID", required = true)]
        workers: Vec<String>,

        /// Wait until they have ended, for so long at most
        #[arg(long, value_name = "DURATION", value_parser = text::duration)]
        wait: Option<Duration>,

        #[command(flatten)]
        common: Common,
    },
    /// Prints how many worker processes the queues need, as worker --autoscale has them; for whoever else starts and ends them
    Wanted {
        #[command(flatten)]
        wanted: wanted::Args,

        #[command(flatten)]
        common: Common,
    },
    /// Tells whether there are workers on a host, and the last claim of each was answered; for health checks
    Check {
        /// The host, as the list names it  [default: this one]
        #[arg(long, value_name = "HOST")]
        host: Option<String>,

        /// How long ago the last answer to a claim may be; who has been silent for longer counts as gone
        #[arg(long, value_name = "DURATION", value_parser = text::duration, default_value = "10s")]
        within: Duration,

        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Its id, or the beginning of it
    #[arg(value_name = "ID")]
    worker: String,
}

pub(super) fn run(args: Args) -> ExitCode {
    match args.command.unwrap_or(Command::List { common: args.common }) {
        Command::List { common } => ask::run("workers", &common, false, async |desk| list(desk).await),
        Command::Show { worker, common } => {
            ask::run("show", &common, false, async |desk| show(desk, &worker.worker).await)
        }
        Command::Drain { workers, wait, common } => {
            ask::run("drain", &common, false, async |desk| drain(desk, &workers, wait).await)
        }
        Command::Wanted { wanted, common } => {
            ask::run("wanted", &common, false, async |desk| wanted::wanted(desk, &wanted).await)
        }
        Command::Check { host, within, common } => {
            let host = host.unwrap_or_else(|| WorkerReport::here().host);
            ask::run("check", &common, false, async |desk| check(desk, &host, within).await)
        }
    }
}

impl Desk {
    fn workers(&self, operation: &'static str) -> Result<&dyn Workers> {
        self.broker.workers().ok_or_else(|| self.unsupported(operation, "it does not know its workers"))
    }

    /// All workers that tell of themselves.
    pub(super) async fn live_workers(&self, operation: &'static str) -> Result<Vec<LiveWorker>> {
        all_live(self.workers(operation)?).await
    }
}

/// The columns of the list.
const HEADING: [&str; 9] =
    ["worker", "host", "pid", "up", "running", "last claim", "queues", "handlers", "state"];

async fn list(desk: &mut Desk) -> Result<bool> {
    for worker in desk.live_workers("workers").await? {
        if desk.json {
            desk.out.object(&object(&worker))?;
        } else {
            desk.out.rows(&HEADING, vec![row(&worker)])?;
        }
    }
    desk.note_if_empty("there are no workers");
    Ok(true)
}

fn row(worker: &LiveWorker) -> Vec<Cell> {
    let report = &worker.report;
    let (state, bad) = state(worker);
    vec![
        Cell::text(worker.incarnation.to_string()),
        Cell::text(&report.host),
        Cell::number(report.pid),
        Cell::number(print::left(report.up + worker.heard)),
        Cell::number(format!("{}/{}", report.running, report.slots)),
        Cell::number(last_claim(worker)),
        Cell::text(names(&report.queues)),
        Cell::text(names(&report.handlers)),
        Cell::text(state).bad_if(bad),
    ]
}

/// How long ago a claim was answered.
fn last_claim(worker: &LiveWorker) -> String {
    let answered = worker.report.last_claim.answered.map(|answered| answered + worker.heard);
    answered.map_or_else(|| "never".to_owned(), |ago| format!("{} ago", print::left(ago)))
}

/// What is unusual about a worker, and whether somebody should look at it.
fn state(worker: &LiveWorker) -> (String, bool) {
    let draining = if worker.report.draining || worker.asked_to_drain { "draining" } else { "" };
    worker.trouble(CLAIMS).map_or_else(|| (draining.to_owned(), false), |trouble| (trouble, true))
}

/// How long ago the last claim of a worker may have been answered before the list says so.
const CLAIMS: Duration = Duration::from_secs(10);

fn names<T: ToString>(names: &[T]) -> String {
    let more = if names.len() == limits::MAX_TOLD { ",…" } else { "" };
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(",") + more
}

fn object(worker: &LiveWorker) -> Value {
    let report = &worker.report;
    let last = &report.last_claim;
    json!({
        "worker": worker.incarnation.to_string(),
        "host": report.host,
        "pid": report.pid,
        "supervisor": report.supervisor,
        "version": report.version,
        "up_ms": print::ms(report.up + worker.heard),
        "heard_ms": print::ms(worker.heard),
        "queues": report.queues,
        "handlers": report.handlers,
        "slots": report.slots,
        "running": report.running,
        "tasks": report.tasks.iter().map(|task| running(task, worker.heard)).collect::<Vec<_>>(),
        "last_claim_ms": last.answered.map(|answered| print::ms(answered + worker.heard)),
        "last_claim_error": last.error,
        "held_back": last.held_back,
        "draining": report.draining || worker.asked_to_drain,
        "trouble": worker.trouble(CLAIMS),
    })
}

fn running(task: &RunningTask, heard: Duration) -> Value {
    json!({
        "queue": task.queue,
        "id": task.id,
        "name": task.name,
        "running_ms": print::ms(task.running + heard),
    })
}

/// Which process a worker is.
fn process(report: &WorkerReport) -> String {
    let supervisor = report.supervisor.map(|pid| format!(", of supervisor {pid}")).unwrap_or_default();
    format!("{} on {}{supervisor}", report.pid, report.host)
}

async fn show(desk: &mut Desk, id: &str) -> Result<bool> {
    let all = desk.live_workers("show").await?;
    let worker = find("show", &all, id)?;
    if desk.json {
        desk.out.object(&object(worker))?;
        return Ok(true);
    }
    let report = &worker.report;
    let (state, bad) = state(worker);
    let heard = |time: Duration| print::left(time + worker.heard);
    let mut lines = vec![
        ("worker", Cell::text(worker.incarnation.to_string())),
        ("process", Cell::text(process(report))),
        ("version", Cell::text(&report.version)),
        ("up", Cell::text(heard(report.up))),
        ("queues", Cell::text(names(&report.queues))),
        ("handlers", Cell::text(names(&report.handlers))),
        ("last claim", Cell::text(last_claim(worker))),
        ("running", Cell::text(format!("{} of {}", report.running, report.slots))),
    ];
    for RunningTask { queue, id, name, running, .. } in &report.tasks {
        let task = format!("{name} {id} on {queue}, for {}", heard(*running));
        lines.push(("", Cell::text(task)));
    }
    if report.running > report.tasks.len() {
        lines.push(("", Cell::text(format!("and {} more", report.running - report.tasks.len()))));
    }
    if !state.is_empty() {
        lines.push(("state", Cell::text(state).bad_if(bad)));
    }
    desk.out.block(&lines)?;
    Ok(true)
}

/// The one worker whose id begins so.
fn find<'a>(operation: &'static str, all: &'a [LiveWorker], id: &str) -> Result<&'a LiveWorker> {
    let wanted = id.to_lowercase();
    let mut found = all.iter().filter(|worker| worker.incarnation.to_string().starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some(worker), None) if !wanted.is_empty() => Ok(worker),
        (None, _) => {
            let message = format!("there is no live worker {id:?}");
            Err(Error::new(ErrorKind::Failed, operation, message).advise("manyhands workers"))
        }
        _ => {
            let message = format!("more than one worker has an id that begins with {id:?}");
            Err(Error::invalid(operation, message).advise("more of the id; manyhands workers"))
        }
    }
}

async fn drain(desk: &mut Desk, ids: &[String], wait: Option<Duration>) -> Result<bool> {
    let all = desk.live_workers("drain").await?;
    // All are found before the first is asked.
    let workers = ids.iter().map(|id| find("drain", &all, id)).collect::<Result<Vec<_>>>()?;
    for worker in &workers {
        let incarnation = worker.incarnation;
        // One that has ended meanwhile is as it should be.
        let there = desk.workers("drain")?.drain(incarnation).await?;
        let WorkerReport { host, pid, .. } = &worker.report;
        if desk.json {
            desk.out.object(
                &json!({"worker": incarnation.to_string(), "host": host, "pid": pid, "asked": there}),
            )?;
        } else {
            let said = if there { "was asked to drain" } else { "has ended" };
            let line = format!("worker {incarnation}, process {pid} on {host}: {said}");
            desk.out.line(&print::plain(&line))?;
        }
    }
    desk.out.finish()?;
    let Some(wait) = wait else { return Ok(true) };
    let asked: Vec<_> = workers.iter().map(|worker| worker.incarnation).collect();
    let until = Instant::now() + wait;
    loop {
        let live = desk.live_workers("drain").await?;
        let left: Vec<Incarnation> =
            live.iter().map(|live| live.incarnation).filter(|live| asked.contains(live)).collect();
        if left.is_empty() {
            return Ok(true);
        }
        if Instant::now() >= until {
            let left = left.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let message = format!("still draining after {}: {left}", print::duration(wait));
            return Err(Error::new(ErrorKind::Timeout, "drain", message)
                .advise("what they still run: manyhands workers show ID; they end without this command"));
        }
        tokio::time::sleep(AGAIN.min(until - Instant::now())).await;
    }
}

async fn check(desk: &mut Desk, host: &str, within: Duration) -> Result<bool> {
    let all = desk.live_workers("check").await?;
    // One that is silent may have been killed, and another may have come in its place.
    let is_here = |worker: &&LiveWorker| worker.report.host == host && worker.heard <= within;
    let here: Vec<_> = all.iter().filter(is_here).collect();
    for worker in &here {
        let trouble = worker.trouble(within);
        if desk.json {
            let mut object = object(worker);
            object["trouble"] = json!(trouble);
            desk.out.object(&object)?;
        } else {
            let said = trouble.unwrap_or_else(|| "well".to_owned());
            let line = format!("worker {}, process {}: {said}", worker.incarnation, worker.report.pid);
            desk.out.line(&print::plain(&line))?;
        }
    }
    if here.is_empty() {
        desk.note(&format!("no worker on {host} has told of itself for {}", print::duration(within)));
    }
    Ok(!here.is_empty() && here.iter().all(|worker| worker.trouble(within).is_none()))
}
