//! A fetcher: gets pages and hands them on to the parser.

use manyhands::{Context, QueueName, Task, TaskError};

use super::{
    fetch::Http,
    role::{Scene, patiently},
    tasks::{self, Fetch, Parse},
};

/// Where to fetch from, and how many pages at a time.
#[derive(Debug, clap::Args)]
pub(crate) struct FetcherArgs {
    /// The broker: local:, local:/path, redis://host:port or amqp://host:port. By the environment, other users of the host cannot read it
    #[arg(long, value_name = "URL", env = "MANYHANDS_BROKER", hide_env_values = true)]
    broker: String,
    /// How many pages to fetch at a time
    #[arg(long, value_name = "N", default_value_t = 5)]
    slots: usize,
}

/// Fetches until no more pages will come, then closes the parser's queue: whichever fetcher is left does it.
pub(crate) async fn fetcher_role(args: FetcherArgs, scene: Scene) -> anyhow::Result<()> {
    let broker = scene.session(&args.broker).await?;
    let http = Http::new();
    let fetch = move |task: Fetch, ctx: Context| fetch(http.clone(), task, ctx);
    scene.work(broker.clone(), tasks::app().handle(fetch), args.slots).await?;
    let next = QueueName::new(Parse::QUEUE)?;
    patiently(|| broker.close(&next)).await?;
    Ok(())
}

async fn fetch(http: Http, task: Fetch, ctx: Context) -> Result<(), TaskError> {
    let html = http.get(&task.url).await?; // `?` retries with back-off
    ctx.then(Parse { page: ctx.id().to_string(), html }) // enqueued with the settlement, or not at all
}
