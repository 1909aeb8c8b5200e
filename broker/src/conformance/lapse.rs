//! Arrow `lapse`: tasks that nobody claimed in their time.

use std::time::Duration;

use super::{Outcome, Stage, area, holds, same, support::*};
use crate::{Enqueued, ErrorKind, NewTask, QueueName, Result, Start, limits};

area!("lapse": what_nobody_claims_is_dead if CONTROLS, what_was_claimed_in_time_goes_on if CONTROLS, none_is_handed_out_after_its_time if CONTROLS, one_that_starts_later_may_lapse if CONTROLS, it_is_refused_where_no_task_is_known if LOOSE);

fn expiring(queue: &QueueName, name: &str, seconds: u64) -> Result<NewTask> {
    Ok(task(queue, name)?.with_expires(Duration::from_secs(seconds)))
}

async fn what_nobody_claims_is_dead(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.enqueue(&[expiring(&q, "1", 40)?, expiring(&q, "2", 90)?], None).await?;
    a.pause(&q, "operator@host").await?;
    let next = claim(&*a, &q, 9).await?.next.unwrap_or_default();
    holds!(
        next > Duration::from_secs(30) && next <= Duration::from_secs(40),
        "next in {next:?}, not in 40 s"
    );
    a.resume(&q).await?;
    stage.advance(Duration::from_secs(40)).await;
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["2"], "what a claim gets after 40 s");
    same!(counts(&*a, &q).await?, (0, 0, 1, 1), "the queue then");
    let dead = dead_letters(&*a)?.list(&q, None, 9).await?;
    holds!(dead.len() == 1 && dead[0].error.contains("expired"), "one dead task that expired, not {dead:?}");
    Ok(())
}

async fn what_was_claimed_in_time_goes_on(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.enqueue(&[expiring(&q, "1", 5)?], None).await?;
    let task = claim_one(&*a, &q).await?;
    settle(&*a, &task, retry(Duration::from_secs(10))).await?;
    stage.advance(Duration::from_secs(10)).await;
    let task = claim_soon(&*a, &q).await?;
    settle(&*a, &task, crate::End::Release).await?;
    stage.advance(Duration::from_secs(10)).await;
    same!(names(&claim(&*a, &q, 1).await?.tasks), ["1"], "a task that was claimed in its time, much later");
    Ok(())
}

async fn none_is_handed_out_after_its_time(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    // More than one claim takes care of.
    for _ in 0..3 {
        let batch = (0..200).map(|_| expiring(&q, "late", 5)).collect::<Result<Vec<_>>>()?;
        same!(a.enqueue(&batch, None).await?, vec![Enqueued::Enqueued; 200], "200 tasks");
    }
    enqueue(&*a, &q, &["in time"]).await?;
    stage.advance(Duration::from_secs(5)).await;
    let mut claimed = Vec::new();
    while counts(&*a, &q).await?.3 < 600 {
        claimed.extend(claim(&*a, &q, limits::MAX_BATCH).await?.tasks);
    }
    claimed.extend(claim(&*a, &q, limits::MAX_BATCH).await?.tasks);
    same!(names(&claimed), ["in time"], "what claims get after 5 s");
    Ok(())
}

async fn one_that_starts_later_may_lapse(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let start = Start::After(Duration::from_secs(100));
    a.enqueue(&[expiring(&q, "1", 50)?.with_start(start)], None).await?;
    stage.advance(Duration::from_secs(60)).await;
    claim(&*a, &q, 1).await?;
    same!(counts(&*a, &q).await?, (0, 0, 0, 1), "a task whose time was over before it began");
    Ok(())
}

async fn it_is_refused_where_no_task_is_known(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    refused(a.enqueue(&[expiring(&q, "1", 5)?], None).await, ErrorKind::Unsupported)?;
    same!(a.status(&q).await?, None, "the queue after the refusal");
    Ok(())
}
