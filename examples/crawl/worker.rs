//! `crawl worker`: fetches pages.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context as _, Result};
use manyhands::{App, Client, TaskError, Worker};

use crate::{
    fetch::Http,
    follow::{Follow, hand_on},
    levels, page,
    plan::Plan,
    session::{BrokerArg, until_signal},
    tasks::{self, Begin, Found, Gate, Links, Page},
};

/// Where to work, and how much.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) broker: BrokerArg,
    /// How many tasks to run at a time: pages, and what comes between them
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) slots: u16,
    /// How long a worker that is stopped, or whose host is gone, goes unnoticed at most
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) lease: jiff::SignedDuration,
}

/// Works until the crawl has ended, or a signal comes.
pub(crate) async fn work(args: Args) -> Result<ExitCode> {
    let broker = args.broker.open().await?;
    let plan = Plan::find(&*broker).await?.context("there is no crawl: begin one with `crawl start URL`")?;
    let mut queues = vec![(tasks::queue::<Gate>()?, 1), (tasks::queue::<Found>()?, 1)];
    for level in plan.levels() {
        queues.push((tasks::pages(level)?, 1));
    }
    let follow = Arc::new(Follow { rules: plan.rules(), plan });
    let worker = Worker::builder(Arc::clone(&broker))
        .app(app(Client::new(broker), Http::new()?, &follow))
        .queues(queues)
        .concurrency(args.slots.into())
        .lease(args.lease.try_into().context("--lease cannot be negative")?)
        .until_ended(true)
        .build()?;
    worker.run(&until_signal()?).await?;
    Ok(ExitCode::SUCCESS)
}

/// The handlers.
fn app(client: Client, http: Http, follow: &Arc<Follow>) -> App {
    let (with, to) = (client.clone(), Arc::clone(follow));
    let begin = move |_: Begin, ctx| {
        let (with, to) = (with.clone(), Arc::clone(&to));
        async move { levels::begin(&**with.broker(), &to.plan, &ctx).await.map_err(again) }
    };
    let (with, to) = (client.clone(), Arc::clone(follow));
    let gate = move |task: Gate, ctx| {
        let (with, to) = (with.clone(), Arc::clone(&to));
        async move { levels::gate(&**with.broker(), &to.plan, task, &ctx).await.map_err(again) }
    };
    let to = Arc::clone(follow);
    let found = move |task: Found, ctx| {
        let (client, to) = (client.clone(), Arc::clone(&to));
        async move { to.admit(&client, task, &ctx).await }
    };
    let links = |task: Links, ctx| async move { hand_on(task.urls, task.depth, &ctx) };
    let to = Arc::clone(follow);
    let page = move |task: Page, ctx| {
        let (http, to) = (http.clone(), Arc::clone(&to));
        async move { page::page(http, &to, task, ctx).await }
    };
    App::new().handle(begin).handle(gate).handle(found).handle(links).handle(page)
}

/// A broker that cannot be reached can be reached later.
fn again(error: anyhow::Error) -> TaskError {
    TaskError::retry(format!("{error:#}"))
}
