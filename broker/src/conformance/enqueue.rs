//! Arrow `enqueue`, and what it answers.

use std::time::Duration;

use super::{Outcome, Stage, area, holds, same, support::*};
use crate::{Enqueued, ErrorKind, NewTask, Payload, QueueOptions, TaskName, limits};

area!("enqueue": answers_in_order, the_payload_is_kept_byte_for_byte, a_generated_id_is_new, a_settled_id_is_remembered_for_a_time, an_id_need_not_be_remembered, a_dead_id_still_exists, a_full_queue_says_so, capacity_counts_what_is_not_settled, a_call_over_several_queues, what_is_too_large_is_refused);

async fn answers_in_order(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let answers = a.enqueue(&tasks(&q, &["1", "2", "1"])?).await?;
    same!(answers, [Enqueued::Enqueued, Enqueued::Enqueued, Enqueued::Exists], "two ids, one of them twice");
    same!(
        b.enqueue(&tasks(&q, &["2", "3"])?).await?,
        [Enqueued::Exists, Enqueued::Enqueued],
        "from another session"
    );
    same!(counts(&*b, &q).await?, (3, 0, 0, 0), "the queue after that");
    same!(a.enqueue(&[]).await?, [], "no tasks");
    Ok(())
}

async fn the_payload_is_kept_byte_for_byte(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let text =
        "{\"b\": 1.50, \"a\":\"\\u00fc ü 漢 \\u0000\",  \"b\":1e400, \"n\":123456789012345678901234567890}";
    let sent = NewTask::new(q.clone(), TaskName::new("work")?, Payload::from_json(text)?);
    same!(a.enqueue(std::slice::from_ref(&sent)).await?, [Enqueued::Enqueued], "a task");
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
    let (one, two) = (new()?, new()?);
    same!(a.enqueue(&[one.clone(), two]).await?, [Enqueued::Enqueued, Enqueued::Enqueued], "two equal tasks");
    same!(a.enqueue(&[one]).await?, [Enqueued::Exists], "the same call again");
    Ok(())
}

async fn a_settled_id_is_remembered_for_a_time(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_remember_ids(Duration::from_secs(60)))).await?;
    for _ in 0..2 {
        enqueue(&*a, &q, &["1"]).await?;
        let task = claim_one(&*a, &q).await?;
        settle(&*a, &task, complete()).await?;
        stage.advance(Duration::from_secs(59)).await;
        same!(a.enqueue(&tasks(&q, &["1"])?).await?, [Enqueued::Exists], "59 s after it was settled");
        stage.advance(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn an_id_need_not_be_remembered(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_remember_ids(Duration::ZERO))).await?;
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    settle(&*a, &task, complete()).await?;
    enqueue(&*a, &q, &["1"]).await
}

async fn a_dead_id_still_exists(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    settle(&*a, &task, crate::End::Bury { error: "no".to_owned() }).await?;
    same!(a.enqueue(&tasks(&q, &["1"])?).await?, [Enqueued::Exists], "a dead task's id");
    Ok(())
}

async fn a_full_queue_says_so(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_capacity(2))).await?;
    let answers = a.enqueue(&tasks(&q, &["1", "2", "3", "1"])?).await?;
    let wanted = [Enqueued::Enqueued, Enqueued::Enqueued, Enqueued::Full, Enqueued::Exists];
    same!(answers, wanted, "three tasks and a known one for a queue of two");
    same!(counts(&*a, &q).await?, (2, 0, 0, 0), "the queue after that");
    Ok(())
}

async fn capacity_counts_what_is_not_settled(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_capacity(2))).await?;
    enqueue(&*a, &q, &["1", "2"]).await?;
    let leased = claim_one(&*a, &q).await?;
    same!(a.enqueue(&tasks(&q, &["3"])?).await?, [Enqueued::Full], "while one is leased");
    settle(&*a, &leased, retry(Duration::from_secs(9))).await?;
    same!(a.enqueue(&tasks(&q, &["3"])?).await?, [Enqueued::Full], "while one is scheduled");
    let other = claim_one(&*a, &q).await?;
    settle(&*a, &other, complete()).await?;
    enqueue(&*a, &q, &["3"]).await
}

async fn a_call_over_several_queues(stage: &dyn Stage) -> Outcome {
    let (a, q, r) = (stage.session().await?, queue("q")?, queue("r")?);
    let answers = a.enqueue(&[task(&q, "1")?, task(&r, "1")?, task(&q, "2")?]).await?;
    same!(answers, [Enqueued::Enqueued; 3], "an id is unique within its queue only");
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
    let error = refused(a.enqueue(&[sized(limits::MAX_PAYLOAD + 1)?]).await, ErrorKind::Invalid)?.to_string();
    holds!(error.contains("1048577") && error.contains("1048576"), "both sizes in: {error}");
    let many = vec![sized(9)?; limits::MAX_BATCH + 1];
    refused(a.enqueue(&many).await, ErrorKind::Invalid)?;
    let heavy = (0..5).map(|_| sized(limits::MAX_PAYLOAD)).collect::<Result<Vec<_>, _>>()?;
    refused(a.enqueue(&heavy).await, ErrorKind::Invalid)?;
    same!(a.status(&q).await?, None, "the queue after the refusals");
    let most = a.enqueue(&heavy[..4]).await?;
    same!(most, [Enqueued::Enqueued; 4], "the largest call");
    same!(claim(&*a, &q, 4).await?.tasks.len(), 4, "the largest call, claimed");
    Ok(())
}
