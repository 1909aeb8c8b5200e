//! Arrow `crash`: a process died of the one task that it ran, and the holder, which lives, says so.

use std::time::{Duration, Instant};

use super::{Failure, Outcome, Stage, area, holds, same, support::*};
use crate::{
    Ahead, Broker, Cancel, Claim, ClaimedTask, DeadTask, End, LimitKey, NewTask, Order, QueueName,
    QueueOptions, Result, Settled, TaskId, Why, capabilities::Crashes, limits,
};

area!("crash": it_is_charged_and_no_attempt, it_runs_alone, the_last_crash_is_death, one_crash_can_be_the_last_however_long_its_error, a_clean_end_clears_the_suspicion_and_not_the_count, a_release_leaves_it_suspect, a_loss_while_alone_is_another_crash, it_is_too_late_for_who_lost_the_lease, others_of_its_call_are_left_alone, it_is_put_off if PUNCTUAL, it_is_put_off_in_lines if STEPPED, it_comes_back_first_in_every_order if PUNCTUAL, what_was_cancelled_is_gone if CONTROLS, a_last_crash_buries_what_was_cancelled if CONTROLS, its_key_is_freed if CONTROLS, it_waits_for_its_key_and_runs_alone if CONTROLS);

/// Attempts, crashes, deaths in a row, and whether it is to run alone.
fn charges(task: &ClaimedTask) -> (u32, u32, u32, bool) {
    (task.attempts, task.crashes, task.deaths, task.alone)
}

/// Claims one task, which dies of it at once; returns it.
async fn crash_one(broker: &dyn Broker, queue: &QueueName) -> Result<ClaimedTask, Failure> {
    let task = claim_soon(broker, queue).await?;
    same!(settle(broker, &task, crash(Duration::ZERO)).await?, Settled::Settled, "a crash");
    Ok(task)
}

async fn the_dead(broker: &dyn Broker, queue: &QueueName) -> Result<Vec<DeadTask>, Failure> {
    Ok(dead_letters(broker)?.list(queue, None, limits::MAX_BATCH).await?)
}

async fn it_is_charged_and_no_attempt(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = crash_one(&*a, &q).await?;
    same!(charges(&task), (0, 0, 0, false), "before it");
    let again = claim_soon(&*a, &q).await?;
    same!((&again.lease.id, charges(&again)), (&task.lease.id, (0, 1, 2, true)), "after it");
    holds!(again.lease.epoch > task.lease.epoch, "the epoch must grow");
    same!(settle(&*a, &again, crash(Duration::ZERO)).await?, Settled::Settled, "another crash");
    let third = claim_soon(&*a, &q).await?;
    same!(charges(&third), (0, 2, 3, true), "after the second one");
    same!(settle(&*a, &third, complete()).await?, Settled::Settled, "its completion");
    same!(counts(&*a, &q).await?, (0, 0, 0, 0), "the queue at the end");
    Ok(())
}

async fn it_runs_alone(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    crash_one(&*a, &q).await?;
    enqueue(&*a, &q, &["2", "3"]).await?;
    let reply = a.claim(&Claim::new(q.clone(), 1).with_idle(false)).await?;
    same!((names(&reply.tasks), reply.waiting_alone), (vec!["2".to_owned()], 1), "what a busy process gets");
    let reply = claim(&*a, &q, 9).await?;
    same!((names(&reply.tasks), reply.waiting_alone), (vec!["1".to_owned()], 0), "what an idle process gets");
    same!(reply.tasks[0].alone, true, "whether it is to run alone");
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["3"], "what is left");
    Ok(())
}

async fn the_last_crash_is_death(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    for number in 1..=limits::MAX_CRASHES {
        let task = claim_soon(&*a, &q).await?;
        same!(task.crashes, number - 1, "crashes so far");
        let end = End::Crash { error: format!("signal {number}"), delay: Duration::ZERO };
        same!(settle(&*a, &task, end).await?, Settled::Settled, "crash {number}");
    }
    same!(counts(&*a, &q).await?, (0, 0, 0, 1), "the queue after the last crash");
    let dead = the_dead(&*a, &q).await?.remove(0);
    same!((dead.attempts, dead.crashes), (0, 3), "what it is charged with");
    same!(dead.error, "crash 3 of 3: signal 3", "why it is dead");
    let history: Vec<_> = dead.history.iter().map(|failure| failure.error.as_str()).collect();
    same!(history, ["signal 1", "signal 2", "signal 3"], "what went wrong with it");
    Ok(())
}

/// Cut, not refused: a task must be settled whatever its error says.
async fn one_crash_can_be_the_last_however_long_its_error(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let mut only = task(&q, "1")?;
    only.max_crashes = 1;
    a.enqueue(&[only], None).await?;
    let task = claim_one(&*a, &q).await?;
    let end = End::Crash { error: "ü".repeat(limits::MAX_ERROR), delay: Duration::from_secs(9) };
    same!(settle(&*a, &task, end).await?, Settled::Settled, "a crash with a long error");
    same!(counts(&*a, &q).await?, (0, 0, 0, 1), "the queue after that");
    let dead = the_dead(&*a, &q).await?.remove(0);
    // The rest is less than one more of its characters.
    let len = dead.error.len();
    holds!((limits::MAX_ERROR - 1..=limits::MAX_ERROR).contains(&len), "{len} bytes of error are kept");
    holds!(dead.error.starts_with("crash 1 of 1: ü"), "its beginning: {}", dead.error);
    let failure = &dead.history[0].error;
    holds!(
        failure.starts_with("ü") && failure.len() <= limits::MAX_HISTORY_ERROR,
        "in its history: {failure}"
    );
    Ok(())
}

async fn a_clean_end_clears_the_suspicion_and_not_the_count(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    crash_one(&*a, &q).await?;
    let task = claim_soon(&*a, &q).await?;
    settle(&*a, &task, retry(Duration::ZERO)).await?;
    let task = claim_soon(&*a, &q).await?;
    same!(charges(&task), (1, 1, 0, false), "after a failure");
    settle(&*a, &task, crash(Duration::ZERO)).await?;
    let task = claim_soon(&*a, &q).await?;
    same!(charges(&task), (1, 2, 2, true), "after another crash");
    settle(&*a, &task, crash(Duration::ZERO)).await?;
    same!(counts(&*a, &q).await?, (0, 0, 0, 1), "the queue after the third");
    Ok(())
}

async fn a_release_leaves_it_suspect(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    crash_one(&*a, &q).await?;
    for _ in 0..3 {
        let task = claim_soon(&*a, &q).await?;
        same!(charges(&task), (0, 1, 2, true), "a crash, and no end since that tells anything");
        settle(&*a, &task, End::Release).await?;
    }
    Ok(())
}

/// Where nobody knows what a lost process ran, its loss is no crash, and is shown as one only if there were more of them.
async fn a_loss_while_alone_is_another_crash(stage: &dyn Stage) -> Outcome {
    let (a, victim, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    crash_one(&*victim, &q).await?;
    same!(charges(&claim_soon(&*victim, &q).await?), (0, 1, 2, true), "what the victim holds");
    stage.kill(victim).await?;
    stage.advance(limits::LEASE).await;
    let task = claim_soon(&*a, &q).await?;
    let lost = if a.capabilities().crashes == Crashes::WhileAlone { 2 } else { 1 };
    same!(charges(&task), (0, lost, 3, true), "after the loss");
    settle(&*a, &task, crash(Duration::ZERO)).await?;
    if a.capabilities().crashes == Crashes::PerDelivery {
        // It was told of two crashes.
        same!(charges(&claim_soon(&*a, &q).await?), (0, 2, 4, true), "after another crash");
    } else {
        same!(counts(&*a, &q).await?, (0, 0, 0, 1), "the queue after the third");
    }
    Ok(())
}

async fn it_is_too_late_for_who_lost_the_lease(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let late = claim_one(&*a, &q).await?;
    stage.advance(limits::LEASE).await;
    let task = claim_soon(&*b, &q).await?;
    same!(settle(&*a, &late, crash(Duration::ZERO)).await?, Settled::Lost, "a crash after the lease ran out");
    same!(charges(&task), (0, 0, 1, false), "what the next holder knows");
    same!(settle(&*b, &task, crash(Duration::ZERO)).await?, Settled::Settled, "a crash under the next lease");
    same!(settle(&*b, &task, crash(Duration::ZERO)).await?, Settled::Lost, "the same once more");
    let task = claim_soon(&*b, &q).await?;
    same!(charges(&task), (0, 1, 2, true), "the loss, and one crash");
    Ok(())
}

async fn others_of_its_call_are_left_alone(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2", "3", "4"]).await?;
    let claimed = claim(&*a, &q, 3).await?.tasks;
    same!(settle(&*a, &claimed[1], crash(Duration::ZERO)).await?, Settled::Settled, "a crash");
    for task in [&claimed[0], &claimed[2]] {
        same!(settle(&*a, task, complete()).await?, Settled::Settled, "one that was claimed with it");
    }
    let mut left = [claim_soon(&*a, &q).await?, claim_soon(&*a, &q).await?];
    left.sort_by_key(name);
    same!(names(&left), ["2", "4"], "what is left");
    same!(left.each_ref().map(charges), [(0, 1, 2, true), (0, 0, 0, false)], "what each is charged with");
    Ok(())
}

async fn it_is_put_off(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2"]).await?;
    let task = claim_one(&*a, &q).await?;
    settle(&*a, &task, crash(Duration::from_secs(10))).await?;
    same!(counts(&*a, &q).await?, (1, 1, 0, 0), "the queue after that");
    books_are_whole(&*a).await?;
    let reply = claim(&*a, &q, 9).await?;
    same!((names(&reply.tasks), reply.waiting_alone), (vec!["2".to_owned()], 0), "what can be claimed");
    stage.advance(Duration::from_millis(9_999)).await;
    same!(claim(&*a, &q, 9).await?.tasks.len(), 0, "tasks a millisecond too early");
    stage.advance(Duration::from_millis(1)).await;
    let reply = a.claim(&Claim::new(q.clone(), 9).with_idle(false)).await?;
    same!((reply.tasks.len(), reply.waiting_alone), (0, 1), "what a busy process gets when it is due");
    same!(charges(&claim_one(&*a, &q).await?), (0, 1, 2, true), "what an idle one gets");
    Ok(())
}

async fn it_is_put_off_in_lines(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    let (delay, put_off) = (Duration::from_millis(300), Instant::now());
    settle(&*a, &task, crash(delay)).await?;
    same!(counts(&*a, &q).await?, (0, 1, 0, 0), "the queue after that");
    let again = claim_soon(&*a, &q).await?;
    holds!(put_off.elapsed() >= delay, "it came back too early, after {:?}", put_off.elapsed());
    same!(charges(&again), (0, 1, 2, true), "what it is charged with");
    Ok(())
}

/// Under its old sequence, as what is lost with its process.
async fn it_comes_back_first_in_every_order(stage: &dyn Stage) -> Outcome {
    let a = stage.session().await?;
    for order in [Order::Fifo, Order::Lifo, Order::Priority] {
        let q = queue(&order.to_string())?;
        a.declare(&q, Some(&QueueOptions::default().with_order(order))).await?;
        enqueue_ids(&*a, &q, &["1", "2"]).await?;
        let first = crash_one(&*a, &q).await?;
        enqueue_ids(&*a, &q, &["3"]).await?;
        stage.advance(Duration::from_millis(1)).await;
        let busy = a.claim(&Claim::new(q.clone(), 1).with_idle(false)).await?;
        same!(busy.waiting_alone, 1, "tasks that wait to run alone, in order {order}");
        if let Some(lookup) = a.lookup() {
            let why = lookup.why(&q, &first.lease.id).await?;
            same!(why, Why::Alone { ahead: Ahead::of(0) }, "why it waits, in order {order}");
        }
        let reply = claim(&*a, &q, 9).await?;
        same!(names(&reply.tasks), [name(&first)], "what is next, in order {order}");
        same!(claim(&*a, &q, 9).await?.tasks.len(), 1, "what is left, in order {order}");
    }
    Ok(())
}

async fn what_was_cancelled_is_gone(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1", "2"]).await?;
    let task = claim_one(&*a, &q).await?;
    same!(a.cancel(&q, &[TaskId::new("1")?]).await?, [Cancel::Asked], "cancelling while it runs");
    same!(settle(&*a, &task, crash(Duration::ZERO)).await?, Settled::Settled, "its crash");
    same!(counts(&*a, &q).await?, (1, 0, 0, 0), "the queue after that");
    let task = claim_one(&*a, &q).await?;
    settle(&*a, &task, crash(Duration::from_secs(5))).await?;
    same!(a.cancel(&q, &[TaskId::new("2")?]).await?, [Cancel::Cancelled], "cancelling while it is put off");
    same!(counts(&*a, &q).await?, (0, 0, 0, 0), "the queue after both");
    Ok(())
}

async fn a_last_crash_buries_what_was_cancelled(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let mut only = with_ids(&q, &["1"])?.remove(0);
    only.max_crashes = 1;
    a.enqueue(&[only], None).await?;
    let task = claim_one(&*a, &q).await?;
    a.cancel(&q, &[TaskId::new("1")?]).await?;
    same!(settle(&*a, &task, crash(Duration::ZERO)).await?, Settled::Settled, "its last crash");
    same!(counts(&*a, &q).await?, (0, 0, 0, 1), "the queue after that");
    Ok(())
}

fn keyed(queue: &QueueName, id: &str) -> Result<NewTask> {
    Ok(with_ids(queue, &[id])?.remove(0).with_key(LimitKey::new("k")?))
}

async fn its_key_is_freed(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_key_limit(1))).await?;
    a.enqueue(&[keyed(&q, "1")?, keyed(&q, "2")?], None).await?;
    let task = claim_one(&*a, &q).await?;
    settle(&*a, &task, crash(Duration::from_secs(5))).await?;
    books_are_whole(&*a).await?;
    let next = claim_one(&*a, &q).await?;
    same!(name(&next), "2", "what is next of its key");
    settle(&*a, &next, complete()).await?;
    same!(claim(&*a, &q, 9).await?.tasks.len(), 0, "tasks before it is due");
    stage.advance(Duration::from_secs(5)).await;
    let again = claim_one(&*a, &q).await?;
    same!((name(&again), charges(&again)), ("1".to_owned(), (0, 1, 2, true)), "when it is due");
    Ok(())
}

async fn it_waits_for_its_key_and_runs_alone(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_key_limit(1))).await?;
    a.enqueue(&[keyed(&q, "1")?, keyed(&q, "2")?, keyed(&q, "3")?], None).await?;
    let task = claim_one(&*a, &q).await?;
    settle(&*a, &task, crash(Duration::ZERO)).await?;
    stage.advance(Duration::from_millis(1)).await;
    let next = claim_one(&*a, &q).await?;
    same!(name(&next), "2", "who got the permit when it crashed");
    let reply = claim(&*a, &q, 9).await?;
    same!((reply.tasks.len(), reply.waiting_alone), (0, 0), "what can be claimed while that runs");
    books_are_whole(&*a).await?;
    settle(&*a, &next, complete()).await?;
    let reply = a.claim(&Claim::new(q.clone(), 9).with_idle(false)).await?;
    same!((reply.tasks.len(), reply.waiting_alone), (0, 1), "what a busy process gets");
    let again = claim_one(&*a, &q).await?;
    same!((name(&again), charges(&again)), ("1".to_owned(), (0, 1, 2, true)), "who is next of its key");
    settle(&*a, &again, complete()).await?;
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["3"], "who is the last");
    Ok(())
}
