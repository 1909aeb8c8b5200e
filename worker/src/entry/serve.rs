//! A worker from its flags and its configuration to its end.

use std::{process::ExitCode, sync::Arc};

use manyhands_broker::{Error, QueueName, Result};
use manyhands_cli::{
    INTERRUPTED,
    config::{Configuration, Settings},
    note, session, success,
};
use tokio::sync::SetOnce;

use super::{Args, args, programs, supervise::Supervised, until_signal};
use crate::{
    App, Worker,
    builder::MAX_THREADS,
    children::Children,
    supervisor::{Line, Ready},
    worker::Summary,
};

/// Serves until it is told to end, for a supervisor if there is one.
pub(super) async fn serve(
    args: &Args,
    name: &str,
    app: App,
    supervised: Option<Supervised>,
) -> Result<ExitCode> {
    let configuration = args.broker.configuration()?;
    let settings = configuration.settings();
    let children = Children::new(std::env::args_os().skip(1).collect());
    let app = programs::register(app, configuration, &children)?;
    if app.is_empty() {
        let place = configuration.file().map_or_else(
            || "there is no configuration file".to_owned(),
            |file| format!("{} has no [tasks.NAME] with a command or a process", file.display()),
        );
        return Err(Error::invalid("register", format!("the worker has no handler: {place}")).advise(
            "a file manyhands.toml here, or --config FILE, with: [tasks.NAME] command = [\"program\"]",
        ));
    }
    let queues = queues(args, configuration)?;
    let app = configured(app, settings, &queues);
    let (url, broker) = session(&args.broker).await?;
    let mut builder = Worker::builder(broker)
        .app(app)
        .queues(queues)
        .strict(args.strict || settings.worker.strict)
        .until_ended(args.until_ended);
    if let Some(slots) = args.concurrency.or(settings.worker.concurrency) {
        builder = builder.concurrency(slots).threads(slots.min(MAX_THREADS)).processes(slots);
    }
    if let Some(lease) = settings.worker.lease {
        builder = builder.lease(lease);
    }
    if let Some(grace) = settings.worker.grace {
        builder = builder.grace(grace);
    }
    let begun = Arc::new(SetOnce::new());
    if let Some(Supervised { supervisor, .. }) = &supervised {
        builder = builder.supervised(*supervisor, Arc::clone(&begun));
    }
    let worker = builder.build()?;
    // Whoever reads the line may send one.
    let (shutdown, signals) = until_signal()?;
    let about = format!("broker {url}; {}", worker.describe());
    match supervised {
        // It says it once for all.
        Some(Supervised { line, .. }) => {
            let queues = worker.queues().iter().map(ToString::to_string).collect();
            let ready = Ready { about, queues, slots: worker.slots(), ..Ready::default() };
            tokio::spawn(tell(line, begun, ready.with_grace(worker.grace())));
        }
        None if args.log.quiet => {}
        None => note(&format!("{name} {}: {about}", env!("CARGO_PKG_VERSION"))),
    }
    children.begin();
    let ended = worker.run(&shutdown).await;
    children.end().await;
    let Summary { strays } = ended?;
    if strays > 0 {
        note(&format!("{strays} handlers did not stop; their tasks are taken back by other workers"));
    }
    Ok(if signals.count() > 1 { ExitCode::from(INTERRUPTED) } else { success() })
}

/// The queues that the flags name, or else the configuration, with their weights; none for those that the handlers name.
fn queues(args: &Args, configuration: &Configuration) -> Result<Vec<(QueueName, u32)>> {
    match (&args.queues, &configuration.settings().worker.queues) {
        (Some(given), _) => {
            args::queues(given).map_err(|why| Error::invalid("queues", format!("--queues {given}: {why}")))
        }
        (None, Some(text)) => {
            args::queues(text).map_err(|why| configuration.wrong(&["worker", "queues"], &why))
        }
        (None, None) => Ok(Vec::new()),
    }
}

/// Tells the supervisor when the worker has begun to claim.
async fn tell(mut line: Line, begun: Arc<SetOnce<()>>, ready: Ready) {
    begun.wait().await;
    if let Err(error) = line.tell(&ready) {
        tracing::warn!("the supervisor cannot be told that this worker is ready: {error}");
    }
}

/// Configures the queues that this worker serves, as the file says.
fn configured(mut app: App, settings: &Settings, queues: &[(QueueName, u32)]) -> App {
    let named = app.queues();
    let serves = |queue: &QueueName| match queues {
        [] => named.contains(queue),
        queues => queues.iter().any(|(served, _)| served == queue),
    };
    for (queue, options) in settings.queues.iter().filter(|(queue, _)| serves(queue)) {
        app.options.push((queue.clone(), options.clone()));
    }
    app
}
