//! `manyhands tasks`: single tasks, as they are and why they are not running.

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use manyhands::{Cancel, Error, ErrorKind, Mark, Outcome, QueueName, Result, State, TaskId, TaskInfo, Why};
use manyhands_broker::limits;
use serde_json::{Value, json};

use super::{
    ask::{self, Common, Consent, Desk, missing},
    holders::Holders,
    print::{self, Cell},
    task::{json_text, lines, object, row},
    why,
};

/// How many tasks are listed unless told otherwise.
pub(super) const LIMIT: usize = 100;

/// What a broker cannot do that finds no task by its id.
const BLIND: &str = "only the server itself sees single tasks";

/// Looks at single tasks, and cancels them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists tasks of a queue, in the order of their state
    List {
        #[command(flatten)]
        queue: QueueArg,

        /// Only tasks in this state  [default: leased, then ready, held, scheduled, dead]
        #[arg(long)]
        state: Option<StateArg>,

        /// Go on after a mark that an earlier list ended with; needs --state
        #[arg(long, value_name = "MARK", requires = "state")]
        after: Option<Mark>,

        /// How many tasks at most
        #[arg(long, value_name = "N", default_value_t = LIMIT)]
        limit: usize,

        #[command(flatten)]
        common: Common,
    },
    /// Shows everything that is known of one task
    Show {
        /// Its id
        id: TaskId,

        #[command(flatten)]
        queue: QueueArg,

        #[command(flatten)]
        common: Common,
    },
    /// Cancels tasks: one that waits is gone, one that runs is told, and may complete before
    Cancel {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<TaskId>,

        #[command(flatten)]
        queue: QueueArg,

        #[command(flatten)]
        consent: Consent,

        #[command(flatten)]
        common: Common,
    },
    /// Tells why a task is not running, or what became of it
    Why {
        /// Its id
        id: TaskId,

        #[command(flatten)]
        queue: QueueArg,

        #[command(flatten)]
        common: Common,
    },
}

/// Which queue.
#[derive(Debug, clap::Args)]
pub(super) struct QueueArg {
    /// The queue
    #[arg(long, value_name = "QUEUE", default_value = "default")]
    pub(super) queue: QueueName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StateArg {
    Ready,
    Scheduled,
    Held,
    Leased,
    Dead,
}

impl From<StateArg> for State {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Ready => Self::Ready,
            StateArg::Scheduled => Self::Scheduled,
            StateArg::Held => Self::Held,
            StateArg::Leased => Self::Leased,
            StateArg::Dead => Self::Dead,
        }
    }
}

pub(super) fn run(args: Args) -> ExitCode {
    match args.command {
        Command::List { queue, state, after, limit, common } => {
            ask::run("list", &common, false, async |desk| list(desk, &queue.queue, state, after, limit).await)
        }
        Command::Show { id, queue, common } => {
            ask::run("show", &common, false, async |desk| show(desk, &queue.queue, &id).await)
        }
        Command::Cancel { ids, queue, consent, common } => {
            ask::run("cancel", &common, false, async |desk| cancel(desk, &queue.queue, &ids, &consent).await)
        }
        Command::Why { id, queue, common } => {
            ask::run("why", &common, false, async |desk| tell_why(desk, &queue.queue, &id).await)
        }
    }
}

/// In which order states are listed: first what happens, then what comes next.
const STATES: [State; 5] = [State::Leased, State::Ready, State::Held, State::Scheduled, State::Dead];

async fn list(
    desk: &mut Desk,
    queue: &QueueName,
    state: Option<StateArg>,
    after: Option<Mark>,
    limit: usize,
) -> Result<bool> {
    desk.lookup("list", BLIND)?;
    desk.status("list", queue).await?;
    let states = state.map_or(STATES.to_vec(), |state| vec![state.into()]);
    let mut left = limit;
    for (number, state) in states.iter().enumerate() {
        let mut next = after.clone();
        loop {
            if left == 0 {
                let further = &states[number..];
                return rest(desk, queue, *state, next.as_ref(), further).await.map(|()| true);
            }
            let max = left.min(limits::MAX_BATCH);
            let page = desk.lookup("list", BLIND)?.list(queue, *state, next.as_ref(), max).await?;
            show_page(desk, queue, &page.tasks).await?;
            left -= page.tasks.len();
            next = page.next;
            if next.is_none() {
                break;
            }
        }
    }
    desk.note_if_empty("there are no such tasks");
    Ok(true)
}

/// Says that a list was cut, and how to go on, if there is more.
async fn rest(
    desk: &mut Desk,
    queue: &QueueName,
    state: State,
    next: Option<&Mark>,
    states: &[State],
) -> Result<()> {
    let mut more = next.is_some();
    for state in states.iter().skip(usize::from(next.is_some())) {
        more = more || !desk.lookup("list", BLIND)?.list(queue, *state, None, 1).await?.tasks.is_empty();
    }
    desk.out.finish()?;
    if more {
        let command = format!("manyhands tasks list --queue {queue} --state {state}");
        let after = next.map_or(String::new(), |mark| format!(" --after '{mark}'"));
        desk.note(&format!("there are more: --limit N lists so many; to go on: {command}{after}"));
    }
    Ok(())
}

async fn show_page(desk: &mut Desk, queue: &QueueName, tasks: &[TaskInfo]) -> Result<()> {
    if desk.json {
        let holders = Holders::of_tasks(desk.lookup("list", BLIND)?, tasks).await?;
        let mut objects = tasks.iter().map(|task| Value::Object(object(queue, task, &holders)));
        return objects.try_for_each(|object| desk.out.object(&object));
    }
    let rows: Vec<_> = tasks.iter().map(row).collect();
    desk.out.rows(&["id", "name", "state", "when", "tries"], rows)
}

async fn show(desk: &mut Desk, queue: &QueueName, id: &TaskId) -> Result<bool> {
    let lookup = desk.lookup("show", BLIND)?;
    let found = lookup.get(queue, id).await?;
    let infos = found.as_ref().map(|task| std::slice::from_ref(&task.info));
    let holders = Holders::of_tasks(lookup, infos.unwrap_or_default()).await?;
    match found {
        Some(task) if desk.json => {
            let mut shown = object(queue, &task.info, &holders);
            shown.insert("payload".to_owned(), json_text(&task.payload));
            shown.insert("progress".to_owned(), task.progress.as_ref().map_or(Value::Null, json_text));
            shown.insert("history".to_owned(), why::history(&task.history));
            desk.out.object(&Value::Object(shown))?;
            Ok(true)
        }
        Some(task) => {
            let lines = lines(queue, &task, &holders);
            desk.out.block(&lines)?;
            Ok(true)
        }
        None => show_ended(desk, queue, id).await,
    }
}

/// A task that is settled: its result, if that is kept.
async fn show_ended(desk: &mut Desk, queue: &QueueName, id: &TaskId) -> Result<bool> {
    if desk.broker.status(queue).await?.is_none() {
        return Err(no_task(desk, "show", queue, id).await);
    }
    let (state, result) = match desk.broker.outcomes(queue, std::slice::from_ref(id)).await?.pop() {
        Some(Outcome::Done(result)) => ("done", Some(result)),
        Some(Outcome::Cancelled) => ("cancelled", None),
        _ => return Err(no_task(desk, "show", queue, id).await),
    };
    if desk.json {
        let result = result.as_ref().map_or(Value::Null, json_text);
        desk.out.object(&json!({ "queue": queue, "id": id, "state": state, "result": result }))?;
        return Ok(true);
    }
    let mut lines = vec![("id", Cell::text(id.to_string())), ("queue", Cell::text(queue.as_str()))];
    lines.push(("state", Cell::text(state)));
    lines.extend(result.map(|result| ("result", Cell::text(result.as_str()))));
    desk.out.block(&lines)?;
    Ok(true)
}

/// That there is no such task, and where there is one.
async fn no_task(desk: &Desk, operation: &'static str, queue: &QueueName, id: &TaskId) -> Error {
    let other = match elsewhere(desk, id).await {
        Ok(other) => other,
        Err(error) => return error,
    };
    let here = match desk.broker.status(queue).await {
        Ok(here) => here,
        Err(error) => return error,
    };
    let error = match here {
        Some(_) => {
            let message =
                format!("there is no task {id} in queue \"{queue}\", or nothing is known of it any more");
            let advice = format!(
                "manyhands tasks list --queue {queue}; results are kept for those who ask for them only"
            );
            Error::new(ErrorKind::Failed, operation, message).advise(advice)
        }
        None => missing(operation, queue),
    };
    match other {
        Some(other) => error.advise(format!("manyhands tasks {operation} {id} --queue {other}")),
        None => error,
    }
}

/// The first queue that has a task of this id, of so many as one call tells: whoever forgot the queue should not have to guess it.
async fn elsewhere(desk: &Desk, id: &TaskId) -> Result<Option<QueueName>> {
    let lookup = desk.lookup("queues", BLIND)?;
    for queue in desk.broker.queues(None, limits::MAX_BATCH).await? {
        if lookup.get(&queue, id).await?.is_some() {
            return Ok(Some(queue));
        }
    }
    Ok(None)
}

async fn cancel(desk: &mut Desk, queue: &QueueName, ids: &[TaskId], consent: &Consent) -> Result<bool> {
    desk.lookup("cancel", BLIND)?;
    desk.status("cancel", queue).await?;
    let what = if let [id] = ids { format!("task {id}") } else { format!("{} tasks", ids.len()) };
    desk.consent("cancel", consent, &format!("cancel {what} of queue \"{queue}\""))?;
    let mut all = true;
    for ids in ids.chunks(limits::MAX_BATCH) {
        let answers = desk.broker.cancel(queue, ids).await?;
        for (id, answer) in ids.iter().zip(answers) {
            let (word, text) = match answer {
                Cancel::Cancelled => ("cancelled", "cancelled"),
                Cancel::Asked => ("asked", "is running: its holder is told, and it may complete before"),
                Cancel::Unknown => ("unknown", "is not there to be cancelled"),
            };
            all &= answer != Cancel::Unknown;
            if desk.json {
                desk.out.object(&json!({ "queue": queue, "id": id, "answer": word }))?;
            } else {
                desk.out.line(&format!("{id}: {text}"))?;
            }
        }
    }
    Ok(all)
}

async fn tell_why(desk: &mut Desk, queue: &QueueName, id: &TaskId) -> Result<bool> {
    let lookup = desk.lookup("why", BLIND)?;
    let why = lookup.why(queue, id).await?;
    let holders = match &why {
        Why::Unknown => {
            return Err(no_task(desk, "why", queue, id).await);
        }
        Why::Leased { by, .. } => Holders::of(lookup, &[*by]).await?,
        _ => Holders::default(),
    };
    if desk.json {
        desk.out.object(&why::object(queue, id, &why, &holders))?;
    } else {
        let lines = why::sentences(queue, id, &why, &holders);
        lines.iter().try_for_each(|line| desk.out.line(&print::plain(line)))?;
    }
    Ok(true)
}
