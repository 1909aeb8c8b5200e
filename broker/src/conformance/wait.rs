//! Wake-up: hints may be lost, but a broker that never gives any makes everybody poll.

use std::time::Duration;

use super::{Failure, Outcome, Stage, area, same, support::*};
use crate::{Broker, Cancel, End, Interest, QueueName, TaskId};

area!("wait": an_enqueue_elsewhere_wakes, a_settlement_elsewhere_wakes, a_close_elsewhere_wakes, what_came_before_the_await_is_not_missed, a_death_wakes, what_makes_ready_wakes_who_claims if CONTROLS, what_ends_wakes_who_waits_for_ends if CONTROLS);

/// Only a broker that gives no hints takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

async fn woken(broker: &dyn Broker, q: &QueueName, by: impl Future<Output = Outcome>) -> Outcome {
    woken_for(Interest::Any, broker, q, by).await
}

async fn woken_for(
    interest: Interest,
    broker: &dyn Broker,
    q: &QueueName,
    by: impl Future<Output = Outcome>,
) -> Outcome {
    let hint = broker.wait_for(interest, std::slice::from_ref(q));
    by.await?;
    let none = |_| Failure(format!("no hint for {interest:?} within {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, hint).await.map_err(none)
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

/// Whatever makes a task ready is told to who only waits for that.
async fn what_makes_ready_wakes_who_claims(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    woken_for(Interest::Ready, &*a, &q, async { enqueue(&*b, &q, &["1"]).await }).await?;
    for end in [End::Release, retry(Duration::ZERO), End::complete(vec![task(&q, "2")?])] {
        let task = claim_one(&*b, &q).await?;
        woken_for(Interest::Ready, &*a, &q, async { settle(&*b, &task, end).await.map(drop) }).await?;
    }
    Ok(())
}

/// Whatever ends a task is told to who only waits for that.
async fn what_ends_wakes_who_waits_for_ends(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue_ids(&*b, &q, &["1", "2", "3"]).await?;
    for end in [complete(), End::Bury { error: "no".to_owned() }] {
        let task = claim_one(&*b, &q).await?;
        woken_for(Interest::Settled, &*a, &q, async { settle(&*b, &task, end).await.map(drop) }).await?;
    }
    let cancel = async {
        same!(b.cancel(&q, &[TaskId::new("3")?]).await?, [Cancel::Cancelled], "cancelling one that waits");
        Ok(())
    };
    woken_for(Interest::Settled, &*a, &q, cancel).await
}
