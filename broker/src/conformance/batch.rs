//! Batches: tasks that belong together, their counts, and keys that are held as long as they last.

use std::time::Duration;

use super::{Failure, Outcome, Stage, area, same, support::*};
use crate::{
    BatchName, BatchStatus, Broker, BrokerExt, Cancel, End, Enqueued, ErrorKind, NewTask, QueueName, Result,
    Revived, TaskId, Unique, limits,
};

area!("batch": it_counts_its_tasks if CONTROLS, every_end_is_counted if CONTROLS, children_keep_it_going if CONTROLS, it_ends_and_begins_anew if CONTROLS, how_it_ended_is_known_for_an_hour if CONTROLS, it_spans_queues if CONTROLS, a_death_of_a_process_is_no_end if CONTROLS, a_revived_task_is_in_it_again if CONTROLS, a_key_is_held_until_it_ends if CONTROLS, a_key_of_an_ended_batch_is_free if CONTROLS, its_end_can_be_waited_for if CONTROLS, a_refused_task_is_not_in_it if CONTROLS, it_is_refused_where_no_task_is_known if LOOSE);

fn name(text: &str) -> Result<BatchName> {
    BatchName::new(text)
}

fn member(queue: &QueueName, id: &str) -> Result<NewTask> {
    Ok(with_ids(queue, &[id])?.remove(0).in_batch(name("b")?))
}

fn seen(queue: &QueueName, id: &str, key: &str) -> Result<NewTask> {
    Ok(member(queue, id)?.with_unique(Unique::in_batch(key)?))
}

/// Unsettled, done, dead, cancelled.
async fn stands(broker: &dyn Broker) -> Result<Option<(u64, u64, u64, u64)>, Failure> {
    let status = broker.batch(&name("b")?).await?;
    Ok(status.map(|BatchStatus { unsettled, done, dead, cancelled }| (unsettled, done, dead, cancelled)))
}

async fn it_counts_its_tasks(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    same!(stands(&*a).await?, None, "before there is one");
    a.enqueue(&[member(&q, "1")?, task(&q, "other")?, member(&q, "2")?], None).await?;
    a.enqueue(&[task(&q, "another")?.in_batch(name("another")?)], None).await?;
    same!(stands(&*b).await?, Some((2, 0, 0, 0)), "with two tasks");
    let claimed = claim(&*b, &q, 2).await?.tasks;
    same!(claimed[0].batch, Some(name("b")?), "what a worker is told");
    same!(claimed[1].batch, None, "what it is told of a task in none");
    same!(stands(&*a).await?, Some((2, 0, 0, 0)), "with one of them leased");
    settle(&*b, &claimed[0], complete()).await?;
    settle(&*b, &claimed[1], complete()).await?;
    same!(stands(&*a).await?, Some((1, 1, 0, 0)), "with one completed");
    Ok(())
}

async fn every_end_is_counted(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let expiring = member(&q, "late")?.with_expires(Duration::from_secs(5));
    let all = [member(&q, "1")?, member(&q, "2")?, member(&q, "3")?, member(&q, "4")?, expiring];
    a.enqueue(&all, None).await?;
    settle(&*a, &claim_one(&*a, &q).await?, complete()).await?;
    settle(&*a, &claim_one(&*a, &q).await?, End::Bury { error: "no".to_owned() }).await?;
    same!(a.cancel(&q, &[TaskId::new("4")?]).await?, [Cancel::Cancelled], "cancelling one that waits");
    let third = claim_one(&*a, &q).await?;
    same!(a.cancel(&q, &[TaskId::new("3")?]).await?, [Cancel::Asked], "cancelling one that runs");
    same!(stands(&*a).await?, Some((2, 1, 1, 1)), "with one running and one waiting");
    settle(&*a, &third, End::Release).await?;
    stage.advance(Duration::from_secs(6)).await;
    same!(claim(&*a, &q, 1).await?.tasks.len(), 0, "claimed after the last one expired");
    same!(stands(&*a).await?, Some((0, 1, 2, 2)), "at the end");
    Ok(())
}

async fn children_keep_it_going(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.enqueue(&[member(&q, "1")?], None).await?;
    let parent = claim_one(&*a, &q).await?;
    settle(&*a, &parent, End::complete(vec![member(&q, "2")?, task(&q, "not in it")?])).await?;
    same!(stands(&*a).await?, Some((1, 1, 0, 0)), "after the parent");
    settle(&*a, &claim_one(&*a, &q).await?, complete()).await?;
    same!(stands(&*a).await?, Some((0, 2, 0, 0)), "after the child");
    Ok(())
}

async fn it_ends_and_begins_anew(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    for id in ["1", "2"] {
        a.enqueue(&[member(&q, id)?], None).await?;
        same!(stands(&*a).await?, Some((1, 0, 0, 0)), "begun by {id}");
        settle(&*a, &claim_one(&*a, &q).await?, complete()).await?;
        same!(stands(&*a).await?, Some((0, 1, 0, 0)), "ended after {id}");
    }
    Ok(())
}

async fn how_it_ended_is_known_for_an_hour(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.enqueue(&[member(&q, "1")?], None).await?;
    settle(&*a, &claim_one(&*a, &q).await?, complete()).await?;
    stage.advance(limits::KEEP_BATCH - Duration::from_secs(1)).await;
    same!(stands(&*a).await?, Some((0, 1, 0, 0)), "a second before the hour is over");
    stage.advance(Duration::from_secs(2)).await;
    same!(stands(&*a).await?, None, "a second after it");
    Ok(())
}

async fn it_spans_queues(stage: &dyn Stage) -> Outcome {
    let (a, q, r) = (stage.session().await?, queue("q")?, queue("r")?);
    a.enqueue(&[member(&q, "1")?], None).await?;
    settle(&*a, &claim_one(&*a, &q).await?, End::complete(vec![member(&r, "1")?])).await?;
    same!(stands(&*a).await?, Some((1, 1, 0, 0)), "with a task on another queue");
    settle(&*a, &claim_one(&*a, &r).await?, End::complete(vec![member(&q, "2")?])).await?;
    same!(stands(&*a).await?, Some((1, 2, 0, 0)), "and back");
    Ok(())
}

async fn a_death_of_a_process_is_no_end(stage: &dyn Stage) -> Outcome {
    let (a, victim, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.enqueue(&[member(&q, "1")?], None).await?;
    claim_and_die(stage, victim, &q, 1).await?;
    let task = claim_soon(&*a, &q).await?;
    same!(stands(&*a).await?, Some((1, 0, 0, 0)), "after the death of a process");
    settle(&*a, &task, retry(Duration::from_secs(1))).await?;
    same!(stands(&*a).await?, Some((1, 0, 0, 0)), "between two attempts");
    Ok(())
}

async fn a_revived_task_is_in_it_again(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.enqueue(&[member(&q, "1")?, member(&q, "2")?], None).await?;
    settle(&*a, &claim_one(&*a, &q).await?, End::Bury { error: "no".to_owned() }).await?;
    same!(stands(&*a).await?, Some((1, 0, 1, 0)), "with a dead task");
    let revive = async || dead_letters(&*a)?.revive(&q, &[TaskId::new("1")?]).await.map_err(Failure::from);
    same!(revive().await?, [Revived::Revived], "reviving it");
    same!(stands(&*a).await?, Some((2, 0, 0, 0)), "with the task revived");
    for end in [complete(), End::Bury { error: "no".to_owned() }] {
        settle(&*a, &claim_one(&*a, &q).await?, end).await?;
    }
    same!(stands(&*a).await?, Some((0, 1, 1, 0)), "at the end");
    same!(revive().await?, [Revived::Revived], "reviving it after that");
    same!(stands(&*a).await?, Some((1, 0, 0, 0)), "begun anew by it");
    Ok(())
}

async fn a_key_is_held_until_it_ends(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.enqueue(&[seen(&q, "1", "k")?, member(&q, "last")?], None).await?;
    let duplicate = [Enqueued::Duplicate(TaskId::new("1")?)];
    same!(b.enqueue(&[seen(&q, "2", "k")?], None).await?, duplicate, "while it waits");
    settle(&*a, &claim_one(&*a, &q).await?, complete()).await?;
    // Long after any time that could be meant.
    stage.advance(Duration::from_secs(8 * 86_400)).await;
    same!(b.enqueue(&[seen(&q, "2", "k")?], None).await?, duplicate, "when it is settled");
    let others = task(&q, "3")?.with_unique(Unique::until_settled("k")?);
    same!(b.enqueue(&[others], None).await?, duplicate, "for a task that is not in the batch");
    let last = claim_one(&*a, &q).await?;
    let children = vec![seen(&q, "2", "k")?, seen(&q, "3", "new")?];
    settle(&*a, &last, End::complete(children)).await?;
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["3"], "the children that were not seen");
    Ok(())
}

async fn a_key_of_an_ended_batch_is_free(stage: &dyn Stage) -> Outcome {
    let (a, q, r) = (stage.session().await?, queue("q")?, queue("r")?);
    a.enqueue(&[seen(&q, "1", "k")?, seen(&r, "1", "k")?], None).await?;
    settle(&*a, &claim_one(&*a, &q).await?, complete()).await?;
    settle(&*a, &claim_one(&*a, &r).await?, End::Bury { error: "no".to_owned() }).await?;
    let again = [seen(&q, "2", "k")?, seen(&r, "2", "k")?];
    same!(a.enqueue(&again, None).await?, [Enqueued::Enqueued, Enqueued::Enqueued], "after its end");
    let duplicate = Enqueued::Duplicate(TaskId::new("2")?);
    same!(a.enqueue(&[seen(&q, "3", "k")?], None).await?, [duplicate], "in the next batch of its name");
    Ok(())
}

async fn its_end_can_be_waited_for(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    same!(b.join_batch(&name("b")?, None).await?, None, "waiting for none");
    a.enqueue(&[member(&q, "1")?], None).await?;
    let task = claim_one(&*a, &q).await?;
    let early = b.join_batch(&name("b")?, Some(Duration::from_millis(20))).await;
    refused(early, ErrorKind::Timeout)?;
    let batch = name("b")?;
    let (ended, settled) =
        tokio::join!(b.join_batch(&batch, Some(Duration::from_secs(20))), settle(&*a, &task, complete()));
    settled?;
    same!(ended?.map(|status| (status.unsettled, status.done)), Some((0, 1)), "what was waited for");
    Ok(())
}

async fn a_refused_task_is_not_in_it(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let alone = task(&q, "1")?.with_unique(Unique::in_batch("k")?);
    refused(a.enqueue(&[member(&q, "2")?, alone], None).await, ErrorKind::Invalid)?;
    same!(stands(&*a).await?, None, "after a call that was refused");
    a.enqueue(&[member(&q, "1")?, member(&q, "1")?], None).await?;
    a.close(&q).await?;
    same!(a.enqueue(&[member(&q, "2")?], None).await?, [Enqueued::Closed], "one for a closed queue");
    same!(stands(&*a).await?, Some((1, 0, 0, 0)), "after two that were refused");
    Ok(())
}

async fn it_is_refused_where_no_task_is_known(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let member = task(&q, "1")?.in_batch(name("b")?);
    refused(a.enqueue(&[member], None).await, ErrorKind::Unsupported)?;
    refused(a.batch(&name("b")?).await, ErrorKind::Unsupported)?;
    same!(a.status(&q).await?, None, "the queue after the refusals");
    Ok(())
}
