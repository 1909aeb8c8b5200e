//! `manyhands send`: one task on its way; prints its id.

use std::{
    io::{Read, Write},
    process::ExitCode,
};

use manyhands::{Client, Error, ErrorKind, NewTask, Payload, QueueName, Result, TaskId, TaskName};
use manyhands_worker::entry::{BrokerArg, LogArgs, report, session, start_logging, success};

/// Puts one task on a queue and prints its id
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The name of the task, by which a worker finds the handler
    task: String,

    /// What the handler is given, as JSON; - reads it from standard input
    #[arg(default_value = "null", allow_hyphen_values = true)]
    json: String,

    /// The queue
    #[arg(long, default_value = "default")]
    queue: String,

    /// An id of your own: sending it again changes nothing
    #[arg(long)]
    id: Option<String>,

    /// How many failures of the handler make the task dead  [default: 5]
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,

    #[command(flatten)]
    broker: BrokerArg,

    #[command(flatten)]
    log: LogArgs,
}

pub(super) fn run(args: Args) -> ExitCode {
    start_logging(&args.log);
    let given = args.broker.text().map(str::to_owned);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let sent = runtime
        .map_err(|e| Error::new(ErrorKind::Internal, "send", "no runtime can be started").because(e))
        .and_then(|runtime| runtime.block_on(send(args)));
    match sent.and_then(|id| print(&id)) {
        Ok(()) => success(),
        Err(error) => report(&error, given.as_deref()),
    }
}

async fn send(args: Args) -> Result<TaskId> {
    let payload = if args.json == "-" { read_stdin()? } else { args.json };
    let mut task =
        NewTask::new(QueueName::new(&args.queue)?, TaskName::new(&args.task)?, Payload::from_json(&payload)?);
    if let Some(id) = &args.id {
        task = task.with_id(TaskId::new(id)?);
    }
    if let Some(max_attempts) = args.max_attempts {
        task = task.with_max_attempts(max_attempts);
    }
    let (_, broker) = session(&args.broker).await?;
    let client = Client::new(broker);
    client.send_task(task).await
}

fn read_stdin() -> Result<String> {
    // One byte more than is allowed is enough to be refused with the reason.
    let most = manyhands_broker::limits::MAX_PAYLOAD as u64 + 1;
    let mut text = String::new();
    let read = std::io::stdin().lock().take(most).read_to_string(&mut text);
    read.map_err(|e| Error::invalid("send", "the payload cannot be read from standard input").because(e))?;
    Ok(text)
}

fn print(id: &TaskId) -> Result<()> {
    let written = writeln!(std::io::stdout().lock(), "{id}");
    written.map_err(|e| {
        Error::new(ErrorKind::Internal, "send", format!("task {id} is sent, but its id cannot be printed"))
            .because(e)
    })
}
