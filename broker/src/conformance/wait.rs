//! Wake-up: hints may be lost, but a broker that never gives any makes everybody poll.

use std::time::Duration;

use super::{Failure, Outcome, Stage, area, same, support::*};
use crate::{Broker, QueueName};

area!("wait": an_enqueue_elsewhere_wakes, a_settlement_elsewhere_wakes, a_close_elsewhere_wakes, what_came_before_the_await_is_not_missed, a_death_wakes);

/// Only a broker that gives no hints takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

async fn woken(broker: &dyn Broker, q: &QueueName, by: impl Future<Output = Outcome>) -> Outcome {
    let hint = broker.wait(std::slice::from_ref(q));
    by.await?;
    tokio::time::timeout(PATIENCE, hint).await.map_err(|_| Failure(format!("no hint within {PATIENCE:?}")))
}

async fn an_enqueue_elsewhere_wakes(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    woken(&*a, &q, async { enqueue(&*b, &q, &["1"]).await }).await
}

async fn a_settlement_elsewhere_wakes(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*b, &q, &["1"]).await?;
    let task = claim_one(&*b, &q).await?;
    woken(&*a, &q, async { settle(&*b, &task, complete()).await.map(drop) }).await
}

async fn a_close_elsewhere_wakes(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    woken(&*a, &q, async { Ok(b.close(&q).await?) }).await
}

async fn what_came_before_the_await_is_not_missed(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let hint = a.wait(std::slice::from_ref(&q));
    enqueue(&*b, &q, &["1"]).await?;
    // Another session has certainly heard of it by now; the future was not even polled yet.
    claim_soon(&*a, &q).await?;
    tokio::time::timeout(PATIENCE, hint).await.map_err(|_| Failure("the hint was lost".to_owned()))
}

async fn a_death_wakes(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*b, &q, &["1"]).await?;
    claim_and_die(stage, b, &q, 1).await?;
    same!(claim_soon(&*a, &q).await?.deaths, 1, "deaths of the task that was taken back");
    Ok(())
}
