//! What all roles have in common: how they begin and end, and that they say why they fail.

use std::{
    fmt,
    io::Read,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use manyhands::{App, Broker, ErrorKind, Result, Shutdown, Worker};
use manyhands_broker::{
    Place,
    sabotage::{Defect, planted},
};
use manyhands_cli::text;
use manyhands_worker::{
    WorkerBuilder,
    entry::{LogArgs, Signals, resolve, start_logging, until_signal},
};

use super::events::Audience;

/// How long leases last: where a broker hears of a death only by them, or a process is stopped, this is how long it takes.
const LEASE: Duration = Duration::from_secs(2);

/// How long the handlers of a role get after the order to end. With what they get to be given back, less than the 10 s
/// after which a container that was told to stop is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How long a broker that cannot be reached is tried again.
const PATIENCE: Duration = Duration::from_secs(30);

/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// What a role ends with that was told to end by a second signal, and a saver by any.
const INTERRUPTED: u8 = 130;

/// The broker of a role.
#[derive(Debug, clap::Args)]
pub(crate) struct BrokerArgs {
    /// The broker: local:, local:/path, redis://host:port or amqp://host:port. By the environment, other users of the host
    /// cannot read it
    #[arg(long = "broker", value_name = "URL", env = "MANYHANDS_BROKER", hide_env_values = true)]
    url: String,
    /// Wait so long for a broker that cannot be reached, as one that is being started
    #[arg(long, value_name = "DURATION", value_parser = text::duration, default_value = "0s")]
    wait_for_broker: Duration,
}

/// Whether a role ends with its work.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct StayArgs {
    /// Do not end when there is nothing more to do, but stay until a signal: for a supervisor that takes every end for a failure
    #[arg(long)]
    pub(super) stay: bool,
}

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

/// What a role is given besides its arguments.
#[derive(Debug)]
pub(crate) struct Scene {
    role: RoleName,
    pub(super) audience: Audience,
    /// The order to end. Never given under a director, which starts again who is ended by a signal; only [`work`], where there is
    /// something to finish, then watches signals.
    pub(super) shutdown: Shutdown,
}

/// A role was told to end before it was done. Whoever starts it again lets it go on.
#[derive(Debug)]
struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ended by a signal before its work was done")
    }
}

impl std::error::Error for Stopped {}

impl Scene {
    /// What `work` comes to, unless there is the order to end before.
    pub(super) async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            result = work => result,
            () = self.shutdown.stopping() => Err(Stopped.into()),
        }
    }

    /// Opens the session of a role.
    pub(super) async fn session(&self, args: &BrokerArgs) -> anyhow::Result<Arc<dyn Broker>> {
        let url = resolve(Some(&args.url))?;
        anyhow::ensure!(url.place != Place::Memory, "memory: is for one process, and the demo has six");
        let connect = repeatedly(args.wait_for_broker, || manyhands::connect(&url));
        let broker = self.unless_stopped(async { Ok(connect.await?) }).await?;
        self.audience.remark(&format!("{} started, broker {url}", self.role));
        Ok(broker)
    }

    /// Runs a stage of the pipeline: a worker that ends with its queues.
    pub(super) async fn work(&self, broker: Arc<dyn Broker>, app: App, slots: usize) -> anyhow::Result<()> {
        let shutdown = match self.audience {
            Audience::Director => until_signal()?.0,
            Audience::Reader => self.shutdown.clone(),
        };
        self.worker(broker, app, slots).until_ended(true).build()?.run(&shutdown).await?;
        if shutdown.is_stopping() { Err(Stopped.into()) } else { Ok(()) }
    }

    /// Goes on with a stage whose work is done, so that its worker is as alive as before, until the order to end.
    pub(super) async fn stay(&self, broker: Arc<dyn Broker>, app: App, slots: usize) -> anyhow::Result<()> {
        self.audience.remark("all is done: stays until a signal");
        self.worker(broker, app, slots).build()?.run(&self.shutdown).await?;
        Ok(())
    }

    fn worker(&self, broker: Arc<dyn Broker>, app: App, slots: usize) -> WorkerBuilder {
        Worker::builder(broker)
            .app(app)
            .concurrency(slots)
            .threads(slots)
            .lease(LEASE)
            .grace(GRACE)
            .observer(self.audience.observer(self.role))
    }
}

/// Runs a role until it is done: for a director, with which it ends, or on its own, until a signal tells it to end.
///
/// Exit codes on its own: 0 when it is done, or has ended cleanly after a signal; 1 when it failed; 130 when a second signal came,
/// and from a saver that was stopped before all films were in the file: its 0 says that they are.
pub(crate) fn play<F>(role: RoleName, directed: bool, act: impl FnOnce(Scene) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    if directed {
        let watch = std::thread::Builder::new().name("with-parent".to_owned()).spawn(end_with_parent);
        if let Err(error) = watch {
            return fail(role, &error.into());
        }
    } else {
        start_logging(&LogArgs::default());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(role, &error.into()),
    };
    let result = runtime.block_on(async {
        let (audience, (shutdown, signals)) = if directed {
            (Audience::Director, (Shutdown::new(), Signals::default()))
        } else {
            (Audience::Reader, until_signal()?)
        };
        let result = act(Scene { role, audience, shutdown }).await;
        match result {
            Err(error) if audience == Audience::Reader && error.is::<Stopped>() => {
                audience.remark(&format!("{error}: start it again, and it goes on"));
                let unfinished = signals.count() > 1 || role == RoleName::Saver;
                Ok(if unfinished { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
            }
            result => result.map(|()| ExitCode::SUCCESS),
        }
    });
    runtime.shutdown_timeout(Duration::ZERO);
    result.unwrap_or_else(|error| fail(role, &error))
}

#[expect(clippy::print_stderr, reason = "the role's process has no other way to say it")]
fn fail(role: RoleName, error: &anyhow::Error) -> ExitCode {
    eprintln!("{role}: {error:#}");
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
    if planted(Defect::StopLeavesChildren) {
        // Longer than any test waits for it, but not for ever.
        let (_never, end) = std::sync::mpsc::channel::<()>();
        let _ = end.recv_timeout(Duration::from_secs(60));
    }
    std::process::exit(1);
}

/// Makes a call again while the broker cannot be reached, for a time.
pub(super) async fn patiently<T, F: Future<Output = Result<T>>>(call: impl Fn() -> F) -> Result<T> {
    repeatedly(PATIENCE, call).await
}

/// The same for so long as is said.
async fn repeatedly<T, F: Future<Output = Result<T>>>(patience: Duration, call: impl Fn() -> F) -> Result<T> {
    let end = Instant::now() + patience;
    loop {
        match call().await {
            Err(error) if error.kind() == ErrorKind::Unavailable && Instant::now() < end => {
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}
