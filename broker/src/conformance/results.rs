//! What became of tasks, for those who ask.

use std::time::Duration;

use super::{Failure, Outcome, Stage, area, same, support::*};
use crate::{
    Broker, BrokerExt, Cancel, Capabilities, End, Enqueued, ErrorKind, NewTask, Outcome as Became,
    OutcomeWaiter, Payload, QueueName, QueueOptions, Result, Settled, Settlement, TaskId, Wanted,
    capabilities::Results, limits,
};

const KEPT: fn(&Capabilities) -> bool = |broker| broker.results == Results::Kept;
const SENT: fn(&Capabilities) -> bool = |broker| broker.results == Results::ToSender;

area!("results": a_result_is_kept_as_it_was_given if KEPT, a_result_is_kept_for_its_time if KEPT, what_nobody_wants_is_not_kept if KEPT, what_is_not_settled_is_pending if KEPT, other_ends_are_told_too if KEPT, what_never_was_is_unknown if KEPT, a_new_task_of_an_old_id_is_pending if KEPT, a_result_that_is_too_large_is_refused if KEPT, an_outcome_can_be_waited_for if KEPT, waiting_gives_up_in_time if KEPT, a_reply_comes_to_the_sender, a_reply_tells_of_a_death, a_reply_is_pending_until_it_comes, a_reply_can_be_waited_for, waiting_for_a_reply_gives_up_in_time, nobody_need_take_a_reply, who_waits_hears_of_its_own_tasks, who_waits_hears_of_its_own_large_result, who_waits_hears_that_its_task_was_cancelled if KEPT, a_reply_is_for_its_sender_only if SENT, to_keep_one_is_refused if SENT);

/// Only a broker that gives no hints takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

const PENDING: Became = Became::Pending { progress: None };

fn wanted(queue: &QueueName, id: &str, seconds: u64) -> Result<NewTask> {
    let keep = Wanted::Keep(Duration::from_secs(seconds));
    Ok(with_ids(queue, &[id])?.remove(0).with_result(keep))
}

fn ids(ids: &[&str]) -> Result<Vec<TaskId>> {
    ids.iter().map(|id| TaskId::new(id)).collect()
}

fn done(result: &str) -> End {
    End::Complete { children: Vec::new(), result: Some(Payload::from_stored(result.to_owned())) }
}

async fn a_result_is_kept_as_it_was_given(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.enqueue(&[wanted(&q, "1", 60)?, wanted(&q, "2", 60)?], None).await?;
    enqueue(&*a, &q, &["3"]).await?;
    let claimed = claim(&*a, &q, 3).await?.tasks;
    let asked: Vec<_> = claimed.iter().map(|task| task.result_wanted).collect();
    same!(asked, [true, true, false], "whether a worker hears that the result is wanted");
    let text = "{\"b\": 1.0,  \"a\":\"\\u00e4\\n\"}";
    settle(&*a, &claimed[0], done(text)).await?;
    settle(&*a, &claimed[1], complete()).await?;
    let outcomes = b.outcomes(&q, &ids(&["2", "1"])?).await?;
    let expected = [Became::Done(Payload::null()), Became::Done(Payload::from_stored(text.to_owned()))];
    same!(outcomes, expected, "one without and one with a result");
    Ok(())
}

async fn a_result_is_kept_for_its_time(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.enqueue(&[wanted(&q, "1", 60)?, wanted(&q, "2", 600)?], None).await?;
    for task in claim(&*a, &q, 2).await?.tasks {
        settle(&*a, &task, done("7")).await?;
    }
    stage.advance(Duration::from_secs(61)).await;
    let kept = Became::Done(Payload::from_stored("7".to_owned()));
    same!(a.outcomes(&q, &ids(&["1", "2"])?).await?, [Became::Unknown, kept], "after 61 s");
    Ok(())
}

async fn what_nobody_wants_is_not_kept(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1"]).await?;
    settle(&*a, &claim_one(&*a, &q).await?, done("7")).await?;
    same!(a.outcomes(&q, &ids(&["1"])?).await?, [Became::Unknown], "the outcome");
    Ok(())
}

async fn what_is_not_settled_is_pending(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let pending = async |what| -> Outcome {
        same!(a.outcomes(&q, &ids(&["1"])?).await?, [PENDING], "{what}");
        Ok(())
    };
    a.enqueue(&[wanted(&q, "1", 60)?], None).await?;
    pending("ready").await?;
    let task = claim_one(&*a, &q).await?;
    pending("leased").await?;
    settle(&*a, &task, retry(Duration::from_secs(9))).await?;
    pending("scheduled").await
}

async fn other_ends_are_told_too(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.enqueue(&[wanted(&q, "1", 60)?, wanted(&q, "2", 60)?, wanted(&q, "3", 60)?], None).await?;
    same!(a.cancel(&q, &ids(&["2"])?).await?, [Cancel::Cancelled], "cancelling the second");
    let claimed = claim(&*a, &q, 2).await?.tasks;
    settle(&*a, &claimed[0], End::Bury { error: "it is no image".to_owned() }).await?;
    a.cancel(&q, &ids(&["3"])?).await?;
    settle(&*a, &claimed[1], End::Release).await?;
    let expected = [Became::Dead("it is no image".to_owned()), Became::Cancelled, Became::Cancelled];
    same!(a.outcomes(&q, &ids(&["1", "2", "3"])?).await?, expected, "a dead and two cancelled ones");
    Ok(())
}

async fn what_never_was_is_unknown(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    same!(a.outcomes(&q, &ids(&["1"])?).await?, [Became::Unknown], "a missing queue");
    same!(a.status(&q).await?, None, "the missing queue after that");
    enqueue(&*a, &q, &["1"]).await?;
    same!(a.outcomes(&q, &ids(&["1", "2"])?).await?, [Became::Unknown, Became::Unknown], "ids of no task");
    Ok(())
}

async fn a_new_task_of_an_old_id_is_pending(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_remember_ids(Duration::ZERO))).await?;
    for result in ["1", "2"] {
        same!(a.enqueue(&[wanted(&q, "x", 60)?], None).await?, [Enqueued::Enqueued], "enqueue");
        same!(a.outcomes(&q, &ids(&["x"])?).await?, [PENDING], "before it runs");
        settle(&*a, &claim_one(&*a, &q).await?, done(result)).await?;
        let kept = Became::Done(Payload::from_stored(result.to_owned()));
        same!(a.outcomes(&q, &ids(&["x"])?).await?, [kept], "after that");
    }
    Ok(())
}

async fn a_result_that_is_too_large_is_refused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.enqueue(&[wanted(&q, "1", 60)?], None).await?;
    let task = claim_one(&*a, &q).await?;
    let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    let settlement = [Settlement::new(task.lease.clone(), done(&text(limits::MAX_PAYLOAD + 1)))];
    refused(a.settle(&settlement).await, ErrorKind::Invalid)?;
    same!(counts(&*a, &q).await?, (0, 0, 1, 0), "the queue after the refusal");
    let largest = text(limits::MAX_PAYLOAD);
    settle(&*a, &task, done(&largest)).await?;
    let kept = a.outcomes(&q, &ids(&["1"])?).await? == [Became::Done(Payload::from_stored(largest))];
    same!(kept, true, "whether the largest result is kept");
    Ok(())
}

async fn an_outcome_can_be_waited_for(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.enqueue(&[wanted(&q, "1", 60)?], None).await?;
    let task = claim_one(&*a, &q).await?;
    let id = TaskId::new("1")?;
    let (outcome, settled) =
        tokio::join!(b.outcome(&q, &id, Duration::from_secs(20)), settle(&*a, &task, done("7")));
    settled?;
    same!(outcome?, Became::Done(Payload::from_stored("7".to_owned())), "what was waited for");
    Ok(())
}

async fn waiting_gives_up_in_time(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.enqueue(&[wanted(&q, "1", 60)?], None).await?;
    let id = TaskId::new("1")?;
    let error = refused(a.outcome(&q, &id, Duration::from_millis(20)).await, ErrorKind::Timeout)?;
    same!(error.to_string().contains("task 1"), true, "whether the task is in: {error}");
    let unknown = a.outcome(&q, &TaskId::new("2")?, Duration::from_secs(20)).await?;
    same!(unknown, Became::Unknown, "the outcome of a task that never was");
    Ok(())
}

/// Tasks whose sender waits, and their ids, which are not given.
fn awaited(queue: &QueueName, names: &[&str]) -> Result<(Vec<NewTask>, Vec<TaskId>)> {
    let tasks = tasks(queue, names)?.into_iter().map(|task| task.with_result(Wanted::Reply));
    Ok(tasks.map(|task| (task.clone(), task.id)).unzip())
}

async fn a_reply_comes_to_the_sender(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let (tasks, ids) = awaited(&q, &["1", "2"])?;
    a.enqueue(&tasks, None).await?;
    enqueue(&*a, &q, &["3"]).await?;
    let claimed = claim(&*b, &q, 3).await?.tasks;
    let asked: Vec<_> = claimed.iter().map(|task| task.result_wanted).collect();
    same!(asked, [true, true, false], "whether a worker hears that the result is wanted");
    let text = "{\"b\": 1.0,  \"a\":\"\\u00e4\\n\"}";
    settle(&*b, &claimed[0], done(text)).await?;
    settle(&*b, &claimed[1], complete()).await?;
    let expected = [Became::Done(Payload::from_stored(text.to_owned())), Became::Done(Payload::null())];
    same!(a.outcomes(&q, &ids).await?, expected, "one with and one without a result");
    same!(a.outcomes(&q, &ids).await?, expected, "the same, asked again");
    same!(a.outcomes(&q, &[TaskId::generate()]).await?, [Became::Unknown], "a task that never was");
    Ok(())
}

async fn a_reply_tells_of_a_death(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let (mut tasks, ids) = awaited(&q, &["1", "2"])?;
    tasks[1].max_attempts = 1;
    a.enqueue(&tasks, None).await?;
    let claimed = claim(&*b, &q, 2).await?.tasks;
    settle(&*b, &claimed[0], End::Bury { error: "it is no image".to_owned() }).await?;
    settle(&*b, &claimed[1], retry(Duration::ZERO)).await?;
    let expected = [Became::Dead("it is no image".to_owned()), Became::Dead("it failed".to_owned())];
    same!(a.outcomes(&q, &ids).await?, expected, "one that was buried, and one that failed too often");
    Ok(())
}

async fn a_reply_is_pending_until_it_comes(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let (tasks, ids) = awaited(&q, &["1"])?;
    a.enqueue(&tasks, None).await?;
    same!(a.outcomes(&q, &ids).await?, [PENDING], "ready");
    let task = claim_one(&*b, &q).await?;
    same!(a.outcomes(&q, &ids).await?, [PENDING], "leased");
    settle(&*b, &task, retry(Duration::ZERO)).await?;
    same!(a.outcomes(&q, &ids).await?, [PENDING], "tried again");
    let task = claim_soon(&*b, &q).await?;
    settle(&*b, &task, End::Release).await?;
    same!(a.outcomes(&q, &ids).await?, [PENDING], "given back");
    settle(&*b, &claim_soon(&*b, &q).await?, done("7")).await?;
    same!(a.outcomes(&q, &ids).await?, [Became::Done(Payload::from_stored("7".to_owned()))], "done");
    Ok(())
}

async fn a_reply_can_be_waited_for(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let (tasks, ids) = awaited(&q, &["1"])?;
    a.enqueue(&tasks, None).await?;
    let task = claim_one(&*b, &q).await?;
    let (outcome, settled) =
        tokio::join!(a.outcome(&q, &ids[0], Duration::from_secs(20)), settle(&*b, &task, done("7")));
    settled?;
    same!(outcome?, Became::Done(Payload::from_stored("7".to_owned())), "what was waited for");
    Ok(())
}

async fn waiting_for_a_reply_gives_up_in_time(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let (tasks, ids) = awaited(&q, &["1"])?;
    a.enqueue(&tasks, None).await?;
    refused(a.outcome(&q, &ids[0], Duration::from_millis(20)).await, ErrorKind::Timeout)?;
    let unknown = a.outcome(&q, &TaskId::generate(), Duration::from_secs(20)).await?;
    same!(unknown, Became::Unknown, "the outcome of a task that never was");
    Ok(())
}

/// What a waiter hears of its task, or what there is to ask for when it completes.
async fn heard(
    a: &dyn Broker,
    task: &NewTask,
    waiter: OutcomeWaiter,
) -> std::result::Result<Became, Failure> {
    let none = |_| Failure(format!("no hint for task {} within {PATIENCE:?}", task.id));
    match tokio::time::timeout(PATIENCE, waiter).await.map_err(none)? {
        Some(outcome) => Ok(outcome),
        // It may have been the news of another one.
        None => Ok(a.outcome(&task.queue, &task.id, PATIENCE).await?),
    }
}

async fn who_waits_hears_of_its_own_tasks(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let (mut tasks, _) = awaited(&q, &["1", "2", "3"])?;
    tasks[2].max_attempts = 1;
    let ends = [done("7"), End::Bury { error: "it is no image".to_owned() }, retry(Duration::ZERO)];
    let expected = [
        Became::Done(Payload::from_stored("7".to_owned())),
        Became::Dead("it is no image".to_owned()),
        Became::Dead("it failed".to_owned()),
    ];
    for ((task, end), expected) in tasks.iter().zip(ends).zip(expected) {
        let waiter = a.outcome_waiter(task);
        a.enqueue(std::slice::from_ref(task), None).await?;
        settle(&*b, &claim_one(&*b, &q).await?, end).await?;
        same!(heard(&*a, task, waiter).await?, expected, "what became of task {}", task.name);
    }
    Ok(())
}

async fn who_waits_hears_of_its_own_large_result(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let (tasks, _) = awaited(&q, &["1", "2"])?;
    let waiters: Vec<_> = tasks.iter().map(|task| a.outcome_waiter(task)).collect();
    a.enqueue(&tasks, None).await?;
    // Both in one call: one is told in any case, the other as it can be.
    let texts = ["7".to_owned(), format!("\"{}\"", "x".repeat(100_000))];
    let claimed = claim(&*b, &q, 2).await?.tasks;
    let ends = claimed.iter().zip(&texts).map(|(task, text)| Settlement::new(task.lease.clone(), done(text)));
    b.settle(&ends.collect::<Vec<_>>()).await?;
    for ((task, waiter), text) in tasks.iter().zip(waiters).zip(texts) {
        same!(
            heard(&*a, task, waiter).await?,
            Became::Done(Payload::from_stored(text)),
            "what became of {}",
            task.name
        );
    }
    Ok(())
}

async fn who_waits_hears_that_its_task_was_cancelled(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let (tasks, ids) = awaited(&q, &["1"])?;
    let waiter = a.outcome_waiter(&tasks[0]);
    a.enqueue(&tasks, None).await?;
    same!(b.cancel(&q, &ids).await?, [Cancel::Cancelled], "cancelling it");
    same!(heard(&*a, &tasks[0], waiter).await?, Became::Cancelled, "what became of it");
    Ok(())
}

async fn nobody_need_take_a_reply(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let (tasks, _) = awaited(&q, &["1", "2"])?;
    a.enqueue(&tasks, None).await?;
    stage.kill(a).await?;
    let claimed = claim(&*b, &q, 2).await?.tasks;
    same!(settle(&*b, &claimed[0], done("7")).await?, Settled::Settled, "a completion that nobody waits for");
    let bury = End::Bury { error: "no".to_owned() };
    same!(settle(&*b, &claimed[1], bury).await?, Settled::Settled, "a burial that nobody waits for");
    same!(counts(&*b, &q).await?, (0, 0, 0, 1), "the queue after that");
    Ok(())
}

async fn a_reply_is_for_its_sender_only(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let (mut tasks, mut ids) = awaited(&q, &["1"])?;
    let other = task(&q, "2")?;
    ids.push(other.id.clone());
    tasks.push(other);
    a.enqueue(&tasks, None).await?;
    for task in claim(&*b, &q, 2).await?.tasks {
        settle(&*b, &task, done("7")).await?;
    }
    let told = Became::Done(Payload::from_stored("7".to_owned()));
    same!(a.outcomes(&q, &ids).await?, [told, Became::Unknown], "what the sender hears, who asked for one");
    same!(b.outcomes(&q, &ids).await?, [Became::Unknown, Became::Unknown], "what others hear");
    same!(a.outcomes(&queue("r")?, &ids[..1]).await?, [Became::Unknown], "another queue's");
    Ok(())
}

async fn to_keep_one_is_refused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let keep = task(&q, "1")?.with_result(Wanted::Keep(Duration::from_secs(60)));
    let error = refused(a.enqueue(&[keep], None).await, ErrorKind::Unsupported)?.to_string();
    same!(error.contains("\"q\""), true, "whether the queue is in: {error}");
    same!(a.status(&q).await?, None, "the queue after the refusal");
    Ok(())
}
