//! Arrow `claim`: who gets what, in which order, and what holds a claim back.

use std::time::Duration;

use super::{Failure, Outcome, Stage, area, holds, same, support::*};
use crate::{
    Claim, End, Enqueued, ErrorKind, NewTask, Payload, QueueOptions, Settled, Settlement, TaskName,
    capabilities::Capacity, limits,
};

area!("claim": in_order_and_at_most_max, a_missing_queue_is_empty, no_task_is_handed_out_twice, the_epoch_grows_with_every_claim, a_task_keeps_its_run_limit, bad_run_limits_are_refused, a_run_limit_that_is_longer_than_a_run_may_take_is_refused, a_full_queue_that_it_feeds_holds_it_back, a_queue_may_feed_itself, the_reply_tells_what_comes_next if PUNCTUAL, a_reply_that_is_cut_says_so, the_mark_changes_with_every_task, bad_claims_are_refused, a_lease_that_outlives_its_connection_is_refused if |broker| broker.max_lease() < limits::MAX_LEASE);

async fn in_order_and_at_most_max(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2"]).await?;
    enqueue(&*b, &q, &["3", "4", "5"]).await?;
    same!(names(&claim(&*b, &q, 2).await?.tasks), ["1", "2"], "the first claim");
    same!(names(&claim(&*a, &q, 2).await?.tasks), ["3", "4"], "the second claim");
    same!(names(&claim(&*b, &q, 2).await?.tasks), ["5"], "the third claim");
    same!(names(&claim(&*b, &q, 2).await?.tasks), [""; 0], "the fourth claim");
    same!(counts(&*a, &q).await?, (0, 0, 5, 0), "the queue after that");
    Ok(())
}

async fn a_missing_queue_is_empty(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let reply = claim(&*a, &q, 2).await?;
    same!((reply.tasks.len(), reply.ended, reply.next), (0, false, None), "a claim from nowhere");
    same!(a.status(&q).await?, None, "the queue after the claim");
    Ok(())
}

async fn no_task_is_handed_out_twice(stage: &dyn Stage) -> Outcome {
    const TASKS: usize = 120;
    let (a, q) = (stage.session().await?, queue("q")?);
    let sent: Vec<String> = (0..TASKS).map(|n| format!("{n:03}")).collect();
    enqueue(&*a, &q, &sent.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (session, q) = (stage.session().await?, q.clone());
        claims.spawn(async move {
            let mut got = Vec::new();
            loop {
                let tasks = claim(&*session, &q, 7).await?.tasks;
                if tasks.is_empty() {
                    // Kept alive: the tasks of a session that ends would come back.
                    return Ok::<_, crate::Error>((session, got));
                }
                got.extend(names(&tasks));
            }
        });
    }
    let mut sessions = Vec::new();
    let mut all = Vec::new();
    while let Some(done) = claims.join_next().await {
        let (session, got) = done.map_err(|e| super::Failure(e.to_string()))??;
        sessions.push(session);
        all.extend(got);
    }
    all.sort();
    same!(all, sent, "what four sessions claimed together");
    Ok(())
}

async fn the_epoch_grows_with_every_claim(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let mut last = 0;
    for _ in 0..3 {
        let task = claim_one(&*a, &q).await?;
        holds!(task.lease.epoch > last, "epoch {} after {last}", task.lease.epoch);
        holds!(task.lease.epoch < 1 << 53, "epoch {} is not exact in JSON", task.lease.epoch);
        same!(task.lease.incarnation, a.incarnation(), "the holder");
        last = task.lease.epoch;
        settle(&*a, &task, crate::End::Release).await?;
    }
    Ok(())
}

async fn a_full_queue_that_it_feeds_holds_it_back(stage: &dyn Stage) -> Outcome {
    let (a, q, next) = (stage.session().await?, queue("q")?, queue("next")?);
    a.declare(&next, Some(&QueueOptions::default().with_capacity(1))).await?;
    enqueue(&*a, &q, &["1"]).await?;
    let feeding = Claim::new(q.clone(), 1).with_feeds(vec![queue("missing")?, next.clone()]);
    enqueue(&*a, &next, &["x"]).await?;
    let reply = a.claim(&feeding).await?;
    same!(
        (names(&reply.tasks), reply.held_by),
        (Vec::new(), Some(next.clone())),
        "a claim while the next queue is full"
    );
    same!(counts(&*a, &q).await?, (1, 0, 0, 0), "the queue that was held back");
    let task = claim_one(&*a, &next).await?;
    if a.capabilities().capacity == Capacity::Exact {
        let reply = a.claim(&feeding).await?;
        same!(reply.held_by, Some(next.clone()), "held by, while the next queue's task is leased");
        settle(&*a, &task, complete()).await?;
    }
    let reply = a.claim(&feeding).await?;
    same!((names(&reply.tasks), reply.held_by), (vec!["1".to_owned()], None), "a claim when there is room");
    Ok(())
}

async fn a_queue_may_feed_itself(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_capacity(1))).await?;
    enqueue(&*a, &q, &["1"]).await?;
    let reply = a.claim(&Claim::new(q.clone(), 1).with_feeds(vec![q.clone()])).await?;
    same!(names(&reply.tasks), ["1"], "a full queue that feeds itself would stop for ever");
    Ok(())
}

async fn the_reply_tells_what_comes_next(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2"]).await?;
    let lease = Duration::from_secs(30);
    let reply = a.claim(&Claim::new(q.clone(), 1).with_lease(lease)).await?;
    same!(reply.next, Some(lease), "the end of the lease just given");
    let task = claim_one(&*a, &q).await?;
    settle(&*a, &task, retry(Duration::from_secs(8))).await?;
    stage.advance(Duration::from_secs(3)).await;
    same!(
        claim(&*a, &q, 1).await?.next,
        Some(Duration::from_secs(5)),
        "the retry, due before the lease ends"
    );
    Ok(())
}

/// What is too large for one reply is claimed at once by the next: whoever got fewer than asked for need not guess.
async fn a_reply_that_is_cut_says_so(stage: &dyn Stage) -> Outcome {
    const TASKS: usize = 12;
    let (a, q) = (stage.session().await?, queue("q")?);
    let text = format!("\"{}\"", "x".repeat(limits::MAX_PAYLOAD - 2));
    for _ in 0..TASKS / 4 {
        let task = |_| Ok(NewTask::new(q.clone(), TaskName::new("work")?, Payload::from_json(&text)?));
        let tasks: crate::Result<Vec<_>> = (0..4).map(task).collect();
        same!(a.enqueue(&tasks?, None).await?, vec![Enqueued::Enqueued; 4], "an enqueue of large tasks");
    }
    let mut got = 0;
    while got < TASKS {
        let hint = a.wait(std::slice::from_ref(&q));
        let reply = a.claim(&Claim::new(q.clone(), TASKS - got)).await?;
        got += reply.tasks.len();
        match reply.next {
            _ if got == TASKS => {}
            Some(next) if next < Duration::from_secs(1) => {
                let _ = tokio::time::timeout(next, hint).await;
            }
            // They may still be on their way.
            _ => heard(hint).await?,
        }
    }
    Ok(())
}

async fn the_mark_changes_with_every_task(stage: &dyn Stage) -> Outcome {
    let (a, b, q, r) = (stage.session().await?, stage.session().await?, queue("q")?, queue("r")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    a.close(&r).await?;
    let first = claim(&*a, &r, 1).await?;
    same!((first.ended, claim(&*b, &r, 1).await?.mark), (true, first.mark), "the mark while nothing comes");
    settle(&*a, &task, crate::End::complete(tasks(&r, &["x"])?)).await?;
    let child = claim_one(&*b, &r).await?;
    settle(&*b, &child, complete()).await?;
    let last = claim(&*a, &r, 1).await?;
    holds!(
        last.ended && last.mark != first.mark,
        "a task came and went, and the mark is still {}",
        first.mark
    );
    Ok(())
}

async fn bad_claims_are_refused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    for bad in [
        Claim::new(q.clone(), 0),
        Claim::new(q.clone(), limits::MAX_BATCH + 1),
        Claim::new(q.clone(), 1).with_lease(Duration::ZERO),
        Claim::new(q.clone(), 1).with_lease(Duration::MAX),
    ] {
        refused(a.claim(&bad).await, ErrorKind::Invalid)?;
    }
    same!(counts(&*a, &q).await?, (1, 0, 0, 0), "the queue after the refusals");
    Ok(())
}

async fn a_lease_that_outlives_its_connection_is_refused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let long = a.capabilities().max_lease() + Duration::from_millis(1);
    refused(a.claim(&Claim::new(q.clone(), 1).with_lease(long)).await, ErrorKind::Unsupported)?;
    let task = claim_one(&*a, &q).await?;
    refused(a.beat(&[task.lease.clone().into()], long).await, ErrorKind::Unsupported)?;
    same!(settle(&*a, &task, complete()).await?, Settled::Settled, "the lease after the refusals");
    Ok(())
}

async fn a_task_keeps_its_run_limit(stage: &dyn Stage) -> Outcome {
    let (a, q, limit) = (stage.session().await?, queue("q")?, Some(Duration::from_millis(1500)));
    let limited = || Ok::<_, Failure>(task(&q, "limited")?.with_run_limit(Duration::from_millis(1500)));
    a.enqueue(&[limited()?, task(&q, "free")?], None).await?;
    let claimed = claim(&*a, &q, 2).await?.tasks;
    let limits: Vec<_> = claimed.iter().map(|task| task.run_limit).collect();
    same!(limits, [limit, None], "what is claimed");
    settle(&*a, &claimed[1], complete()).await?;
    settle(&*a, &claimed[0], End::Release).await?;
    let again = claim_one(&*a, &q).await?;
    same!(again.run_limit, limit, "when it was given back");
    if let Some(lookup) = a.lookup() {
        let found = lookup.get(&q, &again.lease.id).await?;
        same!(found.and_then(|found| found.info.run_limit), limit, "what is told of it");
    }
    settle(&*a, &again, retry(Duration::from_secs(1))).await?;
    stage.advance(Duration::from_secs(1)).await;
    let again = claim_soon(&*a, &q).await?;
    same!(again.run_limit, limit, "after a failure");
    settle(&*a, &again, End::complete(vec![limited()?])).await?;
    same!(claim_soon(&*a, &q).await?.run_limit, limit, "of a child");
    Ok(())
}

async fn bad_run_limits_are_refused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    for limit in [Duration::ZERO, limits::MAX_DELAY + Duration::from_secs(1)] {
        let bad = task(&q, "1")?.with_run_limit(limit);
        refused(a.enqueue(&[bad], None).await, ErrorKind::Invalid)?;
    }
    same!(a.status(&q).await?, None, "the queue");
    Ok(())
}

async fn a_run_limit_that_is_longer_than_a_run_may_take_is_refused(stage: &dyn Stage) -> Outcome {
    let (a, q, other) = (stage.session().await?, queue("q")?, queue("other")?);
    let longest = a.max_run().await?.unwrap_or(limits::MAX_DELAY);
    a.enqueue(&[task(&q, "longest")?.with_run_limit(longest)], None).await?;
    let parent = claim_one(&*a, &q).await?;
    same!(parent.run_limit, Some(longest), "of what is as long as it may be");
    if longest < limits::MAX_DELAY {
        let longer = longest + Duration::from_millis(1);
        // Not even the one before it.
        let both = [task(&other, "free")?, task(&other, "longer")?.with_run_limit(longer)];
        refused(a.enqueue(&both, None).await, ErrorKind::Unsupported)?;
        let end = End::complete(both.to_vec());
        let settlement = Settlement::new(parent.lease.clone(), end);
        refused(a.settle(&[settlement]).await, ErrorKind::Unsupported)?;
        same!(a.status(&other).await?, None, "the queue of what is refused");
    }
    same!(settle(&*a, &parent, complete()).await?, Settled::Settled, "the lease after the refusals");
    Ok(())
}
