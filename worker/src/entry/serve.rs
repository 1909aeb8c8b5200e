//! A worker from its flags and its configuration to its end.

use std::process::ExitCode;

use manyhands_broker::{QueueName, Result};
use manyhands_cli::{INTERRUPTED, config::Settings, note, session, success};

use super::{Args, args, until_signal};
use crate::{App, Worker, worker::MAX_THREADS, worker::Summary};

/// Serves until it is told to end.
pub(super) async fn serve(args: &Args, name: &str, app: App) -> Result<ExitCode> {
    let configuration = args.broker.configuration()?;
    let settings = configuration.settings();
    let queues =
        args::queues(args.queues.as_deref().or(settings.worker.queues.as_deref()).unwrap_or_default())?;
    let app = configured(app, settings, &queues);
    let (url, broker) = session(&args.broker).await?;
    let mut builder = Worker::builder(broker)
        .app(app)
        .queues(queues)
        .strict(args.strict || settings.worker.strict)
        .until_ended(args.until_ended);
    if let Some(slots) = args.concurrency.or(settings.worker.concurrency) {
        builder = builder.concurrency(slots).threads(slots.min(MAX_THREADS));
    }
    if let Some(lease) = settings.worker.lease {
        builder = builder.lease(lease);
    }
    if let Some(grace) = settings.worker.grace {
        builder = builder.grace(grace);
    }
    let worker = builder.build()?;
    if !args.log.quiet {
        note(&format!("{name} {}: broker {url}; {}", env!("CARGO_PKG_VERSION"), worker.describe()));
    }
    let (shutdown, signals) = until_signal()?;
    let ended = worker.run(&shutdown).await;
    let Summary { strays } = ended?;
    if strays > 0 {
        note(&format!("{strays} handlers did not stop; their tasks are taken back by other workers"));
    }
    Ok(if signals.count() > 1 { ExitCode::from(INTERRUPTED) } else { success() })
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
