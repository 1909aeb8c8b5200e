//! `status`: how many tasks came to a queue.

use std::time::Duration;

use super::{Outcome, Stage, area, same, support::*};
use crate::{
    Broker, Capabilities, End, Enqueued, LimitKey, QueueName, QueueOptions, Result, capabilities::Arrivals,
};

area!("arrivals": what_comes_is_counted if COUNTED, what_gets_its_key_and_what_is_revived_is_counted if COUNTED, what_only_changes_is_not_counted if COUNTED, nothing_is_told_of_what_came if NOT_COUNTED);

const COUNTED: fn(&Capabilities) -> bool = |broker| broker.arrivals == Arrivals::Counted;
const NOT_COUNTED: fn(&Capabilities) -> bool = |broker| broker.arrivals == Arrivals::NotCounted;

/// The last sequence of a queue.
async fn sequence(broker: &dyn Broker, queue: &QueueName) -> Result<Option<u64>> {
    Ok(broker.status(queue).await?.and_then(|status| status.sequence))
}

async fn what_comes_is_counted(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.declare(&q, None).await?;
    same!(sequence(&*b, &q).await?, Some(0), "a new queue");
    a.enqueue(&with_ids(&q, &["1", "2", "3"])?, None).await?;
    same!(sequence(&*b, &q).await?, Some(3), "after three tasks");
    same!(a.enqueue(&with_ids(&q, &["1"])?, None).await?, [Enqueued::Exists], "the first one again");
    same!(sequence(&*b, &q).await?, Some(3), "after one that was there");
    let claimed = claim(&*b, &q, 3).await?.tasks;
    settle(&*b, &claimed[0], retry(Duration::from_secs(1))).await?;
    same!(sequence(&*a, &q).await?, Some(3), "while one waits for its next attempt");
    stage.advance(Duration::from_secs(1)).await;
    same!(names(&claim(&*b, &q, 9).await?.tasks), ["1"], "the next attempt");
    same!(sequence(&*a, &q).await?, Some(4), "after it came due");
    Ok(())
}

async fn what_gets_its_key_and_what_is_revived_is_counted(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_key_limit(1))).await?;
    let key = LimitKey::new("k")?;
    let keyed = with_ids(&q, &["1", "2"])?.into_iter().map(|task| task.with_key(key.clone()));
    a.enqueue(&keyed.collect::<Vec<_>>(), None).await?;
    same!(sequence(&*a, &q).await?, Some(3), "of two tasks of one key, one got it");
    let first = claim(&*a, &q, 9).await?.tasks;
    settle(&*a, &first[0], complete()).await?;
    same!(sequence(&*a, &q).await?, Some(4), "after the other got it");
    let second = claim(&*a, &q, 9).await?.tasks;
    let id = second[0].lease.id.clone();
    settle(&*a, &second[0], End::Bury { error: "no good".to_owned() }).await?;
    same!(sequence(&*a, &q).await?, Some(4), "after one died");
    dead_letters(&*a)?.revive(&q, &[id]).await?;
    same!(sequence(&*a, &q).await?, Some(6), "after it was revived, and got its key");
    Ok(())
}

async fn what_only_changes_is_not_counted(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2"]).await?;
    let claimed = claim(&*a, &q, 2).await?.tasks;
    settle(&*a, &claimed[0], complete()).await?;
    settle(&*a, &claimed[1], End::Release).await?;
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["2"], "what was given back");
    same!(sequence(&*a, &q).await?, Some(2), "after one was done and one given back");
    a.close(&q).await?;
    same!(sequence(&*a, &q).await?, Some(2), "after it was closed");
    Ok(())
}

async fn nothing_is_told_of_what_came(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2"]).await?;
    same!(sequence(&*a, &q).await?, None, "a broker that does not count");
    Ok(())
}
