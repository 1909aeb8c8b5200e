//! `close` and `join`: how pipelines end.

use std::time::Duration;

use super::{Failure, Outcome, Stage, area, holds, same, support::*};
use crate::{BrokerExt, Enqueued, ErrorKind};

area!("close": a_closed_queue_takes_no_more, a_known_task_of_a_closed_queue_exists if REMEMBERS, it_ends_when_closed_and_joined, a_missing_queue_can_be_closed, join_waits_for_the_last, join_gives_up_in_time, join_of_nothing_returns);

async fn a_closed_queue_takes_no_more(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    a.close(&q).await?;
    b.close(&q).await?;
    same!(b.enqueue(&tasks(&q, &["2"])?, None).await?, [Enqueued::Closed], "a new task for a closed queue");
    same!(counts(&*b, &q).await?, (1, 0, 0, 0), "the queue after that");
    Ok(())
}

async fn a_known_task_of_a_closed_queue_exists(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1"]).await?;
    a.close(&q).await?;
    let answers = b.enqueue(&with_ids(&q, &["1", "2"])?, None).await?;
    same!(answers, [Enqueued::Exists, Enqueued::Closed], "a known and a new task for a closed queue");
    let task = claim_one(&*b, &q).await?;
    settle(&*b, &task, complete()).await?;
    same!(
        a.enqueue(&with_ids(&q, &["1"])?, None).await?,
        [Enqueued::Exists],
        "a settled one: the same call has the same answer"
    );
    Ok(())
}

async fn it_ends_when_closed_and_joined(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2"]).await?;
    let one = claim_one(&*a, &q).await?;
    let two = claim_one(&*a, &q).await?;
    settle(&*a, &one, complete()).await?;
    settle(&*a, &two, retry(Duration::from_secs(1))).await?;
    a.close(&q).await?;
    holds!(!claim(&*a, &q, 1).await?.ended, "ended while one is scheduled");
    stage.advance(Duration::from_secs(1)).await;
    let two = claim_soon(&*a, &q).await?;
    holds!(!claim(&*a, &q, 1).await?.ended, "ended while one is leased");
    settle(&*a, &two, complete()).await?;
    holds!(claim(&*a, &q, 1).await?.ended, "not ended, though closed and joined");
    Ok(())
}

async fn a_missing_queue_can_be_closed(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.close(&q).await?;
    holds!(claim(&*a, &q, 1).await?.ended, "not ended, though closed and empty");
    same!(a.enqueue(&tasks(&q, &["1"])?, None).await?, [Enqueued::Closed], "a task for it");
    Ok(())
}

async fn join_waits_for_the_last(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    let (status, settled) =
        tokio::join!(b.join(&q, Some(Duration::from_secs(20))), settle(&*a, &task, complete()));
    settled?;
    same!(status?.map(|status| status.unsettled()), Some(0), "the queue when join returns");
    Ok(())
}

async fn join_gives_up_in_time(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let error = refused(a.join(&q, Some(Duration::from_millis(1))).await, ErrorKind::Timeout)?;
    holds!(error.to_string().contains("\"q\" still has 1 unsettled"), "what it says: {error}");
    Ok(())
}

async fn join_of_nothing_returns(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    same!(a.join(&q, None).await.map_err(Failure::from)?, None, "a queue that does not exist");
    a.declare(&q, None).await?;
    holds!(a.join(&q, None).await?.is_some(), "a queue that does");
    Ok(())
}
