//! Tasks that start later.

use std::time::{Duration, SystemTime};

use super::{Outcome, Stage, area, holds, same, support::*};
use crate::{Enqueued, ErrorKind, NewTask, QueueName, QueueOptions, Result, Start, limits};

area!("start": a_task_can_start_later if PUNCTUAL, what_is_due_goes_behind_what_is_ready if PUNCTUAL, a_time_that_is_past_is_now, a_time_to_come_is_waited_for, what_starts_later_is_not_settled if PUNCTUAL, a_child_can_start_later, too_late_a_start_is_refused, a_start_is_rounded_up_and_never_early if STEPPED, a_start_is_at_most_a_step_late if STEPPED);

fn after(queue: &QueueName, name: &str, seconds: u64) -> Result<NewTask> {
    Ok(task(queue, name)?.with_start(Start::After(Duration::from_secs(seconds))))
}

async fn a_task_can_start_later(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    same!(a.enqueue(&[after(&q, "1", 10)?], None).await?, [Enqueued::Enqueued], "a task that starts in 10 s");
    same!(counts(&*b, &q).await?, (0, 1, 0, 0), "the queue at once");
    let reply = claim(&*b, &q, 1).await?;
    same!(names(&reply.tasks), [""; 0], "what a claim gets at once");
    let next = reply.next.unwrap_or_default();
    holds!(next > Duration::from_secs(5) && next <= Duration::from_secs(10), "next in {next:?}, not in 10 s");
    stage.advance(Duration::from_secs(10)).await;
    same!(names(&claim(&*b, &q, 1).await?.tasks), ["1"], "what a claim gets after 10 s");
    Ok(())
}

async fn what_is_due_goes_behind_what_is_ready(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let tasks = [after(&q, "last", 30)?, after(&q, "second", 20)?, task(&q, "first")?];
    a.enqueue(&tasks, None).await?;
    stage.advance(Duration::from_secs(40)).await;
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["first", "second", "last"], "by when they became ready");
    Ok(())
}

async fn a_time_that_is_past_is_now(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let day = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
    a.enqueue(&[task(&q, "1")?.with_start(Start::At(day)), after(&q, "2", 0)?], None).await?;
    same!(counts(&*a, &q).await?, (2, 0, 0, 0), "the queue");
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["1", "2"], "what a claim gets");
    Ok(())
}

async fn a_time_to_come_is_waited_for(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    // Ahead of every clock that a stage may have.
    let day = SystemTime::now() + Duration::from_secs(2 * 86_400);
    a.enqueue(&[task(&q, "1")?.with_start(Start::At(day))], None).await?;
    same!(counts(&*a, &q).await?, (0, 1, 0, 0), "the queue");
    same!(names(&claim(&*a, &q, 9).await?.tasks), [""; 0], "what a claim gets");
    Ok(())
}

async fn what_starts_later_is_not_settled(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_capacity(1))).await?;
    let answers = a.enqueue(&[after(&q, "1", 10)?, task(&q, "2")?], None).await?;
    same!(answers, [Enqueued::Enqueued, Enqueued::Full], "a second task for a queue of one");
    a.close(&q).await?;
    holds!(!claim(&*a, &q, 1).await?.ended, "ended while a task waits for its time");
    Ok(())
}

async fn a_child_can_start_later(stage: &dyn Stage) -> Outcome {
    let (a, q, r) = (stage.session().await?, queue("q")?, queue("r")?);
    enqueue(&*a, &q, &["1"]).await?;
    let parent = claim_one(&*a, &q).await?;
    settle(&*a, &parent, crate::End::complete(vec![after(&r, "child", 2_000)?])).await?;
    same!(counts(&*a, &r).await?, (0, 1, 0, 0), "the child's queue");
    Ok(())
}

/// The broker's own clock runs meanwhile; nobody here can move it.
async fn a_start_is_rounded_up_and_never_early(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let began = std::time::Instant::now();
    a.enqueue(&[after(&q, "1", 1)?, task(&q, "0")?], None).await?;
    same!(counts(&*a, &q).await?, (1, 1, 0, 0), "the queue at once");
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["0"], "what a claim gets at once");
    let late = claim_soon(&*a, &q).await?;
    same!(name(&late), "1", "what comes later");
    holds!(began.elapsed() >= Duration::from_secs(1), "early, after {:?}", began.elapsed());
    settle(&*a, &late, complete()).await?;
    Ok(())
}

/// Each comes before the one that starts two steps later, though that one was there first. Nobody looks at a clock for it: a
/// broker that does not keep to its steps takes some of them for the same time.
async fn a_start_is_at_most_a_step_late(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let step = a.capabilities().delay_step();
    let began = std::time::Instant::now();
    for steps in [7, 5, 3] {
        // As long as it takes to be rounded up.
        let delay = step * steps - step / 10;
        let task = task(&q, &steps.to_string())?.with_start(Start::After(delay));
        same!(a.enqueue(&[task], None).await?, [Enqueued::Enqueued], "a task that starts in {delay:?}");
    }
    same!(counts(&*a, &q).await?, (0, 3, 0, 0), "the queue at once");
    for steps in [3, 5, 7] {
        let task = claim_soon(&*a, &q).await?;
        same!(name(&task), steps.to_string(), "what comes next");
        holds!(
            began.elapsed() >= step * steps - step / 10,
            "{steps} came early, after {:?}",
            began.elapsed()
        );
        settle(&*a, &task, complete()).await?;
    }
    same!(counts(&*a, &q).await?, (0, 0, 0, 0), "the queue in the end");
    Ok(())
}

async fn too_late_a_start_is_refused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let late = a.capabilities().max_delay() + Duration::from_secs(1);
    let kind = if late > limits::MAX_DELAY { ErrorKind::Invalid } else { ErrorKind::Unsupported };
    let error =
        refused(a.enqueue(&[task(&q, "1")?.with_start(Start::After(late))], None).await, kind)?.to_string();
    holds!(error.contains("\"q\""), "the queue in: {error}");
    same!(a.status(&q).await?, None, "the queue after the refusal");
    Ok(())
}
