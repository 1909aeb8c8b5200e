//! `producer send`: one task on its way; prints its id, or its result.

use std::{
    io::Read,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use manyhands_broker::{
    BatchName, Broker, Error, ErrorKind, Hold, LimitKey, NewTask, Payload, QueueName, Result, Start, TaskId,
    Unique, UniqueKey, Wanted, limits,
};
use manyhands_cli::{
    BrokerArg, INTERRUPTED, LogArgs, answer, block_on, note, report, session, start_logging, success, text,
};

use super::{signals::Signals, target::Target};
use crate::Client;

/// Puts one task on a queue and prints its id; with --wait, its result
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name of the task, by which a worker finds the handler
    task: String,

    /// What the handler is given, as JSON; - reads it from standard input
    #[arg(default_value = "null", allow_negative_numbers = true)]
    json: String,

    /// The queue  [default: as the configuration file says for this task, else default]
    #[arg(long)]
    queue: Option<String>,

    /// An id of your own: sending it again changes nothing
    #[arg(long)]
    id: Option<String>,

    /// How many failures of the handler make the task dead  [default: as the configuration file says, else 5]
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,

    /// How many crashes of the process that ran it alone make the task dead  [default: as the configuration file says, else 3]
    #[arg(long, value_name = "N")]
    max_crashes: Option<u32>,

    /// End a run that takes longer, as a failure; the handler's own limit holds where it is shorter
    #[arg(long, value_name = "DURATION", value_parser = text::duration)]
    run_limit: Option<Duration>,

    /// Let it start so much later, such as 90s or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = text::duration)]
    delay: Option<Duration>,

    /// Let it start at a time, such as 2026-12-24T18:00:00Z
    #[arg(long, value_name = "TIME", value_parser = text::time, conflicts_with = "delay")]
    at: Option<SystemTime>,

    /// Its place in a queue whose order is by priority: the lowest first
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i64>,

    /// Give it up if nobody claims it for so long
    #[arg(long, value_name = "DURATION", value_parser = text::duration)]
    expires: Option<Duration>,

    /// A key that no other unsettled task of the queue may have
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,

    /// Hold the unique key for so long after the task was settled, or "batch": until its batch has ended
    #[arg(long, value_name = "DURATION", value_parser = text::hold, requires = "unique")]
    unique_for: Option<Hold>,

    /// A batch of tasks that belong together, and their children; it begins with the first
    #[arg(long, value_name = "NAME")]
    batch: Option<String>,

    /// A key of which the queue runs only so many tasks at a time, by its key_limit and key_interval
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Wait for room in a full queue, at most so long
    #[arg(long, value_name = "DURATION", value_parser = text::duration)]
    wait_for_room: Option<Duration>,

    /// Wait until it is settled, at most so long, and print its result
    #[arg(long, value_name = "DURATION", value_parser = text::duration)]
    wait: Option<Duration>,

    /// Keep the result for so long after it was settled, where the broker does  [default: 1h with --wait, else not at all]
    #[arg(long, value_name = "DURATION", value_parser = text::duration)]
    keep_result: Option<Duration>,

    #[command(flatten)]
    broker: BrokerArg,

    #[command(flatten)]
    log: LogArgs,
}

/// Runs the command.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    start_logging(&args.log);
    match block_on("send", send(&args)).and_then(|answer| print(&args, &answer)) {
        Ok(ended) => ended,
        Err(error) => report(&error, args.broker.text()),
    }
}

/// What became of it.
struct Answer {
    id: TaskId,
    end: End,
}

enum End {
    /// It is on its queue.
    Sent,
    /// It completed, with this result.
    Result(Payload),
    /// A signal ended the wait.
    Interrupted,
}

async fn send(args: &Args) -> Result<Answer> {
    let target = Target::of(&args.task, args.queue.as_deref(), args.broker.configuration()?)?;
    let task = task(args, &target)?;
    let (_, broker) = session(&args.broker).await?;
    target.declare(&*broker).await?;
    let client = Client::new(Arc::clone(&broker));
    let queue = task.queue.clone();
    let sent = match args.wait_for_room {
        Some(timeout) => client.send_when_room(task, timeout).await,
        None => client.send_task(task).await,
    };
    let id = match sent {
        Ok(id) => id,
        Err(error) => return Err(advised(error, &*broker, &queue).await),
    };
    let end = match args.wait {
        Some(timeout) => wait(&client, &queue, &id, timeout).await?,
        None => End::Sent,
    };
    Ok(Answer { id, end })
}

/// Waits for the result. Only from here on a signal has something to be said: before, it ends the command as any other.
async fn wait(client: &Client, queue: &QueueName, id: &TaskId, timeout: Duration) -> Result<End> {
    let signals = Signals::listen("wait")?;
    let result = tokio::select! {
        () = signals.came() => return Ok(End::Interrupted),
        result = client.result(queue, id, timeout) => result,
    };
    match result {
        Err(error) if error.kind() == ErrorKind::Timeout && client.broker().lookup().is_some() => {
            Err(error.advise(format!("manyhands tasks why {id} --queue {queue}; the task goes on")))
        }
        result => result.map(End::Result),
    }
}

/// What to do about a full queue, by the means of the command line.
async fn advised(error: Error, broker: &dyn Broker, queue: &QueueName) -> Error {
    // A full disk is another matter.
    if error.kind() != ErrorKind::Full || error.operation() != "send" {
        return error;
    }
    match broker.status(queue).await {
        Ok(Some(status)) => {
            let capacity = status.options.capacity.saturating_mul(2);
            error.advise(format!(
                "--wait-for-room 30s, or: manyhands queues set {queue} --capacity {capacity}"
            ))
        }
        _ => error,
    }
}

fn task(args: &Args, target: &Target) -> Result<NewTask> {
    let payload = if args.json == "-" { read_stdin()? } else { args.json.clone() };
    let payload = Payload::from_json(&payload).map_err(|error| {
        error.advise(r#"JSON in quotes of the shell: '{"width": 640}', '"text"', 5 or null"#)
    })?;
    let mut task = target.task(payload);
    if let Some(id) = &args.id {
        task = task.with_id(TaskId::new(id)?);
    }
    if let Some(max_attempts) = args.max_attempts {
        task = task.with_max_attempts(max_attempts);
    }
    if let Some(max_crashes) = args.max_crashes {
        task = task.with_max_crashes(max_crashes);
    }
    if let Some(run_limit) = args.run_limit {
        task = task.with_run_limit(run_limit);
    }
    if let Some(start) = args.delay.map(Start::After).or(args.at.map(Start::At)) {
        task = task.with_start(start);
    }
    if let Some(priority) = args.priority {
        task = task.with_priority(priority);
    }
    if let Some(expires) = args.expires {
        task = task.with_expires(expires);
    }
    if let Some(key) = &args.unique {
        let hold = args.unique_for.unwrap_or(Hold::For(Duration::ZERO));
        task = task.with_unique(Unique { key: UniqueKey::new(key)?, hold });
    }
    if let Some(batch) = &args.batch {
        task = task.in_batch(BatchName::new(batch)?);
    }
    if let Some(key) = &args.key {
        task = task.with_key(LimitKey::new(key)?);
    }
    let wanted = args.keep_result.map(Wanted::Keep).or(args.wait.map(|_| Wanted::Reply));
    if let Some(wanted) = wanted {
        task = task.with_result(wanted);
    }
    Ok(task)
}

fn read_stdin() -> Result<String> {
    let most = limits::MAX_PAYLOAD;
    // One byte more than is allowed and the longest line's end: enough to be refused with the reason.
    let enough = most as u64 + 3;
    let unreadable = || Error::invalid("send", "the payload cannot be read from standard input");
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(enough).read_to_end(&mut bytes).map_err(|e| unreadable().because(e))?;
    if bytes.trim_ascii().len() > most || bytes.len() as u64 == enough {
        let message = format!("the payload from standard input has more than {most} bytes");
        return Err(Error::invalid("send", message).advise("store it elsewhere and send a reference"));
    }
    String::from_utf8(bytes).map_err(|e| unreadable().because(e))
}

/// Prints an id, or a result as JSON.
fn print(args: &Args, Answer { id, end }: &Answer) -> Result<ExitCode> {
    let line = match end {
        End::Sent => id.to_string(),
        End::Result(result) => result.as_str().to_owned(),
        End::Interrupted => {
            if !args.log.quiet {
                note(&format!("interrupted: task {id} is sent, and goes on"));
            }
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    answer("send", &line, || format!("task {id} is sent, but the answer cannot be printed"))?;
    Ok(success())
}
