//! Where the depth is limited, one level of the site after the other, and the end.
//!
//! A page that is found on a long way first, and on a shorter one later, would have too great a depth, and what it links to would be missing
//! from the crawl, now and then. So the pages of a depth are a queue, which is paused until those of the depth before are done. A task waits
//! for that, as there is no leader: if its worker dies, another one runs it, and all that it does is harmless twice.

use std::time::Duration;

use anyhow::Result;
use manyhands::{Broker, BrokerExt, Context, ErrorKind, NewTask, TaskError};

use crate::{
    follow::found,
    plan::Plan,
    tasks::{self, Begin, Found, Gate, Save},
};

/// How long a task waits before another one does.
const PATIENCE: Duration = Duration::from_secs(1);

/// Begins: with all levels closed but the first. Nothing else runs before this task is settled.
pub(crate) async fn begin(broker: &dyn Broker, plan: &Plan, ctx: &Context) -> Result<()> {
    for level in plan.levels() {
        let pages = tasks::pages(level)?;
        if level > 0 {
            broker.pause(&pages, "crawl").await?;
        }
        // They are filled by the tasks of the crawl alone, so that it is told when they are empty.
        broker.close(&pages).await?;
    }
    broker.close(&tasks::queue::<Found>()?).await?;
    hand_on(ctx, found(plan.start.clone(), 0)?)?;
    hand_on(ctx, tasks::patient(&Gate { level: 0 })?)
}

/// Opens the next level when this one is done, or says that no more will come: the workers and the saver end by that. Where there is something
/// to wait for, it leaves that to a task of its own kind, so that it never holds up a worker that is to end.
pub(crate) async fn gate(broker: &dyn Broker, plan: &Plan, task: Gate, ctx: &Context) -> Result<()> {
    let Gate { level } = task;
    let wait = match plan.depth {
        Some(depth) if level < depth => level_done(broker, level).await,
        _ => broker.join_batch(&tasks::crawl()?, Some(PATIENCE)).await.map(|_| ()),
    };
    match wait {
        Err(error) if error.kind() == ErrorKind::Timeout => return hand_on(ctx, tasks::patient(&task)?),
        wait => wait?,
    }
    let next = tasks::pages(level + 1)?;
    if broker.status(&next).await?.is_some_and(|status| status.unsettled() > 0) {
        // The last request of the level was at least so long ago when the next one begins.
        tokio::time::sleep(plan.pace()).await;
        broker.resume(&next).await?;
        return hand_on(ctx, tasks::patient(&Gate { level: level + 1 })?);
    }
    broker.close(&tasks::queue::<Gate>()?).await?;
    Ok(broker.close(&tasks::queue::<Save>()?).await?)
}

/// Waits until a level is done.
async fn level_done(broker: &dyn Broker, level: u32) -> manyhands::Result<()> {
    let (found, pages) = (tasks::queue::<Found>()?, tasks::pages(level)?);
    // In the order in which tasks go: what is empty then stays empty. Of the first level, all may still be on its way.
    for queue in [&found, &pages, &found] {
        broker.join(queue, Some(PATIENCE)).await?;
    }
    Ok(())
}

/// Enqueues a task with the settlement.
fn hand_on(ctx: &Context, task: NewTask) -> Result<()> {
    ctx.then_task(task).map_err(|error: TaskError| anyhow::anyhow!("{error}"))
}

/// The first task.
pub(crate) fn first() -> Result<NewTask> {
    let task = tasks::patient(&Begin {})?;
    Ok(task.with_id(manyhands::TaskId::new("begin")?))
}
