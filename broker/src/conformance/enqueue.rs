//! Arrow `enqueue`, and what it answers.

use std::time::Duration;

use super::{Outcome, Stage, area, holds, same, support::*};
use crate::{
    Enqueued, ErrorKind, NewTask, Payload, QueueOptions, TaskName,
    capabilities::{Capacity, Ids},
    limits,
};

area!("enqueue": answers_in_order, a_known_id_exists if REMEMBERS, an_id_is_refused_where_it_cannot_be_known if FORGETS, the_payload_is_kept_byte_for_byte, a_generated_id_is_new, a_settled_id_is_remembered_for_a_time if REMEMBERS, an_id_need_not_be_remembered if REMEMBERS, a_dead_id_still_exists if REMEMBERS, a_full_queue_says_so, capacity_counts_what_is_not_settled if |broker| broker.capacity == Capacity::Exact, capacity_counts_what_is_ready if |broker| broker.capacity == Capacity::ReadyOnly, a_call_over_several_queues, what_is_too_large_is_refused);

async fn answers_in_order(stage: &dyn Stage) -> Outcome {
    let (a, b, q, closed) = (stage.session().await?, stage.session().await?, queue("q")?, queue("closed")?);
    a.close(&closed).await?;
    let answers = a.enqueue(&[task(&q, "1")?, task(&closed, "2")?, task(&q, "3")?], None).await?;
    same!(
        answers,
        [Enqueued::Enqueued, Enqueued::Closed, Enqueued::Enqueued],
        "one of them for a closed queue"
    );
    enqueue(&*b, &q, &["4"]).await?;
    same!(counts(&*b, &q).await?, (3, 0, 0, 0), "the queue after that");
    same!(a.enqueue(&[], None).await?, [], "no tasks");
    Ok(())
}

async fn a_known_id_exists(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let answers = a.enqueue(&with_ids(&q, &["1", "2", "1"])?, None).await?;
    same!(answers, [Enqueued::Enqueued, Enqueued::Enqueued, Enqueued::Exists], "two ids, one of them twice");
    same!(
        b.enqueue(&with_ids(&q, &["2", "3"])?, None).await?,
        [Enqueued::Exists, Enqueued::Enqueued],
        "from another session"
    );
    same!(counts(&*b, &q).await?, (3, 0, 0, 0), "the queue after that");
    let new = task(&q, "4")?;
    same!(
        a.enqueue(std::slice::from_ref(&new), None).await?,
        [Enqueued::Enqueued],
        "a task with a generated id"
    );
    same!(a.enqueue(&[new], None).await?, [Enqueued::Exists], "the same call again");
    Ok(())
}

async fn an_id_is_refused_where_it_cannot_be_known(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let error = refused(a.enqueue(&with_ids(&q, &["1"])?, None).await, ErrorKind::Unsupported)?.to_string();
    holds!(error.contains("task 1") && error.contains("\"q\""), "the task and the queue in: {error}");
    same!(a.status(&q).await?, None, "the queue after the refusal");
    enqueue(&*a, &q, &["2"]).await?;
    let task = claim_one(&*a, &q).await?;
    let end = crate::End::complete(with_ids(&q, &["3"])?);
    let settlement = [crate::Settlement::new(task.lease.clone(), end)];
    refused(a.settle(&settlement).await, ErrorKind::Unsupported)?;
    same!(counts(&*a, &q).await?, (0, 0, 1, 0), "the queue after the second refusal");
    Ok(())
}

async fn the_payload_is_kept_byte_for_byte(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let text =
        "{\"b\": 1.50, \"a\":\"\\u00fc ü 漢 \\u0000\",  \"b\":1e400, \"n\":123456789012345678901234567890}";
    let sent = NewTask::new(q.clone(), TaskName::new("work")?, Payload::from_json(text)?);
    same!(a.enqueue(std::slice::from_ref(&sent), None).await?, [Enqueued::Enqueued], "a task");
    let task = claim_one(&*a, &q).await?;
    same!(task.payload.as_str(), text, "the payload");
    same!((task.lease.id, task.name), (sent.id, sent.name), "the id and the name");
    same!(
        (task.attempts, task.crashes, task.deaths, task.alone),
        (0, 0, 0, false),
        "a task never claimed before"
    );
    Ok(())
}

async fn a_generated_id_is_new(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let new = || Ok::<_, crate::Error>(NewTask::new(q.clone(), TaskName::new("work")?, Payload::default()));
    same!(
        a.enqueue(&[new()?, new()?], None).await?,
        [Enqueued::Enqueued, Enqueued::Enqueued],
        "two equal tasks"
    );
    same!(claim(&*a, &q, 9).await?.tasks.len(), 2, "how many of them there are");
    Ok(())
}

async fn a_settled_id_is_remembered_for_a_time(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_remember_ids(Duration::from_secs(60)))).await?;
    for _ in 0..2 {
        enqueue_ids(&*a, &q, &["1"]).await?;
        let task = claim_one(&*a, &q).await?;
        settle(&*a, &task, complete()).await?;
        stage.advance(Duration::from_secs(59)).await;
        same!(
            a.enqueue(&with_ids(&q, &["1"])?, None).await?,
            [Enqueued::Exists],
            "59 s after it was settled"
        );
        stage.advance(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn an_id_need_not_be_remembered(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_remember_ids(Duration::ZERO))).await?;
    enqueue_ids(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    settle(&*a, &task, complete()).await?;
    enqueue_ids(&*a, &q, &["1"]).await
}

async fn a_dead_id_still_exists(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    settle(&*a, &task, crate::End::Bury { error: "no".to_owned() }).await?;
    same!(a.enqueue(&with_ids(&q, &["1"])?, None).await?, [Enqueued::Exists], "a dead task's id");
    Ok(())
}

async fn a_full_queue_says_so(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_capacity(2))).await?;
    let answers = a.enqueue(&tasks(&q, &["1", "2", "3"])?, None).await?;
    let wanted = [Enqueued::Enqueued, Enqueued::Enqueued, Enqueued::Full];
    same!(answers, wanted, "three tasks for a queue of two");
    same!(a.enqueue(&tasks(&q, &["3"])?, None).await?, [Enqueued::Full], "the third once more");
    same!(counts(&*a, &q).await?, (2, 0, 0, 0), "the queue after that");
    if a.capabilities().ids == Ids::Remembered {
        let known = with_ids(&q, &["1"])?;
        same!(a.enqueue(&known, None).await?, [Enqueued::Full], "an id that is new");
        let task = claim_one(&*a, &q).await?;
        settle(&*a, &task, complete()).await?;
        same!(a.enqueue(&known, None).await?, [Enqueued::Enqueued], "the same when there is room");
        same!(a.enqueue(&known, None).await?, [Enqueued::Exists], "an id that exists on a full queue");
    }
    Ok(())
}

async fn capacity_counts_what_is_ready(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_capacity(1))).await?;
    enqueue(&*a, &q, &["1"]).await?;
    same!(b.enqueue(&tasks(&q, &["2"])?, None).await?, [Enqueued::Full], "while it is ready");
    let task = claim_one(&*a, &q).await?;
    same!(b.enqueue(&tasks(&q, &["2"])?, None).await?, [Enqueued::Enqueued], "while it is leased");
    settle(&*a, &task, complete()).await?;
    Ok(())
}

async fn capacity_counts_what_is_not_settled(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_capacity(2))).await?;
    enqueue(&*a, &q, &["1", "2"]).await?;
    let leased = claim_one(&*a, &q).await?;
    same!(a.enqueue(&tasks(&q, &["3"])?, None).await?, [Enqueued::Full], "while one is leased");
    settle(&*a, &leased, retry(Duration::from_secs(9))).await?;
    same!(a.enqueue(&tasks(&q, &["3"])?, None).await?, [Enqueued::Full], "while one is scheduled");
    let other = claim_one(&*a, &q).await?;
    settle(&*a, &other, complete()).await?;
    enqueue(&*a, &q, &["3"]).await
}

async fn a_call_over_several_queues(stage: &dyn Stage) -> Outcome {
    let (a, q, r) = (stage.session().await?, queue("q")?, queue("r")?);
    if a.capabilities().ids == Ids::Remembered {
        let (of_q, of_r) = (with_ids(&q, &["x"])?.remove(0), with_ids(&r, &["x"])?.remove(0));
        same!(
            a.enqueue(&[of_q, of_r], None).await?,
            vec![Enqueued::Enqueued; 2],
            "an id is unique within its queue only"
        );
        for queue in [&q, &r] {
            let task = claim_one(&*a, queue).await?;
            settle(&*a, &task, complete()).await?;
        }
    }
    let answers = a.enqueue(&[task(&q, "1")?, task(&r, "1")?, task(&q, "2")?], None).await?;
    same!(answers, vec![Enqueued::Enqueued; 3], "tasks of two queues");
    same!((counts(&*a, &q).await?.0, counts(&*a, &r).await?.0), (2, 1), "tasks of the two queues");
    Ok(())
}

async fn what_is_too_large_is_refused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let name = TaskName::new("work")?;
    let sized = |bytes: usize| {
        let text = format!("\"{}\"", "x".repeat(bytes - 2));
        Ok::<_, crate::Error>(NewTask::new(q.clone(), name.clone(), Payload::from_json(&text)?))
    };
    let error =
        refused(a.enqueue(&[sized(limits::MAX_PAYLOAD + 1)?], None).await, ErrorKind::Invalid)?.to_string();
    holds!(error.contains("1048577") && error.contains("1048576"), "both sizes in: {error}");
    let many = vec![sized(9)?; limits::MAX_BATCH + 1];
    refused(a.enqueue(&many, None).await, ErrorKind::Invalid)?;
    let heavy = (0..5).map(|_| sized(limits::MAX_PAYLOAD)).collect::<Result<Vec<_>, _>>()?;
    refused(a.enqueue(&heavy, None).await, ErrorKind::Invalid)?;
    same!(a.status(&q).await?, None, "the queue after the refusals");
    let most = a.enqueue(&heavy[..4], None).await?;
    same!(most, vec![Enqueued::Enqueued; 4], "the largest call");
    same!(claim(&*a, &q, 4).await?.tasks.len(), 4, "the largest call, claimed");
    Ok(())
}
