//! A fetcher: gets pages and hands them on to the parser.

use manyhands::{Context, QueueName, Task, TaskError};

use super::{
    fetch::Http,
    role::{BrokerArgs, Scene, StayArgs, patiently},
    tasks::{self, Fetch, Parse},
};

/// Where to fetch from, and how many pages at a time.
#[derive(Debug, clap::Args)]
pub(crate) struct FetcherArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// How many pages to fetch at a time
    #[arg(long, value_name = "N", default_value_t = 5)]
    slots: usize,
    #[command(flatten)]
    end: StayArgs,
}

/// Fetches until no more pages will come, then closes the parser's queue: whichever fetcher is left does it.
pub(crate) async fn fetcher_role(args: FetcherArgs, scene: Scene) -> anyhow::Result<()> {
    let broker = scene.session(&args.broker).await?;
    let http = Http::new();
    let app = || {
        let http = http.clone();
        tasks::app().handle(move |task: Fetch, ctx: Context| fetch(http.clone(), task, ctx))
    };
    scene.work(broker.clone(), app(), args.slots).await?;
    let next = QueueName::new(Parse::QUEUE)?;
    patiently(|| broker.close(&next)).await?;
    if args.end.stay { scene.stay(broker, app(), args.slots).await } else { Ok(()) }
}

async fn fetch(http: Http, task: Fetch, ctx: Context) -> Result<(), TaskError> {
    let html = http.get(&task.url).await?; // `?` retries with back-off
    ctx.then(Parse { page: ctx.id().to_string(), html }) // enqueued with the settlement, or not at all
}
