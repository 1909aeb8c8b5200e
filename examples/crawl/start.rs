//! `crawl start`: begins a crawl.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use manyhands::{Broker, Enqueued};
use url::Url;

use crate::{fetch::Http, html::normal, levels, plan::Plan, session::BrokerArg};

/// The most levels: each is a queue, which every worker serves.
const MAX_DEPTH: i64 = 100;

/// The most pages: as many settled ones as a broker remembers of a batch.
const MAX_PAGES: u64 = 1_000_000;

/// What to crawl, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) broker: BrokerArg,
    #[command(flatten)]
    pub(crate) wish: Wish,
}

/// What to crawl, and how.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Wish {
    /// The first page
    #[arg(value_name = "URL", value_parser = page)]
    pub(crate) url: Url,
    /// The most links from the first page to another  [default: as many as there are]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=MAX_DEPTH))]
    pub(crate) depth: Option<u32>,
    /// The most pages, whatever the server answers for them
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=MAX_PAGES))]
    pub(crate) pages: u64,
    /// How many requests the host gets at a time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) at_once: u32,
    /// How long after the beginning of a request the next one may begin, such as 0s or 1500ms; a longer Crawl-delay in robots.txt counts
    #[arg(long, value_name = "TIME", default_value = "200ms")]
    pub(crate) interval: jiff::SignedDuration,
    /// How often a page is tried that cannot be fetched
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) attempts: u32,
}

fn page(text: &str) -> Result<Url> {
    let url = Url::parse(text).with_context(|| format!("{text:?} is no URL"))?;
    normal(url).filter(Url::has_host).with_context(|| format!("{text:?} is no URL of HTTP or HTTPS"))
}

/// Begins a crawl. Whoever does so again changes nothing, unless something else is asked for.
pub(crate) async fn start(args: Args) -> Result<ExitCode> {
    let broker = args.broker.open().await?;
    begin(&*broker, args.wish).await?;
    Ok(ExitCode::SUCCESS)
}

/// Begins a crawl, or finds it begun.
pub(crate) async fn begin(broker: &dyn Broker, wish: Wish) -> Result<()> {
    let mut plan = plan(wish)?;
    if let Some(begun) = Plan::find(broker).await? {
        return goes_on(&plan, &begun);
    }
    plan.robots = Http::new()?.robots(&plan.start).await.context("the crawl is not begun")?;
    let rules = plan.rules();
    ensure!(rules.is_url_allowed(&plan.start), "robots.txt of the host does not allow {}", plan.start);
    for (queue, options) in plan.queues()? {
        broker.declare(&queue, Some(&options)).await?;
    }
    // One step: there is a plan and a first task, or neither.
    let answers = broker.enqueue(&[plan.task()?, levels::first()?], None).await?;
    match answers.first() {
        Some(Enqueued::Enqueued) => eprintln!("the crawl of {} has begun", plan.start),
        // Somebody else was first.
        Some(Enqueued::Exists) => {
            let begun = Plan::find(broker).await?.context("the crawl that was begun is gone")?;
            return goes_on(&plan, &begun);
        }
        answer => bail!("the crawl cannot be begun: {answer:?}"),
    }
    Ok(())
}

fn plan(wish: Wish) -> Result<Plan> {
    let Wish { url, depth, pages, at_once, interval, attempts } = wish;
    let interval = Duration::try_from(interval).context("--interval cannot be negative")?;
    Ok(Plan { start: url, depth, pages, at_once, interval, attempts, robots: String::new() })
}

fn goes_on(plan: &Plan, begun: &Plan) -> Result<()> {
    ensure!(
        plan.asks_as(begun),
        "there is another crawl already, of {}, or it was begun with other limits: use another --broker, a folder or namespace of its own",
        begun.start
    );
    eprintln!("the crawl of {} was begun before", begun.start);
    Ok(())
}
