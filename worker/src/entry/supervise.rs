//! A supervisor from its flags and its configuration to its end; and what a worker process knows of its own.

use std::process::ExitCode;

use manyhands_broker::{Error, ErrorKind, Result};
use manyhands_cli::{config::Configuration, note};

use super::{Args, no_threads, signals};
use crate::{
    autoscale::Bounds,
    children::SUPERVISOR,
    supervisor::{Line, Program, Supervisor, Wanted, own_file},
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
pub(super) fn wanted(args: &Args) -> Result<Option<Wanted>> {
    let wanted = wanted_by(args, args.broker.configuration()?)?;
    Ok(Some(wanted).filter(|wanted| *wanted != Wanted::default()))
}

/// What the flags say, and where they say nothing, the configuration.
fn wanted_by(args: &Args, configuration: &Configuration) -> Result<Wanted> {
    let settings = &configuration.settings().worker;
    let configured = settings.autoscale.as_deref().map(str::parse::<Bounds>).transpose();
    let configured = configured.map_err(|why| configuration.wrong(&["worker", "autoscale"], &why))?;
    let wanted = Wanted {
        processes: args.processes.map(usize::from).or(settings.processes),
        bounds: args.autoscale.or(configured),
    };
    match wanted {
        Wanted { processes: Some(first), bounds: Some(bounds) } if bounds.clamp(first) != first => {
            let message =
                format!("{first} worker processes are not within {bounds}, between which the load decides");
            Err(Error::invalid("autoscale", message)
                .advise("--processes within --autoscale, or leave it out"))
        }
        wanted => Ok(wanted),
    }
}

/// Keeps so many worker processes running until it is told to end.
pub(super) fn supervise(args: &Args, name: &str, wanted: Wanted) -> Result<ExitCode> {
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
        let now = || wanted_by(args, &args.broker.configuration_now()?);
        let processes = wanted.processes.or(wanted.bounds.map(Bounds::min)).unwrap_or(1);
        let supervisor = Supervisor::new(program, processes, args.until_ended, tell, now)?;
        let supervisor = match wanted.bounds {
            Some(bounds) => supervisor.autoscale(bounds, args.broker.url()?),
            None => supervisor,
        };
        supervisor.run(&mut orders).await
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
