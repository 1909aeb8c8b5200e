//! A supervisor from its flags and its configuration to its end; and what a worker process knows of its own.

use std::process::ExitCode;

use manyhands_broker::{Error, ErrorKind, Result};
use manyhands_cli::note;

use super::{Args, no_threads, signals};
use crate::{
    children::SUPERVISOR,
    supervisor::{Line, Program, Supervisor, own_file},
};

/// What a worker process knows of its supervisor.
#[derive(Debug)]
pub(super) struct Supervised {
    /// Its pid.
    pub(super) supervisor: u32,
    pub(super) line: Line,
}

impl Supervised {
    /// Of this process, if its parent is one.
    pub(super) fn here() -> Option<Self> {
        let supervisor = std::env::var(SUPERVISOR).ok()?.parse().ok()?;
        // What inherited the variable has another parent.
        let parent = rustix::process::getppid()?.as_raw_nonzero().get().unsigned_abs();
        if parent != supervisor {
            return None;
        }
        Some(Self { supervisor, line: Line::take().ok()? })
    }
}

/// How many worker processes there are to be, if there is to be a supervisor.
pub(super) fn processes(args: &Args) -> Result<Option<usize>> {
    let configured = args.broker.configuration()?.settings().worker.processes;
    Ok(args.processes.map(usize::from).or(configured))
}

/// Keeps so many worker processes running until it is told to end.
pub(super) fn supervise(args: &Args, name: &str, processes: usize) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_threads)?;
    let program = program()?;
    let (quiet, name) = (args.log.quiet, name.to_owned());
    let tell = move |text: &str| {
        if !quiet {
            note(&format!("{name} {}: {text}", env!("CARGO_PKG_VERSION")));
        }
    };
    let code = runtime.block_on(async {
        let mut orders = signals::orders()?;
        let wanted = || {
            let configured = args.broker.configuration_now()?.settings().worker.processes;
            Ok(args.processes.map(usize::from).or(configured))
        };
        Supervisor::new(program, processes, args.until_ended, tell, wanted)?.run(&mut orders).await
    })?;
    Ok(ExitCode::from(code))
}

/// This program again, as the next start finds it, with the arguments that it has.
fn program() -> Result<Program> {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let path = own_file(&name, &std::env::var_os("PATH").unwrap_or_default()).map_err(|e| {
        Error::new(ErrorKind::Internal, "start", "the file of this program is not known").because(e)
    })?;
    Ok(Program { path, args: args.collect() })
}
