//! What an operator changes: the options of a queue, and what waits in it.

use std::time::Duration;

use super::{Failure, Outcome, Stage, area, holds, lookup::lookup, same, support::*};
use crate::{
    BatchName, Broker, Capabilities, Enqueued, ErrorKind, LimitKey, NewTask, Order, QueueName, QueueOptions,
    QueueStatus, Start, State, TaskId, Unique, Wanted, Why, capabilities::Operators, limits,
};

const LOOKS: fn(&Capabilities) -> bool = |broker| broker.operators >= Operators::All;

area!("set": options_are_changed if LOOKS, the_later_of_two_is_refused if LOOKS, an_order_is_changed_while_nothing_is_there if LOOKS, limits_are_taken_away_while_nothing_is_there if LOOKS, without_an_interval_nobody_waits_for_it if LOOKS, a_limit_that_is_raised_lets_tasks_go if LOOKS, what_waits_is_purged if LOOKS, a_purge_ends_tasks_as_a_cancel_does if LOOKS, a_purge_is_bounded if LOOKS, only_what_waits_is_purged if LOOKS);

async fn status(broker: &dyn Broker, queue: &QueueName) -> Result<QueueStatus, Failure> {
    broker.status(queue).await?.ok_or_else(|| Failure(format!("{queue} does not exist")))
}

fn given(queue: &QueueName, name: &str) -> crate::Result<NewTask> {
    Ok(task(queue, name)?.with_id(TaskId::new(name)?))
}

async fn options_are_changed(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_capacity(1))).await?;
    enqueue(&*a, &q, &["1"]).await?;
    same!(a.enqueue(&tasks(&q, &["2"])?, None).await?, [Enqueued::Full], "a full queue");
    let wanted = QueueOptions::default()
        .with_capacity(2)
        .with_key_limit(3)
        .with_key_interval(Duration::from_secs(1))
        .with_remember_ids(Duration::from_secs(5));
    let before = status(&*b, &q).await?.revision;
    let after = lookup(&*b)?.set(&q, &wanted, before).await?;
    same!((&after.options, after.revision), (&wanted, before + 1), "what is answered");
    same!(status(&*a, &q).await?, after, "what the other one sees");
    same!(a.enqueue(&tasks(&q, &["2"])?, None).await?, [Enqueued::Enqueued], "there is room now");
    refused(a.declare(&q, Some(&QueueOptions::default().with_capacity(1))).await, ErrorKind::Conflict)?;
    same!(a.declare(&q, Some(&wanted)).await?.revision, before + 1, "who declares the same");
    let new = lookup(&*b)?.set(&queue("new")?, &wanted, 1).await?;
    same!((new.options, new.revision), (wanted, 2), "a missing queue");
    let none = QueueOptions::default().with_capacity(0);
    refused(lookup(&*b)?.set(&q, &none, before + 1).await, ErrorKind::Invalid)?;
    Ok(())
}

async fn the_later_of_two_is_refused(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let revision = a.declare(&q, None).await?.revision;
    let (five, six) = (QueueOptions::default().with_capacity(5), QueueOptions::default().with_capacity(6));
    lookup(&*a)?.set(&q, &five, revision).await?;
    let error = refused(lookup(&*b)?.set(&q, &six, revision).await, ErrorKind::Conflict)?.to_string();
    holds!(error.contains("capacity 5") && error.contains("capacity 6"), "both values are told: {error}");
    let again = lookup(&*a)?.set(&q, &five, revision).await?;
    same!((again.options, again.revision), (five, revision + 1), "the same again changes nothing");
    Ok(())
}

async fn an_order_is_changed_while_nothing_is_there(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1", "2"]).await?;
    let revision = status(&*a, &q).await?.revision;
    let priority = QueueOptions::default().with_order(Order::Priority);
    let error = refused(lookup(&*a)?.set(&q, &priority, revision).await, ErrorKind::Conflict)?.to_string();
    holds!(error.contains("fifo") && error.contains("priority"), "both orders are told: {error}");
    a.cancel(&q, &[TaskId::new("1")?, TaskId::new("2")?]).await?;
    same!(lookup(&*a)?.set(&q, &priority, revision).await?.options, priority, "in an empty queue");
    a.enqueue(&[given(&q, "late")?.with_priority(5), given(&q, "soon")?.with_priority(1)], None).await?;
    same!(names(&claim(&*a, &q, 2).await?.tasks), ["soon", "late"], "by priority then");
    Ok(())
}

async fn limits_are_taken_away_while_nothing_is_there(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let limited = QueueOptions::default().with_key_limit(1).with_key_interval(Duration::from_secs(1));
    let revision = a.declare(&q, Some(&limited)).await?.revision;
    let task = given(&q, "1")?.with_key(LimitKey::new("k")?);
    a.enqueue(&[task], None).await?;
    let free = QueueOptions::default();
    refused(lookup(&*a)?.set(&q, &free, revision).await, ErrorKind::Conflict)?;
    let claimed = claim_one(&*a, &q).await?;
    settle(&*a, &claimed, complete()).await?;
    let after = lookup(&*a)?.set(&q, &free, revision).await?;
    same!((&after.options, after.revision), (&free, revision + 1), "in an empty queue");
    same!(status(&*a, &q).await?, after, "and that is what is stored");
    Ok(())
}

async fn a_limit_that_is_raised_lets_tasks_go(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let revision = a.declare(&q, Some(&QueueOptions::default().with_key_limit(1))).await?.revision;
    for id in ["a1", "b1", "a2", "b2", "a3"] {
        a.enqueue(&[given(&q, id)?.with_key(LimitKey::new(&id[..1])?)], None).await?;
    }
    same!(names(&claim(&*a, &q, 5).await?.tasks), ["a1", "b1"], "one of each key");
    let after = lookup(&*a)?.set(&q, &QueueOptions::default().with_key_limit(2), revision).await?;
    same!((after.ready, after.held), (2, 1), "at once, though the first ones go on");
    same!(names(&claim(&*a, &q, 5).await?.tasks), ["a2", "b2"], "one more of each key");
    // From a limit to an interval, which nothing began.
    let slow = QueueOptions::default().with_key_interval(Duration::from_secs(10));
    let after = lookup(&*a)?.set(&q, &slow, revision + 1).await?;
    same!((after.ready, after.held), (1, 0), "without a limit");
    same!(names(&claim(&*a, &q, 5).await?.tasks), ["a3"], "the last one");
    Ok(())
}

async fn without_an_interval_nobody_waits_for_it(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let slow = QueueOptions::default().with_key_limit(2).with_key_interval(Duration::from_secs(10));
    let revision = a.declare(&q, Some(&slow)).await?.revision;
    for id in ["1", "2"] {
        a.enqueue(&[given(&q, id)?.with_key(LimitKey::new("k")?)], None).await?;
    }
    let first = claim_one(&*a, &q).await?;
    settle(&*a, &first, complete()).await?;
    lookup(&*a)?.set(&q, &QueueOptions::default().with_key_limit(2), revision).await?;
    // At the end of the interval that had begun, at the latest.
    stage.advance(Duration::from_secs(10)).await;
    same!(names(&claim(&*a, &q, 2).await?.tasks), ["2"], "what a claim gets");
    Ok(())
}

async fn what_waits_is_purged(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let purge =
        async |states: &[State], max| lookup(&*b)?.purge(&q, states, max).await.map_err(Failure::from);
    same!(purge(&[State::Ready], 9).await?, 0, "of a missing queue");
    same!(b.status(&q).await?, None, "which is not made by that");
    a.declare(&q, Some(&QueueOptions::default().with_key_limit(1))).await?;
    enqueue_ids(&*a, &q, &["run", "1", "2", "3"]).await?;
    claim_one(&*a, &q).await?;
    let later = given(&q, "later")?.with_start(Start::After(Duration::from_secs(9)));
    let keyed = |id| -> crate::Result<NewTask> { Ok(given(&q, id)?.with_key(LimitKey::new("k")?)) };
    a.enqueue(&[later, keyed("k1")?, keyed("k2")?, keyed("k3")?], None).await?;
    let stands = async || {
        let QueueStatus { ready, scheduled, held, leased, .. } = status(&*a, &q).await?;
        Ok::<_, Failure>((ready, scheduled, held, leased))
    };
    same!(stands().await?, (4, 1, 2, 1), "before");
    same!(purge(&[State::Held], 9).await?, 2, "the held ones");
    same!(purge(&[State::Scheduled], 9).await?, 1, "the scheduled one");
    same!(stands().await?, (4, 0, 0, 1), "after these");
    same!(purge(&[State::Ready, State::Scheduled, State::Held], 9).await?, 4, "all that waits");
    same!(stands().await?, (0, 0, 0, 1), "what runs goes on");
    same!(purge(&[State::Ready, State::Scheduled, State::Held], 9).await?, 0, "the second time");
    Ok(())
}

async fn a_purge_ends_tasks_as_a_cancel_does(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let batch = BatchName::new("films")?;
    let task = given(&q, "1")?
        .with_unique(Unique::until_settled("u")?)
        .with_result(Wanted::Keep(Duration::from_secs(60)))
        .in_batch(batch.clone());
    a.enqueue(std::slice::from_ref(&task), None).await?;
    same!(lookup(&*a)?.purge(&q, &[State::Ready], 9).await?, 1, "one");
    same!(a.outcomes(&q, std::slice::from_ref(&task.id)).await?, [crate::Outcome::Cancelled], "its outcome");
    same!(lookup(&*a)?.why(&q, &task.id).await?, Why::Cancelled, "why it is not running");
    let ended = a.batch(&batch).await?.map(|status| (status.unsettled, status.cancelled));
    same!(ended, Some((0, 1)), "its batch");
    same!(a.enqueue(&[task], None).await?, [Enqueued::Exists], "its id is remembered");
    let other = given(&q, "2")?.with_unique(Unique::until_settled("u")?);
    same!(a.enqueue(&[other], None).await?, [Enqueued::Enqueued], "its unique key is free");
    Ok(())
}

async fn a_purge_is_bounded(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1", "2", "3", "4"]).await?;
    a.cancel(&q, &[TaskId::new("2")?]).await?;
    same!(lookup(&*a)?.purge(&q, &[State::Ready], 2).await?, 2, "two of them");
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["4"], "the first ones went");
    let answer = lookup(&*a)?.purge(&q, &[State::Ready], limits::MAX_BATCH + 1).await;
    refused(answer, ErrorKind::Invalid)?;
    Ok(())
}

async fn only_what_waits_is_purged(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    for state in [State::Leased, State::Dead] {
        refused(lookup(&*a)?.purge(&q, &[State::Ready, state], 9).await, ErrorKind::Invalid)?;
    }
    same!(counts(&*a, &q).await?, (1, 0, 0, 0), "nothing was changed");
    Ok(())
}
