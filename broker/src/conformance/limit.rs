//! Limits by key: of the tasks with one key only so many run at a time, and only so often.

use std::time::Duration;

use super::{Failure, Outcome, Stage, area, holds, same, support::*};
use crate::{
    Broker, Cancel, Claim, End, ErrorKind, LimitKey, NewTask, Order, QueueName, QueueOptions, Result,
    Revived, Start, TaskId, limits,
};

area!("limit": only_so_many_of_a_key_are_leased if CONTROLS, others_go_past if CONTROLS, every_end_gives_a_permit_back if CONTROLS, a_dead_process_gives_its_permits_back if CONTROLS, what_is_given_back_is_next_of_its_key if CONTROLS, what_waited_and_is_given_back_is_next_of_its_key if CONTROLS, a_permit_lasts_as_long_as_the_lease if CONTROLS, an_interval_spaces_claims if CONTROLS, an_interval_holds_for_what_is_given_back if CONTROLS, the_next_time_is_told if CONTROLS, what_becomes_due_waits_for_its_key if CONTROLS, held_tasks_are_unsettled if CONTROLS, held_tasks_can_be_cancelled_and_expire if CONTROLS, a_revived_task_waits_for_its_key if CONTROLS, by_priority_within_a_key if CONTROLS, a_settlement_rings_for_the_next if CONTROLS, children_are_limited_too if CONTROLS, a_key_needs_a_limit if CONTROLS, limits_are_checked if CONTROLS, other_limits_are_told if CONTROLS, they_are_refused_where_no_task_is_known if LOOSE);

fn keyed(queue: &QueueName, id: &str, key: &str) -> Result<NewTask> {
    Ok(with_ids(queue, &[id])?.remove(0).with_key(LimitKey::new(key)?))
}

fn limit(limit: u32) -> QueueOptions {
    QueueOptions::default().with_key_limit(limit)
}

fn interval(seconds: u64) -> QueueOptions {
    QueueOptions::default().with_key_interval(Duration::from_secs(seconds))
}

/// Ready, scheduled, held, leased.
async fn stands(broker: &dyn Broker, queue: &QueueName) -> Result<(u64, u64, u64, u64), Failure> {
    let status = broker.status(queue).await?.ok_or_else(|| Failure(format!("{queue} does not exist")))?;
    Ok((status.ready, status.scheduled, status.held, status.leased))
}

async fn taken(broker: &dyn Broker, queue: &QueueName) -> Result<Vec<String>, Failure> {
    Ok(names(&claim(broker, queue, 9).await?.tasks))
}

async fn only_so_many_of_a_key_are_leased(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.declare(&q, Some(&limit(2))).await?;
    for id in ["1", "2", "3", "4"] {
        a.enqueue(&[keyed(&q, id, "k")?], None).await?;
    }
    same!(stands(&*a, &q).await?, (2, 0, 2, 0), "two have a permit, two wait for one");
    let first = claim_one(&*a, &q).await?;
    same!(taken(&*b, &q).await?, ["2"], "what another session gets");
    same!(taken(&*a, &q).await?, Vec::<String>::new(), "while both permits are taken");
    settle(&*a, &first, complete()).await?;
    same!(taken(&*a, &q).await?, ["3"], "when one has ended");
    same!(stands(&*a, &q).await?, (0, 0, 1, 2), "the queue after that");
    Ok(())
}

async fn others_go_past(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&limit(1))).await?;
    let batch = [
        keyed(&q, "a1", "a")?,
        keyed(&q, "a2", "a")?,
        keyed(&q, "b1", "b")?,
        task(&q, "none")?,
        keyed(&q, "a3", "a")?,
        keyed(&q, "b2", "b")?,
    ];
    a.enqueue(&batch, None).await?;
    let claimed = claim(&*a, &q, 9).await?.tasks;
    same!(names(&claimed), ["a1", "b1", "none"], "one of each key, and the one without");
    settle(&*a, &claimed[1], complete()).await?;
    settle(&*a, &claimed[0], complete()).await?;
    same!(taken(&*a, &q).await?, ["b2", "a2"], "in the order in which they got their permits");
    Ok(())
}

async fn every_end_gives_a_permit_back(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&limit(1))).await?;
    let bury = End::Bury { error: "no".to_owned() };
    let ends = [complete(), retry(Duration::from_secs(9)), bury, End::Park];
    for (number, end) in ends.into_iter().enumerate() {
        let q1 = keyed(&q, &format!("{number}"), "k")?;
        a.enqueue(&[q1], None).await?;
        let task = claim_one(&*a, &q).await?;
        same!(name(&task), number.to_string(), "the task that is next");
        settle(&*a, &task, end).await?;
    }
    same!(stands(&*a, &q).await?, (0, 2, 0, 0), "the queue after that");
    let (waiting, running) = (keyed(&q, "waiting", "k")?, keyed(&q, "running", "k")?);
    a.enqueue(&[waiting, running], None).await?;
    same!(
        a.cancel(&q, &[TaskId::new("waiting")?]).await?,
        [Cancel::Cancelled],
        "cancelling one that is ready"
    );
    let task = claim_one(&*a, &q).await?;
    a.cancel(&q, &[TaskId::new("running")?]).await?;
    settle(&*a, &task, End::Release).await?;
    a.enqueue(&[keyed(&q, "last", "k")?], None).await?;
    same!(taken(&*a, &q).await?, ["last"], "after a cancelled one");
    Ok(())
}

async fn a_dead_process_gives_its_permits_back(stage: &dyn Stage) -> Outcome {
    let (a, victim, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.declare(&q, Some(&limit(1))).await?;
    a.enqueue(&[keyed(&q, "1", "k")?, keyed(&q, "2", "k")?], None).await?;
    claim_and_die(stage, victim, &q, 1).await?;
    let task = claim_soon(&*a, &q).await?;
    same!((name(&task), task.deaths), ("1".to_owned(), 1), "what the dead process held");
    settle(&*a, &task, complete()).await?;
    same!(taken(&*a, &q).await?, ["2"], "after it");
    Ok(())
}

async fn what_is_given_back_is_next_of_its_key(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&limit(1))).await?;
    let batch = [keyed(&q, "1", "k")?, keyed(&q, "2", "k")?, keyed(&q, "3", "other")?];
    a.enqueue(&batch, None).await?;
    let claimed = claim(&*a, &q, 9).await?.tasks;
    same!(names(&claimed), ["1", "3"], "one of each key");
    settle(&*a, &claimed[0], End::Release).await?;
    same!(taken(&*a, &q).await?, ["1"], "the one that was given back, and no second one");
    Ok(())
}

/// Those that wait came before it got its permit, and so have lower sequences.
async fn what_waited_and_is_given_back_is_next_of_its_key(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&limit(1))).await?;
    a.enqueue(&[keyed(&q, "1", "k")?, keyed(&q, "2", "k")?, keyed(&q, "3", "k")?], None).await?;
    let first = claim_one(&*a, &q).await?;
    settle(&*a, &first, complete()).await?;
    let second = claim_one(&*a, &q).await?;
    same!(name(&second), "2", "after the first one");
    settle(&*a, &second, End::Release).await?;
    same!(taken(&*a, &q).await?, ["2"], "the one that was given back");
    Ok(())
}

async fn a_permit_lasts_as_long_as_the_lease(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&limit(1))).await?;
    a.enqueue(&[keyed(&q, "1", "k")?, keyed(&q, "2", "k")?], None).await?;
    let first = a.claim(&Claim::new(q.clone(), 1).with_lease(Duration::from_secs(10))).await?.tasks.remove(0);
    stage.advance(Duration::from_secs(8)).await;
    a.beat(&[first.lease.clone().into()], Duration::from_secs(10)).await?;
    stage.advance(Duration::from_secs(8)).await;
    same!(taken(&*a, &q).await?, Vec::<String>::new(), "while the lease is beaten");
    stage.advance(Duration::from_secs(3)).await;
    // The one whose lease ran out is next of its key.
    let second = claim_one(&*a, &q).await?;
    same!(name(&second), "1", "when it ran out");
    settle(&*a, &first, complete()).await?;
    same!(taken(&*a, &q).await?, Vec::<String>::new(), "after a late settlement, which is refused");
    settle(&*a, &second, complete()).await?;
    same!(taken(&*a, &q).await?, ["2"], "after the one that counts");
    Ok(())
}

async fn an_interval_spaces_claims(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.declare(&q, Some(&interval(10))).await?;
    let batch = [keyed(&q, "1", "k")?, keyed(&q, "2", "k")?, keyed(&q, "3", "k")?, keyed(&q, "x", "other")?];
    a.enqueue(&batch, None).await?;
    // However long nobody claimed: not two of a key at once.
    stage.advance(Duration::from_secs(60)).await;
    let claimed = claim(&*a, &q, 9).await?.tasks;
    same!(names(&claimed), ["1", "x"], "the first of each key");
    settle(&*a, &claimed[0], complete()).await?;
    same!(taken(&*b, &q).await?, Vec::<String>::new(), "at once after that");
    stage.advance(Duration::from_secs(9)).await;
    same!(taken(&*b, &q).await?, Vec::<String>::new(), "9 s after that");
    stage.advance(Duration::from_secs(2)).await;
    same!(taken(&*b, &q).await?, ["2"], "11 s after that");
    stage.advance(Duration::from_secs(11)).await;
    // The second one still runs: an interval is no limit of how many do.
    same!(taken(&*a, &q).await?, ["3"], "22 s after that");
    Ok(())
}

async fn an_interval_holds_for_what_is_given_back(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&interval(10))).await?;
    a.enqueue(&[keyed(&q, "1", "k")?, keyed(&q, "2", "k")?], None).await?;
    settle(&*a, &claim_one(&*a, &q).await?, End::Release).await?;
    same!(taken(&*a, &q).await?, Vec::<String>::new(), "at once after it was given back");
    same!(stands(&*a, &q).await?, (0, 0, 2, 0), "the queue meanwhile");
    stage.advance(Duration::from_secs(11)).await;
    same!(taken(&*a, &q).await?, ["1"], "11 s after that");
    Ok(())
}

async fn the_next_time_is_told(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&interval(10))).await?;
    a.enqueue(&[keyed(&q, "1", "k")?, keyed(&q, "2", "k")?], None).await?;
    let next = claim(&*a, &q, 9).await?.next;
    holds!(next.is_some_and(|next| next <= Duration::from_secs(10)), "when to ask again: {next:?}");
    stage.advance(Duration::from_secs(11)).await;
    same!(taken(&*a, &q).await?, ["2"], "what there is then");
    Ok(())
}

async fn what_becomes_due_waits_for_its_key(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&limit(1))).await?;
    let later = Start::After(Duration::from_secs(5));
    a.enqueue(&[keyed(&q, "1", "k")?.with_start(later), keyed(&q, "2", "k")?], None).await?;
    let second = claim_one(&*a, &q).await?;
    same!(stands(&*a, &q).await?, (0, 1, 0, 1), "before it is due");
    stage.advance(Duration::from_secs(6)).await;
    same!(taken(&*a, &q).await?, Vec::<String>::new(), "when it is due");
    same!(stands(&*a, &q).await?, (0, 0, 1, 1), "after that");
    settle(&*a, &second, complete()).await?;
    same!(taken(&*a, &q).await?, ["1"], "when its key is free");
    Ok(())
}

async fn held_tasks_are_unsettled(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&limit(1).with_capacity(2))).await?;
    let batch = [keyed(&q, "1", "k")?, keyed(&q, "2", "k")?, keyed(&q, "3", "k")?];
    let answers = a.enqueue(&batch, None).await?;
    same!(format!("{answers:?}"), "[Enqueued, Enqueued, Full]", "three tasks for a queue of two");
    a.close(&q).await?;
    let first = claim_one(&*a, &q).await?;
    settle(&*a, &first, complete()).await?;
    same!(claim(&*a, &q, 9).await?.ended, false, "whether it ended while one was held");
    let (exists, _) = (a.enqueue(&[keyed(&q, "2", "k")?], None).await?, ());
    same!(format!("{exists:?}"), "[Exists]", "the id of one that was held");
    Ok(())
}

async fn held_tasks_can_be_cancelled_and_expire(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&limit(1))).await?;
    let soon = Duration::from_secs(5);
    let batch = [keyed(&q, "1", "k")?, keyed(&q, "2", "k")?, keyed(&q, "3", "k")?.with_expires(soon)];
    a.enqueue(&batch, None).await?;
    let first = claim_one(&*a, &q).await?;
    same!(a.cancel(&q, &[TaskId::new("2")?]).await?, [Cancel::Cancelled], "cancelling a held one");
    stage.advance(Duration::from_secs(6)).await;
    claim(&*a, &q, 9).await?;
    same!(stands(&*a, &q).await?, (0, 0, 0, 1), "after the last one expired");
    same!(counts(&*a, &q).await?.3, 1, "how many are dead");
    settle(&*a, &first, complete()).await?;
    a.enqueue(&[keyed(&q, "4", "k")?], None).await?;
    same!(taken(&*a, &q).await?, ["4"], "what is next");
    Ok(())
}

async fn a_revived_task_waits_for_its_key(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&limit(1))).await?;
    a.enqueue(&[keyed(&q, "1", "k")?, keyed(&q, "2", "k")?], None).await?;
    settle(&*a, &claim_one(&*a, &q).await?, End::Bury { error: "no".to_owned() }).await?;
    same!(dead_letters(&*a)?.revive(&q, &[TaskId::new("1")?]).await?, [Revived::Revived], "reviving");
    same!(stands(&*a, &q).await?, (1, 0, 1, 0), "the queue after that");
    settle(&*a, &claim_one(&*a, &q).await?, complete()).await?;
    same!(taken(&*a, &q).await?, ["1"], "the revived one, after the one that had the permit");
    Ok(())
}

async fn by_priority_within_a_key(stage: &dyn Stage) -> Outcome {
    let a = stage.session().await?;
    let cases = [
        (Order::Priority, ["first", "low", "middle", "high"]),
        (Order::Fifo, ["first", "high", "low", "middle"]),
        (Order::Lifo, ["first", "middle", "low", "high"]),
    ];
    for (order, expected) in cases {
        let q = queue(&order.to_string())?;
        a.declare(&q, Some(&limit(1).with_order(order))).await?;
        for (id, priority) in [("first", 7), ("high", 9), ("low", -1), ("middle", 3)] {
            let task = keyed(&q, id, "k")?;
            let ranked = if order == Order::Priority { task.with_priority(priority) } else { task };
            a.enqueue(&[ranked], None).await?;
        }
        let mut found = Vec::new();
        for _ in 0..4 {
            let task = claim_one(&*a, &q).await?;
            settle(&*a, &task, complete()).await?;
            found.push(name(&task));
        }
        same!(found, expected, "the one that got the permit, then in order {order}");
    }
    Ok(())
}

async fn a_settlement_rings_for_the_next(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.declare(&q, Some(&limit(1))).await?;
    a.enqueue(&[keyed(&q, "1", "k")?, keyed(&q, "2", "k")?], None).await?;
    let first = claim_one(&*a, &q).await?;
    let hint = b.wait(std::slice::from_ref(&q));
    settle(&*a, &first, complete()).await?;
    heard(hint).await?;
    same!(taken(&*b, &q).await?, ["2"], "what is there then");
    Ok(())
}

async fn children_are_limited_too(stage: &dyn Stage) -> Outcome {
    let (a, q, r) = (stage.session().await?, queue("q")?, queue("r")?);
    a.declare(&q, Some(&limit(1))).await?;
    a.enqueue(&[keyed(&q, "1", "k")?], None).await?;
    let parent = claim_one(&*a, &q).await?;
    let wrong = vec![keyed(&r, "x", "k")?];
    let refusal = a.settle(&[crate::Settlement::new(parent.lease.clone(), End::complete(wrong))]).await;
    let error = refused(refusal, ErrorKind::Invalid)?.to_string();
    holds!(error.contains("\"r\"") && error.contains("key"), "the queue and why in: {error}");
    let children = vec![keyed(&q, "2", "k")?, keyed(&q, "3", "k")?];
    settle(&*a, &parent, End::complete(children)).await?;
    same!(taken(&*a, &q).await?, ["2"], "one of the children");
    Ok(())
}

async fn a_key_needs_a_limit(stage: &dyn Stage) -> Outcome {
    let (a, q, r) = (stage.session().await?, queue("q")?, queue("r")?);
    let batch = [task(&q, "1")?, keyed(&r, "2", "k")?];
    let error = refused(a.enqueue(&batch, None).await, ErrorKind::Invalid)?.to_string();
    holds!(error.contains("\"r\"") && error.contains('k'), "the queue and the key in: {error}");
    holds!(claim(&*a, &q, 9).await?.tasks.is_empty(), "a task of a refused call is there");
    Ok(())
}

async fn limits_are_checked(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    refused(a.declare(&q, Some(&limit(0))).await, ErrorKind::Invalid)?;
    let days = QueueOptions::default().with_key_interval(limits::MAX_KEY_INTERVAL + Duration::from_secs(1));
    refused(a.declare(&q, Some(&days)).await, ErrorKind::Invalid)?;
    same!(a.status(&q).await?, None, "the queue after the refusals");
    Ok(())
}

async fn other_limits_are_told(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let options = limit(3).with_key_interval(Duration::from_millis(250));
    a.declare(&q, Some(&options)).await?;
    same!(b.declare(&q, None).await?.options, options, "the options as another session sees them");
    let error = refused(b.declare(&q, Some(&limit(4))).await, ErrorKind::Conflict)?.to_string();
    for part in ["key_limit 3", "key_interval 250 ms", "key_limit 4"] {
        holds!(error.contains(part), "{part} in: {error}");
    }
    Ok(())
}

async fn they_are_refused_where_no_task_is_known(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    refused(a.declare(&q, Some(&limit(1))).await, ErrorKind::Unsupported)?;
    let keyed = task(&q, "1")?.with_key(LimitKey::new("k")?);
    refused(a.enqueue(&[keyed], None).await, ErrorKind::Unsupported)?;
    same!(a.status(&q).await?, None, "the queue after the refusals");
    Ok(())
}
