//! `manyhands workers wanted`: how many worker processes the load needs, for whoever else starts and ends them.

use std::time::{Duration, Instant};

use manyhands::{LiveWorker, QueueName, Result};
use manyhands_broker::limits;
use manyhands_worker::autoscale::{Bounds, Load, MAX_PROCESSES, Sample, Staff, Watch, need};
use serde_json::json;

use super::{ask::Desk, print, text};

/// How often it is asked how the queues stand.
const EVERY: Duration = Duration::from_millis(500);

/// Which queues, for how long, and between which numbers.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The queues to look at  [default: all of the namespace]
    #[arg(long, value_name = "QUEUES", value_delimiter = ',')]
    queues: Vec<QueueName>,

    /// The fewest to print
    #[arg(long, value_name = "N", default_value_t = 0)]
    min: usize,

    /// The most to print, at most 512
    #[arg(long, value_name = "N", default_value_t = MAX_PROCESSES)]
    max: usize,

    /// For how long to look at the queues
    #[arg(long, value_name = "DURATION", value_parser = text::duration, default_value = "3s")]
    within: Duration,
}

/// Prints how many worker processes the queues need.
pub(super) async fn wanted(desk: &mut Desk, args: &Args) -> Result<bool> {
    let bounds = Bounds::new(args.min, args.max).map_err(|why| {
        manyhands::Error::invalid("wanted", why).advise("--min N and --max N, as in --min 1 --max 4")
    })?;
    let queues = if args.queues.is_empty() { desk.all_queues().await? } else { args.queues.clone() };
    let load = look(desk, &queues, args.within).await?;
    let staff = staff(&desk.live_workers("wanted").await?, &queues);
    let wanted = bounds.clamp(need(&load, staff));
    if !desk.json {
        desk.out.line(&wanted.to_string())?;
        return Ok(true);
    }
    let Load { ready, leased, oldest, arrivals, claims, .. } = load;
    desk.out.object(&json!({
        "wanted": wanted,
        "now": staff.workers,
        "slots": staff.slots,
        "ready": ready,
        "leased": leased,
        "oldest_ready_ms": print::ms(oldest),
        "arrivals_per_second": arrivals,
        "claims_per_second": claims,
    }))?;
    Ok(true)
}

/// Looks at the queues for so long.
async fn look(desk: &Desk, queues: &[QueueName], within: Duration) -> Result<Load> {
    let (mut watch, began) = (Watch::default(), Instant::now());
    loop {
        let load = watch.add(Instant::now(), &Sample::take(&*desk.broker, queues).await?);
        let left = within.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(load);
        }
        tokio::time::sleep(EVERY.min(left)).await;
    }
}

/// The workers that serve any of these queues, and how many slots each has on the average. Those that drain are as good as gone.
fn staff(live: &[LiveWorker], queues: &[QueueName]) -> Staff {
    let serves = |worker: &&LiveWorker| worker.report.queues.iter().any(|queue| queues.contains(queue));
    let serving: Vec<_> = live.iter().filter(serves).filter(|worker| !worker.report.draining).collect();
    let slots: usize = serving.iter().map(|worker| worker.report.slots).sum();
    Staff { workers: serving.len(), slots: slots.div_ceil(serving.len().max(1)) }
}

impl Desk {
    /// All queues of the namespace.
    async fn all_queues(&self) -> Result<Vec<QueueName>> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.broker.queues(after.as_ref(), limits::MAX_BATCH).await?;
            let last = page.len() < limits::MAX_BATCH;
            after = page.last().cloned();
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }
}
