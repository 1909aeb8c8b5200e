//! Arrows `complete`, `retry`, `bury`, `release` and `park`.

use std::time::{Duration, Instant};

use super::{Outcome, Stage, area, holds, same, support::*};
use crate::{
    ClaimedTask, End, Enqueued, ErrorKind, NewTask, Payload, QueueOptions, Settled, Settlement, TaskName,
    capabilities::{Crashes, Fences, Returns},
    limits,
};

area!("settle": complete_removes, children_come_with_the_settlement, children_are_always_accepted, a_known_child_is_left_as_it_is if REMEMBERS, a_child_is_known_until_its_task_is_settled if REMEMBERS, too_many_children_are_refused, retry_puts_off_and_counts if PUNCTUAL, a_retry_is_rounded_up_and_never_early if STEPPED, a_retry_is_at_most_a_step_late if STEPPED, too_long_a_delay_is_refused, a_retried_task_goes_to_the_end, the_last_attempt_is_death, bury_is_death_at_once, release_puts_back_uncharged, park_puts_off_uncharged if PUNCTUAL, park_puts_off_in_lines if STEPPED, parked_for_an_hour_is_death if PUNCTUAL, a_lease_is_settled_once, a_wrong_fence_is_refused, a_batch_is_answered_in_order);

async fn complete_removes(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    same!(settle(&*a, &task, complete()).await?, Settled::Settled, "a completion");
    same!(counts(&*a, &q).await?, (0, 0, 0, 0), "the queue after that");
    Ok(())
}

async fn children_come_with_the_settlement(stage: &dyn Stage) -> Outcome {
    let (a, b, q, r) = (stage.session().await?, stage.session().await?, queue("q")?, queue("r")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    let children = vec![self::task(&r, "x")?, self::task(&q, "2")?, self::task(&r, "y")?];
    same!(settle(&*a, &task, End::complete(children)).await?, Settled::Settled, "a completion with children");
    same!(names(&claim(&*b, &r, 9).await?.tasks), ["x", "y"], "the children of the other queue, in order");
    same!(names(&claim(&*b, &q, 9).await?.tasks), ["2"], "the child of the same queue");
    Ok(())
}

async fn children_are_always_accepted(stage: &dyn Stage) -> Outcome {
    let (a, q, r) = (stage.session().await?, queue("q")?, queue("r")?);
    a.declare(&r, Some(&QueueOptions::default().with_capacity(1))).await?;
    enqueue(&*a, &r, &["0"]).await?;
    a.close(&r).await?;
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    let children = tasks(&r, &["x", "y"])?;
    same!(
        settle(&*a, &task, End::complete(children)).await?,
        Settled::Settled,
        "children for a full and closed queue"
    );
    same!(counts(&*a, &r).await?, (3, 0, 0, 0), "that queue after it");
    Ok(())
}

async fn a_known_child_is_left_as_it_is(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1", "2", "3"]).await?;
    let first = claim_one(&*a, &q).await?;
    settle(&*a, &first, complete()).await?;
    let second = claim_one(&*a, &q).await?;
    let mut children = with_ids(&q, &["1", "2", "3"])?;
    children[2].payload = Payload::encode("another")?;
    settle(&*a, &second, End::complete(children)).await?;
    let left = claim(&*a, &q, 9).await?.tasks;
    same!(names(&left), ["3"], "after children that were settled before, settle now, or exist");
    Ok(())
}

async fn a_child_is_known_until_its_task_is_settled(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_remember_ids(Duration::ZERO))).await?;
    for (first, left) in [("1", vec![]), ("2", vec!["2"])] {
        enqueue_ids(&*a, &q, &["1", "2"]).await?;
        let mut tasks = claim(&*a, &q, 2).await?.tasks;
        tasks.sort_by_key(|task| name(task) != first);
        let ends = tasks.iter().map(|task| {
            let children = if name(task) == "1" { with_ids(&q, &["2"])? } else { Vec::new() };
            Ok(Settlement::new(task.lease.clone(), End::complete(children)))
        });
        let ends = ends.collect::<crate::Result<Vec<_>>>()?;
        same!(a.settle(&ends).await?, vec![Settled::Settled; 2], "both in one call");
        same!(names(&claim(&*a, &q, 9).await?.tasks), left, "what is there, where {first} was settled first");
    }
    Ok(())
}

async fn too_many_children_are_refused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    let child = NewTask::new(q.clone(), TaskName::new("work")?, Payload::default());
    let children = vec![child; limits::MAX_BATCH + 1];
    let settlement = [Settlement::new(task.lease.clone(), End::complete(children))];
    refused(a.settle(&settlement).await, ErrorKind::Invalid)?;
    same!(counts(&*a, &q).await?, (0, 0, 1, 0), "the queue after the refusal");
    same!(settle(&*a, &task, complete()).await?, Settled::Settled, "the lease, which is still held");
    Ok(())
}

async fn retry_puts_off_and_counts(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    same!(settle(&*a, &task, retry(Duration::from_secs(10))).await?, Settled::Settled, "a retry");
    same!(counts(&*a, &q).await?, (0, 1, 0, 0), "the queue after that");
    stage.advance(Duration::from_millis(9_999)).await;
    same!(claim(&*a, &q, 1).await?.tasks.len(), 0, "tasks a millisecond too early");
    stage.advance(Duration::from_millis(1)).await;
    let again = claim_one(&*a, &q).await?;
    same!((again.lease.id, again.attempts, again.crashes), (task.lease.id, 1, 0), "the second attempt");
    Ok(())
}

async fn a_retry_is_rounded_up_and_never_early(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    let (delay, put_off) = (Duration::from_millis(300), Instant::now());
    same!(settle(&*a, &task, retry(delay)).await?, Settled::Settled, "a retry");
    same!(counts(&*b, &q).await?, (0, 1, 0, 0), "the queue after that");
    same!(claim(&*b, &q, 1).await?.tasks.len(), 0, "tasks before it is due");
    let again = claim_soon(&*b, &q).await?;
    holds!(put_off.elapsed() >= delay, "it came back too early, after {:?}", put_off.elapsed());
    same!((again.lease.id, again.attempts, again.deaths), (task.lease.id, 1, 0), "the second attempt");
    holds!(again.lease.epoch > task.lease.epoch, "the epoch must grow");
    Ok(())
}

/// The one of five steps comes before the one of seven, though that one was put off first.
async fn a_retry_is_at_most_a_step_late(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let (step, began) = (a.capabilities().delay_step(), Instant::now());
    enqueue(&*a, &q, &["7", "5"]).await?;
    for (task, steps) in claim(&*a, &q, 2).await?.tasks.iter().zip([7, 5]) {
        same!(settle(&*a, task, retry(step * steps)).await?, Settled::Settled, "a retry");
    }
    same!(counts(&*a, &q).await?, (0, 2, 0, 0), "the queue after that");
    for steps in [5, 7] {
        let task = claim_soon(&*a, &q).await?;
        same!((name(&task), task.attempts), (steps.to_string(), 1), "what comes next");
        holds!(began.elapsed() >= step * steps, "{steps} came early, after {:?}", began.elapsed());
        settle(&*a, &task, complete()).await?;
    }
    Ok(())
}

async fn too_long_a_delay_is_refused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    let long = a.capabilities().max_delay() + Duration::from_secs(1);
    let kind = if long > limits::MAX_DELAY { ErrorKind::Invalid } else { ErrorKind::Unsupported };
    for end in [retry(long), crash(long)] {
        refused(a.settle(&[Settlement::new(task.lease.clone(), end)]).await, kind)?;
    }
    same!(counts(&*a, &q).await?, (0, 0, 1, 0), "the queue after the refusal");
    same!(
        settle(&*a, &task, retry(a.capabilities().max_delay())).await?,
        Settled::Settled,
        "the longest delay"
    );
    same!(counts(&*a, &q).await?, (0, 1, 0, 0), "the queue after that");
    Ok(())
}

async fn a_retried_task_goes_to_the_end(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2"]).await?;
    let task = claim_one(&*a, &q).await?;
    settle(&*a, &task, retry(Duration::ZERO)).await?;
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["2", "1"], "a retry gets a new place");
    Ok(())
}

async fn the_last_attempt_is_death(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let sent = task(&q, "1")?.with_max_attempts(3);
    same!(a.enqueue(&[sent], None).await?, [Enqueued::Enqueued], "a task of three attempts");
    for attempts in 0..3 {
        let task = claim_one(&*a, &q).await?;
        same!((task.attempts, task.max_attempts), (attempts, 3), "attempts so far");
        settle(&*a, &task, retry(Duration::ZERO)).await?;
    }
    same!(counts(&*a, &q).await?, (0, 0, 0, 1), "the queue after the third failure");
    same!(claim(&*a, &q, 9).await?.tasks.len(), 0, "claims of a dead task");
    Ok(())
}

async fn bury_is_death_at_once(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    // Cut, not refused: a task must be settled whatever its error says.
    let error = "ü".repeat(limits::MAX_ERROR);
    same!(settle(&*a, &task, End::Bury { error }).await?, Settled::Settled, "a burial");
    same!(counts(&*a, &q).await?, (0, 0, 0, 1), "the queue after that");
    Ok(())
}

async fn release_puts_back_uncharged(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2", "3"]).await?;
    let mut tasks = claim(&*a, &q, 2).await?.tasks;
    if a.capabilities().returns == Returns::InPlace {
        tasks.reverse();
    }
    for task in &tasks {
        same!(settle(&*a, task, End::Release).await?, Settled::Settled, "a release");
    }
    let again = claim(&*a, &q, 9).await?.tasks;
    same!(names(&again), ["1", "2", "3"], "order after the release");
    // Where a release cannot be told from a loss, the first one counts as one, which has no consequence yet.
    let deaths = if a.capabilities().crashes == Crashes::WhileAlone { 0 } else { 1 };
    let charges = |task: &ClaimedTask| (task.attempts, task.crashes) == (0, 0) && task.deaths <= deaths;
    holds!(again.iter().all(charges), "charged: {again:?}");
    for task in again {
        settle(&*a, &task, End::Release).await?;
    }
    for _ in 0..20 {
        let task = claim_one(&*a, &q).await?;
        holds!(charges(&task) && !task.alone, "charged after many releases: {task:?}");
        settle(&*a, &task, End::Release).await?;
    }
    Ok(())
}

async fn park_puts_off_uncharged(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let task = claim_one(&*a, &q).await?;
        same!((task.attempts, task.crashes), (0, 0), "charges of a parked task");
        settle(&*a, &task, End::Park).await?;
        same!(claim(&*a, &q, 1).await?.next, Some(Duration::from_secs(seconds)), "how long it is parked");
        stage.advance(Duration::from_secs(seconds)).await;
    }
    Ok(())
}

async fn park_puts_off_in_lines(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    for _ in 0..2 {
        let task = claim_soon(&*a, &q).await?;
        same!((task.attempts, task.crashes, task.deaths), (0, 0, 0), "charges of a parked task");
        same!(settle(&*a, &task, End::Park).await?, Settled::Settled, "parking");
        same!(counts(&*a, &q).await?, (0, 1, 0, 0), "the queue after that");
    }
    Ok(())
}

async fn parked_for_an_hour_is_death(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    settle(&*a, &task, End::Park).await?;
    stage.advance(limits::MAX_PARKED).await;
    let task = claim_one(&*a, &q).await?;
    settle(&*a, &task, End::Park).await?;
    same!(counts(&*a, &q).await?, (0, 0, 0, 1), "the queue after an hour without a handler");
    Ok(())
}

async fn a_lease_is_settled_once(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    same!(settle(&*a, &task, complete()).await?, Settled::Settled, "the first settlement");
    let children = tasks(&q, &["2"])?;
    for end in
        [End::complete(children), retry(Duration::ZERO), crash(Duration::ZERO), End::Release, End::Park]
    {
        same!(settle(&*a, &task, end.clone()).await?, Settled::Lost, "a second settlement by {end:?}");
    }
    same!(counts(&*a, &q).await?, (0, 0, 0, 0), "the queue after that");
    Ok(())
}

async fn a_wrong_fence_is_refused(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    let mut epoch = task.clone();
    epoch.lease.epoch -= 1;
    let mut holder = task.clone();
    holder.lease.incarnation = b.incarnation();
    let mut elsewhere = task.clone();
    elsewhere.lease.queue = queue("r")?;
    for (what, wrong) in [("epoch", epoch), ("incarnation", holder), ("queue", elsewhere)] {
        same!(settle(&*b, &wrong, complete()).await?, Settled::Lost, "a settlement with another {what}");
    }
    same!(counts(&*a, &q).await?, (0, 0, 1, 0), "the queue after the refusals");
    if a.capabilities().fences == Fences::Kept {
        same!(settle(&*b, &task, complete()).await?, Settled::Settled, "the lease itself, whoever brings it");
    } else {
        same!(settle(&*b, &task, complete()).await?, Settled::Lost, "the lease, brought by another session");
        same!(settle(&*a, &task, complete()).await?, Settled::Settled, "the lease, brought by its own");
    }
    Ok(())
}

async fn a_batch_is_answered_in_order(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2", "3"]).await?;
    let tasks = claim(&*a, &q, 3).await?.tasks;
    settle(&*a, &tasks[1], complete()).await?;
    let ends = [complete(), complete(), retry(Duration::from_secs(1))];
    let batch: Vec<_> =
        tasks.iter().zip(ends).map(|(task, end)| Settlement::new(task.lease.clone(), end)).collect();
    same!(
        a.settle(&batch).await?,
        [Settled::Settled, Settled::Lost, Settled::Settled],
        "a batch with a settled one"
    );
    same!(counts(&*a, &q).await?, (0, 1, 0, 0), "the queue after that");
    same!(a.settle(&[]).await?, [], "an empty batch");
    Ok(())
}
