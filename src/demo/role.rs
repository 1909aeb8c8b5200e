//! What all roles have in common: they end with the director, and say why they fail.

use std::{fmt, future::Future, io::Read, process::ExitCode, sync::Arc, time::Duration};

use manyhands::{App, Broker, BrokerUrl, Worker};
use manyhands_worker::entry::until_signal;

use super::events::Teller;

/// How long leases last: where a broker hears of a death only by them, or a process is stopped, this is how long it takes.
const LEASE: Duration = Duration::from_secs(2);

/// The parts in the play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RoleName {
    Site,
    Producer,
    Fetcher,
    Parser,
    Saver,
}

impl RoleName {
    /// The name as it is typed and shown.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Producer => "producer",
            Self::Fetcher => "fetcher",
            Self::Parser => "parser",
            Self::Saver => "saver",
        }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Runs a role until it is done.
pub(crate) fn play(name: &str, role: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    if let Err(error) = std::thread::Builder::new().name("with-parent".to_owned()).spawn(end_with_parent) {
        return fail(name, &error.into());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(name, &error.into()),
    };
    let result = runtime.block_on(role);
    runtime.shutdown_timeout(Duration::ZERO);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(name, &error),
    }
}

#[expect(clippy::print_stderr, reason = "the role's process has no other way to say it")]
fn fail(name: &str, error: &anyhow::Error) -> ExitCode {
    eprintln!("{name}: {error:#}");
    ExitCode::FAILURE
}

/// Standard input is a pipe that only the director holds: its end is the director's, however that came.
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "whoever worked for a director that was killed must not go on"
)]
fn end_with_parent() {
    let mut rest = [0; 64];
    while std::io::stdin().lock().read(&mut rest).is_ok_and(|bytes| bytes > 0) {}
    std::process::exit(1);
}

/// Runs a stage of the pipeline: a worker that ends with its queues.
pub(super) async fn work(broker: Arc<dyn Broker>, app: App, slots: usize) -> anyhow::Result<()> {
    let worker = Worker::builder(broker)
        .app(app)
        .concurrency(slots)
        .threads(slots)
        .lease(LEASE)
        .until_ended(true)
        .observer(Arc::new(Teller))
        .build()?;
    let (shutdown, _) = until_signal()?;
    worker.run(&shutdown).await?;
    anyhow::ensure!(!shutdown.is_stopping(), "ended by a signal before its queue was");
    Ok(())
}

/// Opens the session of a role.
pub(super) async fn session(broker: &str) -> anyhow::Result<Arc<dyn Broker>> {
    let url: BrokerUrl = broker.parse()?;
    Ok(manyhands::connect(&url).await?)
}
