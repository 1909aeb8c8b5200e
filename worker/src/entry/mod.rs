//! The main function of worker programs, and what the commands share with it.
//!
//! The only part of the libraries that reads arguments and environment, writes to the terminal and chooses
//! exit codes: a worker of your own gets the flags, logging, signals and exit codes of the stock commands.

mod args;
mod broker;
mod exit;
mod logging;
mod signals;

use std::{process::ExitCode, time::Duration};

use clap::{CommandFactory, FromArgMatches};
use manyhands_broker::{Error, Result};

pub use self::{
    args::{BrokerArg, LogArgs},
    broker::{resolve, session},
    exit::{code, report, success},
    logging::start as start_logging,
    signals::{Signals, until_signal},
};
use crate::{
    App, Worker,
    worker::{MAX_THREADS, Summary},
};

/// Runs a worker program: reads its flags, opens the broker, runs the handlers that `register` adds, and drains on
/// SIGTERM or SIGINT.
///
/// Exit codes: 0 after a clean drain, 2 wrong usage, 3 the broker could not be reached, 4 refused, 130
/// ended at once by a second signal. `--help` says the rest.
///
/// ```no_run
/// # use manyhands_worker::{App, Context, Task, TaskError};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Count { text: String }
/// # impl Task for Count { const NAME: &'static str = "count"; type Output = usize; }
/// async fn count(task: Count, _ctx: Context) -> Result<usize, TaskError> {
///     Ok(task.text.chars().count())
/// }
///
/// fn main() -> std::process::ExitCode {
///     manyhands_worker::main(|app: App| app.handle(count))
/// }
/// ```
pub fn main(register: impl FnOnce(App) -> App) -> ExitCode {
    let name = program();
    let command = args::WorkerArgs::command().name(name.clone()).bin_name(name);
    let args =
        match command.try_get_matches().and_then(|matches| args::WorkerArgs::from_arg_matches(&matches)) {
            Ok(args) => args,
            Err(error) => return exit::usage(&error),
        };
    start_logging(&args.log);
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else {
        return report(
            &Error::new(manyhands_broker::ErrorKind::Internal, "start", "no threads can be started"),
            None,
        );
    };
    let result = runtime.block_on(run(&args, register(App::new())));
    // A blocking handler that does not listen must not keep the process: its end is what gives the task back.
    runtime.shutdown_timeout(Duration::ZERO);
    match result {
        Ok(ended) => ended,
        Err(error) => report(&error, args.broker.text()),
    }
}

/// The name that the program was started under.
fn program() -> String {
    let path = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = path.as_ref().and_then(|path| path.file_name()).and_then(|name| name.to_str());
    name.unwrap_or("worker").to_owned()
}

async fn run(args: &args::WorkerArgs, app: App) -> Result<ExitCode> {
    let (url, broker) = session(&args.broker).await?;
    let mut builder = Worker::builder(broker)
        .app(app)
        .queues(args.queues()?)
        .strict(args.strict)
        .until_ended(args.until_ended);
    if let Some(slots) = args.concurrency {
        builder = builder.concurrency(slots).threads(slots.min(MAX_THREADS));
    }
    let worker = builder.build()?;
    if !args.log.quiet {
        exit::note(&format!(
            "{} {}: broker {url}; {}",
            program(),
            env!("CARGO_PKG_VERSION"),
            worker.describe()
        ));
    }
    let (shutdown, signals) = until_signal()?;
    let Summary { strays } = worker.run(&shutdown).await?;
    if strays > 0 {
        exit::note(&format!("{strays} handlers did not stop; their tasks are taken back by other workers"));
    }
    Ok(if signals.count() > 1 { ExitCode::from(exit::INTERRUPTED) } else { success() })
}
