//! `manyhands queues`: which there are, how they stand, and what an operator changes.

use std::{process::ExitCode, time::Duration};

use clap::{Subcommand, ValueEnum};
use manyhands::{ErrorKind, Order, QueueName, QueueOptions, QueueStatus, Result, State};
use manyhands_broker::limits;
use serde_json::{Value, json};

use super::{
    ask::{self, Common, Consent, Desk},
    print::{self, Cell},
    text, who,
};

/// How often a change is tried again when somebody else changes the queue meanwhile.
const TRIES: usize = 16;

/// Looks at queues, and changes them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists queues with how many tasks are in which state
    List {
        /// Only these queues  [default: all of the namespace]
        #[arg(value_name = "QUEUE")]
        queues: Vec<QueueName>,

        #[command(flatten)]
        common: Common,
    },
    /// Changes the options of a queue; makes it if it is missing
    Set {
        /// The queue
        queue: QueueName,

        #[command(flatten)]
        change: Box<Change>,

        #[command(flatten)]
        common: Common,
    },
    /// Stops the claims of queues; all else goes on, and what runs is not stopped
    Pause {
        #[command(flatten)]
        named: Named,

        /// Who does so, for those who ask why nothing runs  [default: user@host]
        #[arg(long, value_name = "TEXT")]
        by: Option<String>,
    },
    /// Lets the claims of paused queues go on
    Resume(Named),
    /// Cancels the tasks of a queue that wait to be run
    Purge {
        /// The queue
        queue: QueueName,

        /// Only tasks in these states
        #[arg(long, value_name = "STATES", value_delimiter = ',', default_value = "ready,scheduled,held")]
        state: Vec<Waiting>,

        #[command(flatten)]
        consent: Consent,

        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The queues
    #[arg(value_name = "QUEUE", required = true)]
    queues: Vec<QueueName>,

    #[command(flatten)]
    common: Common,
}

/// What is to be otherwise. Options that are not given stay as they are.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// How many tasks may be unsettled before the queue is full
    #[arg(long, value_name = "N")]
    capacity: Option<u64>,

    /// Which task is claimed first: fifo, lifo or priority; only while the queue is empty
    #[arg(long)]
    order: Option<OrderArg>,

    /// How many tasks of one key run at a time, or none for as many as come
    #[arg(long, value_name = "N", value_parser = number_or_none)]
    key_limit: Option<Given<u32>>,

    /// How long after a claim the next one of its key comes, or none for at once
    #[arg(long, value_name = "DURATION", value_parser = duration_or_none)]
    key_interval: Option<Given<Duration>>,

    /// How long given ids are remembered after their tasks were settled; 0s for not at all
    #[arg(long, value_name = "DURATION", value_parser = text::duration)]
    remember_ids: Option<Duration>,
}

/// A value that was given, or that there is to be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Given<T>(Option<T>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OrderArg {
    Fifo,
    Lifo,
    Priority,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Waiting {
    Ready,
    Scheduled,
    Held,
}

fn number_or_none(text: &str) -> Result<Given<u32>, String> {
    let number = || text.parse().map_err(|_| format!("{text:?} is no number of tasks: write 3, or none"));
    if text == "none" { Ok(Given(None)) } else { number().map(|number| Given(Some(number))) }
}

fn duration_or_none(text: &str) -> Result<Given<Duration>, String> {
    if text == "none" { Ok(Given(None)) } else { text::duration(text).map(|time| Given(Some(time))) }
}

pub(super) fn run(args: Args) -> ExitCode {
    match args.command {
        Command::List { queues, common } => {
            ask::run("queues", &common, false, async |desk| list(desk, &queues).await)
        }
        Command::Set { queue, change, common } => {
            ask::run("set", &common, true, async |desk| set(desk, &queue, &change).await)
        }
        Command::Pause { named: Named { queues, common }, by } => {
            let by = by.unwrap_or_else(who::user_and_host);
            ask::run("pause", &common, false, async |desk| pause(desk, &queues, Some(&by)).await)
        }
        Command::Resume(Named { queues, common }) => {
            ask::run("resume", &common, false, async |desk| pause(desk, &queues, None).await)
        }
        Command::Purge { queue, state, consent, common } => {
            ask::run("purge", &common, false, async |desk| purge(desk, &queue, &state, &consent).await)
        }
    }
}

async fn list(desk: &mut Desk, queues: &[QueueName]) -> Result<bool> {
    if !queues.is_empty() {
        let mut found = Vec::new();
        for queue in queues {
            found.push((queue.clone(), desk.status("queues", queue).await?));
        }
        show(desk, &found)?;
        return Ok(true);
    }
    let mut after: Option<QueueName> = None;
    loop {
        let names = desk.broker.queues(after.as_ref(), limits::MAX_BATCH).await?;
        let mut found = Vec::new();
        for queue in &names {
            // One that was removed meanwhile is none.
            found.extend(desk.broker.status(queue).await?.map(|status| (queue.clone(), status)));
        }
        show(desk, &found)?;
        if names.len() < limits::MAX_BATCH {
            desk.note_if_empty("there are no queues");
            return Ok(true);
        }
        after = names.last().cloned();
    }
}

/// The columns of the list.
const HEADING: [&str; 9] =
    ["queue", "ready", "scheduled", "held", "leased", "dead", "capacity", "order", "state"];

fn show(desk: &mut Desk, queues: &[(QueueName, QueueStatus)]) -> Result<()> {
    if desk.json {
        return queues.iter().try_for_each(|(queue, status)| desk.out.object(&object(queue, status)));
    }
    let rows: Vec<_> = queues.iter().map(|(queue, status)| row(queue, status)).collect();
    desk.out.rows(&HEADING, rows)
}

fn row(queue: &QueueName, status: &QueueStatus) -> Vec<Cell> {
    let said = state(status);
    let number = |number: u64| Cell::number(number);
    vec![
        Cell::text(queue.as_str()),
        number(status.ready),
        number(status.scheduled),
        number(status.held),
        number(status.leased),
        number(status.dead).bad_if(status.dead > 0),
        number(status.options.capacity),
        Cell::text(status.options.order.to_string()),
        Cell::text(&said).bad_if(!said.is_empty()),
    ]
}

/// What is unusual about a queue.
fn state(status: &QueueStatus) -> String {
    let all = [
        (status.paused, "paused"),
        (status.is_full(), "full"),
        (status.is_ended(), "ended"),
        (status.closed && !status.is_ended(), "closed"),
    ];
    all.into_iter().filter(|(so, _)| *so).map(|(_, word)| word).collect::<Vec<_>>().join(", ")
}

fn object(queue: &QueueName, status: &QueueStatus) -> Value {
    let QueueOptions { capacity, order, key_limit, key_interval, remember_ids, .. } = &status.options;
    json!({
        "queue": queue,
        "ready": status.ready,
        "scheduled": status.scheduled,
        "held": status.held,
        "leased": status.leased,
        "dead": status.dead,
        "paused": status.paused,
        "paused_by": status.pause.as_ref().map(|pause| &pause.by),
        "paused_at": status.pause.as_ref().map(|pause| print::time(pause.at)),
        "closed": status.closed,
        "capacity": capacity,
        "order": order.to_string(),
        "key_limit": key_limit,
        "key_interval_ms": print::ms(*key_interval),
        "remember_ids_ms": print::ms(*remember_ids),
        "revision": status.revision,
    })
}

impl Change {
    /// The options after the change.
    fn apply(&self, mut options: QueueOptions) -> QueueOptions {
        options.capacity = self.capacity.unwrap_or(options.capacity);
        if let Some(order) = self.order {
            options.order = match order {
                OrderArg::Fifo => Order::Fifo,
                OrderArg::Lifo => Order::Lifo,
                OrderArg::Priority => Order::Priority,
            };
        }
        if let Some(Given(limit)) = self.key_limit {
            options.key_limit = limit;
        }
        if let Some(Given(interval)) = self.key_interval {
            options = options.with_key_interval(interval.unwrap_or_default());
        }
        match self.remember_ids {
            Some(time) => options.with_remember_ids(time),
            None => options,
        }
    }
}

async fn set(desk: &mut Desk, queue: &QueueName, change: &Change) -> Result<bool> {
    let mut tries = 0;
    let status = loop {
        tries += 1;
        let (options, revision) = match desk.broker.status(queue).await? {
            Some(status) => (status.options, status.revision),
            // It is made with defaults, which are the first revision.
            None => (QueueOptions::default(), 1),
        };
        let lookup = desk.lookup("set", "the options of a queue stay as they were declared")?;
        match lookup.set(queue, &change.apply(options), revision).await {
            // Who changed it meanwhile may have changed something else: all that was asked for is told anew.
            Err(error) if error.kind() == ErrorKind::Conflict && tries < TRIES => {
                let now = desk.broker.status(queue).await?.map(|status| status.revision);
                if now == Some(revision) || now.is_none() {
                    return Err(error);
                }
            }
            answer => break answer?,
        }
    };
    if desk.json {
        desk.out.object(&object(queue, &status))?;
        return Ok(true);
    }
    let QueueOptions { capacity, order, key_limit, key_interval, remember_ids, .. } = &status.options;
    let lines = [
        ("queue", Cell::text(queue.as_str())),
        ("capacity", Cell::text(capacity.to_string())),
        ("order", Cell::text(order.to_string())),
        ("key_limit", Cell::text(key_limit.map_or("none".to_owned(), |limit| limit.to_string()))),
        ("key_interval", Cell::text(none_if_zero(*key_interval))),
        ("remember_ids", Cell::text(print::duration(*remember_ids))),
        ("revision", Cell::text(status.revision.to_string())),
    ];
    desk.out.block(&lines)?;
    Ok(true)
}

fn none_if_zero(time: Duration) -> String {
    if time.is_zero() { "none".to_owned() } else { print::duration(time) }
}

/// Pauses queues, if it is told who does so; else lets them go on.
async fn pause(desk: &mut Desk, queues: &[QueueName], by: Option<&str>) -> Result<bool> {
    let operation = if by.is_some() { "pause" } else { "resume" };
    for queue in queues {
        // A name that is mistyped would make a queue.
        desk.status(operation, queue).await?;
    }
    for queue in queues {
        match by {
            Some(by) => desk.broker.pause(queue, by).await?,
            None => desk.broker.resume(queue).await?,
        }
        if desk.json {
            desk.out.object(&json!({ "queue": queue, "paused": by.is_some() }))?;
        } else {
            let now = if by.is_some() { "paused" } else { "goes on" };
            desk.out.line(&format!("{queue}: {now}"))?;
        }
    }
    Ok(true)
}

async fn purge(desk: &mut Desk, queue: &QueueName, states: &[Waiting], consent: &Consent) -> Result<bool> {
    let what = "tasks that wait cannot be taken out of a queue";
    desk.lookup("purge", what)?;
    let status = desk.status("purge", queue).await?;
    let states: Vec<State> = states
        .iter()
        .map(|state| match state {
            Waiting::Ready => State::Ready,
            Waiting::Scheduled => State::Scheduled,
            Waiting::Held => State::Held,
        })
        .collect();
    let count = |state: &State| match state {
        State::Ready => status.ready,
        State::Scheduled => status.scheduled,
        _ => status.held,
    };
    let mut unique = states.clone();
    unique.sort_unstable();
    unique.dedup();
    // What comes while it goes on is not meant.
    let meant: u64 = unique.iter().map(count).sum();
    let names: Vec<String> = unique.iter().map(ToString::to_string).collect();
    desk.consent(
        "purge",
        consent,
        &format!("cancel {meant} tasks of queue \"{queue}\" that are {}", names.join(" or ")),
    )?;
    let mut purged = 0;
    let ended = loop {
        let left = usize::try_from(meant.saturating_sub(purged)).unwrap_or(usize::MAX);
        if left == 0 {
            break Ok(());
        }
        match desk.lookup("purge", what)?.purge(queue, &unique, left.min(limits::MAX_BATCH)).await {
            Ok(0) => break Ok(()),
            Ok(some) => purged += some,
            Err(error) => break Err(error),
        }
    };
    if desk.json {
        desk.out.object(&json!({ "queue": queue, "purged": purged }))?;
    } else {
        desk.out.line(&format!("{queue}: {purged} tasks cancelled"))?;
    }
    ended.map(|()| true)
}
