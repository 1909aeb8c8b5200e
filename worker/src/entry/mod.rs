//! The main function of worker programs, and what the commands share with it.
//!
//! The only part of this crate that reads arguments and environment, writes to the terminal and chooses
//! exit codes: a worker of your own gets the flags, configuration, logging, signals and exit codes of the stock one.

mod args;
mod programs;
mod serve;
mod signals;
mod supervise;

use std::{process::ExitCode, time::Duration};

use clap::{CommandFactory, FromArgMatches, Parser};
use manyhands_broker::{Error, ErrorKind, Result};

pub use self::{
    args::Args,
    signals::{Signals, until_signal},
};
use manyhands_cli::start_logging_with_pid;
pub use manyhands_cli::{BrokerArg, LogArgs, code, report, resolve, session, start_logging, success};

use self::supervise::Supervised;
use crate::{
    App,
    children::{self, Own, Role},
};

// A worker program has no commands, only flags. What it is says the help of those.
#[derive(Debug, Parser)]
#[command(version)]
struct Program {
    #[command(flatten)]
    args: Args,
}

/// Runs a worker program: reads its flags and its configuration, opens the broker, runs the handlers that `register` adds and
/// the programs that the configuration names, and drains on SIGTERM or SIGINT.
///
/// Exit codes: 0 after a clean drain, 2 wrong usage or configuration, 3 the broker could not be reached, 4 refused, 130
/// ended at once by a second signal. `--help` says the rest. With `--processes` it starts itself again, as often as that says, and keeps
/// those running; handlers are registered in them only.
///
/// Call it before anything else is done: for handlers in processes of their own the program starts itself again, to prepare
/// them, and that start ends here.
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
    let own = match children::begin(std::env::args_os()) {
        Some(Role::Over(code)) => return code,
        Some(Role::Own(own)) => Some(own),
        Some(Role::Again) => return report(&nothing_to_be_called(), None),
        None => None,
    };
    let name = program();
    let command = Program::command().name(name.clone()).bin_name(name.clone());
    let words = own.as_ref().map_or_else(|| std::env::args_os().collect(), |own| own.args().to_vec());
    match command.try_get_matches_from(words).and_then(|matches| Program::from_arg_matches(&matches)) {
        Ok(Program { args }) => match own {
            Some(own) => serve_handler(own, &args, register),
            None => run(&args, &name, register),
        },
        Err(error) => manyhands_cli::usage(&error),
    }
}

/// Runs one of the handlers for the worker that started this process.
fn serve_handler(own: Own, args: &Args, register: impl FnOnce(App) -> App) -> ExitCode {
    start_logging(&args.log);
    own.serve(register(App::new())).unwrap_or_else(|error| report(&error, None))
}

/// Does what a worker started its own program for: `Some` with the exit code if this process is such a one, which then has
/// nothing else to do.
#[must_use]
pub fn child() -> Option<ExitCode> {
    match children::begin(std::env::args_os())? {
        Role::Over(code) => Some(code),
        Role::Again => Some(report(&nothing_to_be_called(), None)),
        Role::Own(_) => {
            let error =
                Error::new(ErrorKind::Internal, "start", "this program starts no handlers in processes");
            Some(report(&error, None))
        }
    }
}

/// As [`main`], with arguments that are read already, under a name.
pub fn run(args: &Args, name: &str, register: impl FnOnce(App) -> App) -> ExitCode {
    let supervised = Supervised::here();
    match supervised {
        Some(_) => start_logging_with_pid(&args.log),
        None => start_logging(&args.log),
    }
    let result = match (&supervised, supervise::wanted(args)) {
        (_, Err(error)) => Err(error),
        (None, Ok(Some(wanted))) => supervise::supervise(args, name, wanted),
        _ => serve_here(args, name, register, supervised),
    };
    match result {
        Ok(ended) => ended,
        Err(error) => report(&error, args.broker.text()),
    }
}

/// Serves in this process.
fn serve_here(
    args: &Args,
    name: &str,
    register: impl FnOnce(App) -> App,
    supervised: Option<Supervised>,
) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(no_threads)?;
    let result = runtime.block_on(serve::serve(args, name, register(App::new()), supervised));
    // A blocking handler that does not listen must not keep the process: its end is what gives the task back.
    runtime.shutdown_timeout(Duration::ZERO);
    result
}

/// Another main function is needed for what calls functions in processes.
fn nothing_to_be_called() -> Error {
    let message = "this program is a worker: it calls no functions in processes of its own";
    Error::new(ErrorKind::Internal, "start", message)
        .advise("begin the program with the main function of multiprocessing")
}

fn no_threads(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, "start", "no threads can be started").because(error)
}

/// The name that the program was started under.
fn program() -> String {
    let path = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = path.as_ref().and_then(|path| path.file_name()).and_then(|name| name.to_str());
    name.unwrap_or("worker").to_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        super::Program::command().debug_assert();
    }
}
