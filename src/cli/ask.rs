//! What the operators' commands share: their flags, how they run, and the question before something is destroyed.

use std::{
    io::{BufRead, IsTerminal, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use manyhands::{Broker, BrokerUrl, Error, ErrorKind, Lookup, QueueName, QueueStatus, Result};
use manyhands_broker::Place;
use manyhands_cli::block_on;
use manyhands_worker::entry::{BrokerArg, LogArgs, report, session, start_logging};

use super::print::Out;

/// The flags of all operators' commands.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Print JSON, one object a line
    #[arg(long)]
    pub(super) json: bool,

    #[command(flatten)]
    broker: BrokerArg,

    #[command(flatten)]
    log: LogArgs,
}

/// The question before something is destroyed.
#[derive(Debug, clap::Args)]
pub(super) struct Consent {
    /// Do it without asking; needed where there is no terminal to ask on
    #[arg(long, short = 'y')]
    yes: bool,
}

/// A session with the broker, and what it is asked for.
pub(super) struct Desk {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) json: bool,
    pub(super) out: Out,
    quiet: bool,
}

/// Runs a command: it answers whether the answer is yes.
pub(super) fn run(
    operation: &'static str,
    common: &Common,
    makes: bool,
    work: impl AsyncFnOnce(&mut Desk) -> Result<bool>,
) -> ExitCode {
    start_logging(&common.log);
    let done = block_on(operation, async {
        let url = common.broker.url()?;
        if !makes {
            is_there(operation, &url)?;
        }
        let (_, broker) = session(&common.broker).await?;
        let mut desk =
            Desk { broker, json: common.json, out: Out::new(common.log.color), quiet: common.log.quiet };
        let answer = work(&mut desk).await;
        // What was found is printed, whatever went wrong then.
        let printed = desk.out.finish();
        let answer = answer?;
        printed.map(|()| answer)
    });
    end(done, shown(common).as_deref())
}

/// How a command ends: by its answer, or with an error.
pub(super) fn end(done: Result<bool>, broker: Option<&str>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.kind() == ErrorKind::Closed && error.operation() == super::print::PIPE => {
            // Whoever reads has enough.
            ExitCode::SUCCESS
        }
        Err(error) => report(&error, broker),
    }
}

/// The broker as it was given or found.
fn shown(common: &Common) -> Option<String> {
    common.broker.text().filter(|given| !given.is_empty()).map(str::to_owned)
}

/// Refuses to look at a store that is not there: looking would make it, and find it empty.
pub(super) fn is_there(operation: &'static str, url: &BrokerUrl) -> Result<()> {
    // What cannot be asked, as where the folder is closed to this user, is said by whoever opens it.
    let missing = |path: &Path| matches!(path.try_exists(), Ok(false));
    match &url.place {
        Place::Local(path) if missing(&path.join(url.namespace.to_string()).join("tasks.db")) => {
            let message =
                format!("there is no store of namespace \"{}\" in {}", url.namespace, path.display());
            Err(Error::new(ErrorKind::Unavailable, operation, message).advise(
                "--broker with the URL that the producers use; the first task that is sent makes the store",
            ))
        }
        Place::Memory => {
            let message = "memory: is gone with its process: there is nothing to be found in it";
            Err(Error::invalid(operation, message)
                .advise("--broker local:, local:/path, redis://host:port or amqp://host:port"))
        }
        _ => Ok(()),
    }
}

impl Desk {
    /// How a queue stands, which must be there.
    pub(super) async fn status(&self, operation: &'static str, queue: &QueueName) -> Result<QueueStatus> {
        self.broker.status(queue).await?.ok_or_else(|| missing(operation, queue))
    }

    /// The power over single tasks.
    pub(super) fn lookup(&self, operation: &'static str, what: &str) -> Result<&dyn Lookup> {
        self.broker.lookup().ok_or_else(|| self.unsupported(operation, what))
    }

    /// Says something that is no part of the answer, on standard error.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            // Nobody needs it who does not read it.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Says that nothing was found, to people.
    pub(super) fn note_if_empty(&self, text: &str) {
        if !self.json && self.out.is_empty() {
            self.note(text);
        }
    }

    pub(super) fn unsupported(&self, operation: &'static str, what: &str) -> Error {
        let message = format!("{} cannot do that: {what}", self.broker.backend());
        Error::new(ErrorKind::Unsupported, operation, message)
            .advise("use a local: or redis:// broker; manyhands queues list works here")
    }

    /// Asks on a terminal whether to go on.
    pub(super) fn consent(&self, operation: &'static str, consent: &Consent, what: &str) -> Result<()> {
        if consent.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            let message = format!("to {what} needs --yes where there is no terminal to ask on");
            return Err(Error::invalid(operation, message).advise("the same command with --yes"));
        }
        let mut answer = String::new();
        // A question that nobody sees is answered by nobody.
        let asked = write!(std::io::stderr().lock(), "{what}? [y/N] ")
            .and_then(|()| std::io::stdin().lock().read_line(&mut answer));
        match asked {
            Ok(_) if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") => Ok(()),
            _ => Err(Error::new(ErrorKind::Failed, operation, "nothing was changed")),
        }
    }
}

/// A queue that is not there.
pub(super) fn missing(operation: &'static str, queue: &QueueName) -> Error {
    let message = format!("there is no queue \"{queue}\"");
    Error::new(ErrorKind::Failed, operation, message).advise("manyhands queues list")
}
