//! A fetcher: gets pages and hands them on to the parser.

use manyhands::{Context, QueueName, Task, TaskError};

use super::{
    fetch::Http,
    role::{session, work},
    tasks::{self, Fetch, Parse},
};

/// Where to fetch from, and how many pages at a time.
#[derive(Debug, clap::Args)]
pub(crate) struct FetcherArgs {
    /// By the environment, where other users cannot read it as they can read arguments.
    #[arg(long, env = "MANYHANDS_BROKER", hide_env_values = true)]
    broker: String,
    #[arg(long)]
    slots: usize,
}

/// Fetches until no more pages will come, then closes the parser's queue: whichever fetcher is left does it.
pub(crate) async fn fetcher_role(args: FetcherArgs) -> anyhow::Result<()> {
    let broker = session(&args.broker).await?;
    let http = Http::new();
    let fetch = move |task: Fetch, ctx: Context| fetch(http.clone(), task, ctx);
    work(broker.clone(), tasks::app().handle(fetch), args.slots).await?;
    broker.close(&QueueName::new(Parse::QUEUE)?).await?;
    Ok(())
}

async fn fetch(http: Http, task: Fetch, ctx: Context) -> Result<(), TaskError> {
    let html = http.get(&task.url).await?; // `?` retries with back-off
    ctx.then(Parse { html }) // enqueued with the settlement, or not at all
}
