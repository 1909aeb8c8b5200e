//! Arrow `cancel`, and what becomes of a task that runs when it is cancelled.

use std::time::Duration;

use super::{Outcome, Stage, area, same, support::*};
use crate::{Beat, Beaten, Cancel, End, Enqueued, ErrorKind, Settled, Start, TaskId, limits};

area!("cancel": what_waits_is_gone if CONTROLS, what_runs_is_told if CONTROLS, a_completion_wins if CONTROLS, no_other_end_brings_it_back if CONTROLS, a_death_does_not_bring_it_back if CONTROLS, what_is_over_cannot_be_cancelled if CONTROLS, a_cancelled_id_is_remembered if CONTROLS, it_is_refused_where_no_task_is_known if LOOSE);

fn ids(ids: &[&str]) -> crate::Result<Vec<TaskId>> {
    ids.iter().map(|id| TaskId::new(id)).collect()
}

async fn what_waits_is_gone(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1", "2", "3"]).await?;
    let later = Start::After(Duration::from_secs(60));
    let scheduled = with_ids(&q, &["4"])?.remove(0).with_start(later);
    a.enqueue(&[scheduled], None).await?;
    let answers = b.cancel(&q, &ids(&["2", "4", "2", "5"])?).await?;
    let expected = [Cancel::Cancelled, Cancel::Cancelled, Cancel::Unknown, Cancel::Unknown];
    same!(answers, expected, "a ready one, a scheduled one, the first again, and one that never was");
    same!(counts(&*a, &q).await?, (2, 0, 0, 0), "the queue after that");
    stage.advance(Duration::from_secs(60)).await;
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["1", "3"], "what a claim gets");
    Ok(())
}

async fn what_runs_is_told(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1", "2"]).await?;
    let claimed = claim(&*a, &q, 2).await?.tasks;
    for _ in 0..2 {
        same!(b.cancel(&q, &ids(&["1"])?).await?, [Cancel::Asked], "cancelling what runs");
    }
    let leases: Vec<_> = claimed.iter().map(|task| task.lease.clone()).collect();
    for _ in 0..2 {
        let answers = a.beat(&Beat::all(&leases), limits::LEASE).await?;
        same!(answers, [Beaten::Cancelled, Beaten::Kept], "beats of both");
        // The lease is renewed all the same.
        stage.advance(limits::LEASE - Duration::from_secs(5)).await;
    }
    same!(settle(&*a, &claimed[0], End::Release).await?, Settled::Settled, "its holder gives it back");
    same!(counts(&*a, &q).await?, (0, 0, 1, 0), "the queue then");
    same!(settle(&*a, &claimed[1], complete()).await?, Settled::Settled, "the other one");
    Ok(())
}

async fn a_completion_wins(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1", "2"]).await?;
    let claimed = claim(&*a, &q, 2).await?.tasks;
    a.cancel(&q, &ids(&["1", "2"])?).await?;
    let children = tasks(&queue("r")?, &["child"])?;
    same!(settle(&*a, &claimed[0], End::complete(children)).await?, Settled::Settled, "a completion");
    same!(counts(&*a, &queue("r")?).await?, (1, 0, 0, 0), "the child's queue");
    let bury = End::Bury { error: "no".to_owned() };
    same!(settle(&*a, &claimed[1], bury).await?, Settled::Settled, "its holder buries the other one");
    same!(counts(&*a, &q).await?, (0, 0, 0, 1), "the queue then");
    Ok(())
}

async fn no_other_end_brings_it_back(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1", "2", "3"]).await?;
    let claimed = claim(&*a, &q, 3).await?.tasks;
    a.cancel(&q, &ids(&["1", "2", "3"])?).await?;
    for (task, end) in claimed.iter().zip([End::Release, retry(Duration::ZERO), End::Park]) {
        same!(settle(&*a, task, end.clone()).await?, Settled::Settled, "{end:?}");
    }
    same!(counts(&*a, &q).await?, (0, 0, 0, 0), "the queue after that");
    Ok(())
}

async fn a_death_does_not_bring_it_back(stage: &dyn Stage) -> Outcome {
    let (a, victim, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1"]).await?;
    let one_claim = crate::Claim::new(q.clone(), 1).with_lease(super::VICTIMS_LEASE);
    same!(names(&victim.claim(&one_claim).await?.tasks), ["1"], "what the victim claims");
    a.cancel(&q, &ids(&["1"])?).await?;
    stage.kill(victim).await?;
    until(&*a, &q, "empty", |status| status.unsettled() == 0).await?;
    same!(counts(&*a, &q).await?, (0, 0, 0, 0), "the queue after the death of its holder");
    Ok(())
}

async fn what_is_over_cannot_be_cancelled(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    same!(a.cancel(&q, &ids(&["0"])?).await?, [Cancel::Unknown], "a missing queue");
    same!(a.status(&q).await?, None, "the missing queue after that");
    enqueue_ids(&*a, &q, &["1", "2"]).await?;
    let claimed = claim(&*a, &q, 2).await?.tasks;
    settle(&*a, &claimed[0], complete()).await?;
    settle(&*a, &claimed[1], End::Bury { error: "no".to_owned() }).await?;
    same!(a.cancel(&q, &ids(&["1", "2"])?).await?, [Cancel::Unknown; 2], "a settled and a dead one");
    same!(counts(&*a, &q).await?, (0, 0, 0, 1), "the queue after that");
    Ok(())
}

async fn a_cancelled_id_is_remembered(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1"]).await?;
    a.cancel(&q, &ids(&["1"])?).await?;
    same!(a.enqueue(&with_ids(&q, &["1"])?, None).await?, [Enqueued::Exists], "the same id again");
    Ok(())
}

async fn it_is_refused_where_no_task_is_known(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    refused(a.cancel(&q, &[TaskId::generate()]).await, ErrorKind::Unsupported)?;
    refused(a.pause(&q, "operator@host").await, ErrorKind::Unsupported)?;
    refused(a.resume(&q).await, ErrorKind::Unsupported)?;
    same!(names(&claim(&*a, &q, 1).await?.tasks), ["1"], "what a claim gets after the refusals");
    Ok(())
}
