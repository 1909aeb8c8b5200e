//! `manyhands dead`: tasks that were given up.

use std::process::ExitCode;

use clap::Subcommand;
use manyhands::{DeadLetters, DeadTask, Error, ErrorKind, QueueName, Result, Revived, TaskId};
use manyhands_broker::limits;
use serde_json::{Value, json};

use super::{
    ask::{self, Common, Consent, Desk},
    print::{self, Cell},
    task::json_text,
    tasks::{LIMIT, QueueArg},
    why,
};

/// What a broker cannot do that does not list its dead.
const BLIND: &str = "only the server itself sees its dead tasks";

/// Looks at tasks that were given up, and gives them another chance or removes them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists dead tasks in the order of their death, with what went wrong
    List {
        #[command(flatten)]
        queue: QueueArg,

        /// Go on after the mark of a task that was listed
        #[arg(long, value_name = "MARK")]
        after: Option<u64>,

        /// How many tasks at most
        #[arg(long, value_name = "N", default_value_t = LIMIT)]
        limit: usize,

        #[command(flatten)]
        common: Common,
    },
    /// Makes dead tasks ready again, with all their attempts before them
    Revive {
        #[command(flatten)]
        which: Which,

        #[command(flatten)]
        common: Common,
    },
    /// Removes dead tasks for good
    Purge {
        #[command(flatten)]
        which: Which,

        #[command(flatten)]
        consent: Consent,

        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Their ids
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<TaskId>,

    /// All that are dead now
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    queue: QueueArg,
}

pub(super) fn run(args: Args) -> ExitCode {
    match args.command {
        Command::List { queue, after, limit, common } => {
            ask::run("list", &common, false, async |desk| list(desk, &queue.queue, after, limit).await)
        }
        Command::Revive { which, common } => {
            ask::run("revive", &common, false, async |desk| revive(desk, &which).await)
        }
        Command::Purge { which, consent, common } => {
            ask::run("purge", &common, false, async |desk| purge(desk, &which, &consent).await)
        }
    }
}

impl Desk {
    fn dead(&self, operation: &'static str) -> Result<&dyn DeadLetters> {
        self.broker.dead_letters().ok_or_else(|| self.unsupported(operation, BLIND))
    }
}

async fn list(desk: &mut Desk, queue: &QueueName, after: Option<u64>, limit: usize) -> Result<bool> {
    desk.dead("list")?;
    desk.status("list", queue).await?;
    let (mut after, mut left) = (after, limit);
    while left > 0 {
        let page = desk.dead("list")?.list(queue, after, left.min(limits::MAX_BATCH)).await?;
        let Some(last) = page.last() else {
            desk.note_if_empty("there are no dead tasks");
            return Ok(true);
        };
        after = Some(last.mark);
        left -= page.len().min(left);
        show(desk, queue, &page)?;
    }
    desk.out.finish()?;
    if !desk.dead("list")?.list(queue, after, 1).await?.is_empty() {
        let after = after.map_or(String::new(), |mark| format!(" --after {mark}"));
        desk.note(&format!(
            "there are more: --limit N lists so many; to go on: manyhands dead list --queue {queue}{after}"
        ));
    }
    Ok(true)
}

fn show(desk: &mut Desk, queue: &QueueName, tasks: &[DeadTask]) -> Result<()> {
    if desk.json {
        return tasks.iter().try_for_each(|task| desk.out.object(&object(queue, task)));
    }
    let row = |task: &DeadTask| {
        vec![
            Cell::text(task.id.to_string()),
            Cell::text(task.name.as_str()),
            Cell::text(print::time(task.died)),
            Cell::number(task.attempts),
            Cell::text(&task.error),
        ]
    };
    desk.out.rows(&["id", "name", "died", "tries", "error"], tasks.iter().map(row).collect())
}

fn object(queue: &QueueName, task: &DeadTask) -> Value {
    json!({
        "queue": queue,
        "id": task.id,
        "name": task.name,
        "error": task.error,
        "attempts": task.attempts,
        "crashes": task.crashes,
        "died": print::time(task.died),
        "mark": task.mark,
        "payload": json_text(&task.payload),
        "history": why::history(&task.history),
    })
}

/// The ids that are meant, some at a time: those that were named, or all that were dead at the beginning.
struct Meant<'w> {
    named: std::slice::Chunks<'w, TaskId>,
    /// How many of all are left, and the mark of the last one that was looked at.
    all: Option<(u64, Option<u64>)>,
}

impl<'w> Meant<'w> {
    async fn of(desk: &Desk, operation: &'static str, which: &'w Which) -> Result<Self> {
        let status = desk.status(operation, &which.queue.queue).await?;
        let all = which.all.then_some((status.dead, None));
        Ok(Self { named: which.ids.chunks(limits::MAX_BATCH), all })
    }

    /// The next ones; none when all have been looked at.
    async fn next(&mut self, desk: &Desk, operation: &'static str, queue: &QueueName) -> Result<Vec<TaskId>> {
        let Some((left, after)) = &mut self.all else {
            return Ok(self.named.next().map(<[_]>::to_vec).unwrap_or_default());
        };
        let max = usize::try_from(*left).unwrap_or(usize::MAX).min(limits::MAX_BATCH);
        if max == 0 {
            return Ok(Vec::new());
        }
        let page = desk.dead(operation)?.list(queue, *after, max).await?;
        *after = page.last().map(|task| task.mark).or(*after);
        *left -= (page.len() as u64).min(*left);
        Ok(page.into_iter().map(|task| task.id).collect())
    }
}

async fn revive(desk: &mut Desk, which: &Which) -> Result<bool> {
    desk.dead("revive")?;
    let queue = &which.queue.queue;
    let mut meant = Meant::of(desk, "revive", which).await?;
    let (mut all, mut revived) = (true, 0_u64);
    loop {
        let ids = meant.next(desk, "revive", queue).await?;
        if ids.is_empty() {
            break;
        }
        let answers = desk.dead("revive")?.revive(queue, &ids).await?;
        for (id, answer) in ids.iter().zip(answers) {
            match &answer {
                Revived::Revived => revived += 1,
                // One that somebody else took first is none of those that are dead.
                Revived::Unknown => all &= which.all,
                Revived::Full => return Err(full(queue, id, revived)),
                Revived::Duplicate(_) => all = false,
            }
            said(desk, which, id, &answer)?;
        }
    }
    if which.all && !desk.json {
        desk.out.line(&format!("{queue}: {revived} tasks revived"))?;
    }
    Ok(all)
}

/// Tells what became of one task. Of all of them only those that did not come back are named.
fn said(desk: &mut Desk, which: &Which, id: &TaskId, answer: &Revived) -> Result<()> {
    let queue = &which.queue.queue;
    let (word, text, other) = match answer {
        Revived::Revived => ("revived", "revived".to_owned(), None),
        Revived::Duplicate(other) => {
            ("duplicate", format!("stays dead: task {other} has its unique key"), Some(other))
        }
        _ => ("unknown", "is not among the dead".to_owned(), None),
    };
    if desk.json {
        return desk.out.object(&json!({ "queue": queue, "id": id, "answer": word, "has_its_key": other }));
    }
    if which.all && matches!(answer, Revived::Revived | Revived::Unknown) {
        return Ok(());
    }
    desk.out.line(&format!("{id}: {text}"))
}

fn full(queue: &QueueName, id: &TaskId, revived: u64) -> Error {
    let message =
        format!("queue \"{queue}\" is full: {revived} tasks were revived, {id} and those after it stay dead");
    Error::new(ErrorKind::Full, "revive", message).advise(format!(
        "the same command when there is room, or first: manyhands queues set {queue} --capacity N"
    ))
}

async fn purge(desk: &mut Desk, which: &Which, consent: &Consent) -> Result<bool> {
    desk.dead("purge")?;
    let queue = &which.queue.queue;
    let mut meant = Meant::of(desk, "purge", which).await?;
    let count = meant.all.map_or(which.ids.len() as u64, |(left, _)| left);
    desk.consent("purge", consent, &format!("remove {count} dead tasks of queue \"{queue}\" for good"))?;
    let (mut all, mut purged) = (true, 0_u64);
    loop {
        let ids = meant.next(desk, "purge", queue).await?;
        if ids.is_empty() {
            break;
        }
        let answers = desk.dead("purge")?.purge(queue, &ids).await?;
        for (id, gone) in ids.iter().zip(answers) {
            purged += u64::from(gone);
            all &= gone || which.all;
            if which.all {
                continue;
            }
            let word = if gone { "purged" } else { "unknown" };
            let text = if gone { "removed" } else { "is not among the dead" };
            if desk.json {
                desk.out.object(&json!({ "queue": queue, "id": id, "answer": word }))?;
            } else {
                desk.out.line(&format!("{id}: {text}"))?;
            }
        }
    }
    match (which.all, desk.json) {
        (true, true) => desk.out.object(&json!({ "queue": queue, "purged": purged }))?,
        (true, false) => desk.out.line(&format!("{queue}: {purged} tasks removed"))?,
        (false, _) => {}
    }
    Ok(all)
}
