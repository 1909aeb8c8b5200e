//! Unique keys.

use std::time::Duration;

use super::{Outcome, Stage, area, same, support::*};
use crate::{Cancel, End, Enqueued, ErrorKind, NewTask, QueueName, QueueOptions, Result, Unique};

area!("unique": a_key_is_held_until_it_is_settled if CONTROLS, a_key_is_held_after_it_is_settled if CONTROLS, every_end_lets_go if CONTROLS, a_refused_task_takes_no_key if CONTROLS, a_child_without_its_key_is_left_out if CONTROLS, a_key_outlives_retry_and_death if CONTROLS, it_is_refused_where_no_task_is_known if LOOSE);

fn keyed(queue: &QueueName, name: &str, key: &str) -> Result<NewTask> {
    Ok(task(queue, name)?.with_unique(Unique::until_settled(key)?))
}

async fn a_key_is_held_until_it_is_settled(stage: &dyn Stage) -> Outcome {
    let (a, b, q, r) = (stage.session().await?, stage.session().await?, queue("q")?, queue("r")?);
    let first = keyed(&q, "1", "k")?;
    let batch = [first.clone(), keyed(&q, "2", "k")?, keyed(&q, "3", "K k/ä")?, keyed(&r, "4", "k")?];
    let answers = a.enqueue(&batch, None).await?;
    let expected =
        [Enqueued::Enqueued, Enqueued::Duplicate(first.id.clone()), Enqueued::Enqueued, Enqueued::Enqueued];
    same!(answers, expected, "the same key, another one, and another queue");
    same!(a.enqueue(std::slice::from_ref(&first), None).await?, [Enqueued::Exists], "the same task again");
    let task = claim_one(&*b, &q).await?;
    let again = keyed(&q, "5", "k")?;
    same!(
        b.enqueue(std::slice::from_ref(&again), None).await?,
        [Enqueued::Duplicate(first.id)],
        "while it is leased"
    );
    settle(&*b, &task, complete()).await?;
    same!(a.enqueue(&[again], None).await?, [Enqueued::Enqueued], "when it is settled");
    Ok(())
}

async fn a_key_is_held_after_it_is_settled(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let seen = |name: &str| -> Result<NewTask> {
        Ok(task(&q, name)?.with_unique(Unique::and_for("k", Duration::from_secs(60))?))
    };
    let first = seen("1")?;
    a.enqueue(std::slice::from_ref(&first), None).await?;
    settle(&*a, &claim_one(&*a, &q).await?, complete()).await?;
    stage.advance(Duration::from_secs(50)).await;
    let answers = a.enqueue(&[seen("2")?, keyed(&q, "3", "k")?], None).await?;
    let duplicate = Enqueued::Duplicate(first.id);
    same!(answers, [duplicate.clone(), duplicate], "50 s after it was settled");
    stage.advance(Duration::from_secs(11)).await;
    same!(a.enqueue(&[seen("4")?], None).await?, [Enqueued::Enqueued], "61 s after it was settled");
    Ok(())
}

async fn every_end_lets_go(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let bury = End::Bury { error: "no".to_owned() };
    for (name, end) in [("completed", Some(complete())), ("dead", Some(bury)), ("cancelled", None)] {
        let first = keyed(&q, name, "k")?;
        same!(
            a.enqueue(std::slice::from_ref(&first), None).await?,
            [Enqueued::Enqueued],
            "before one is {name}"
        );
        match end {
            Some(end) => drop(settle(&*a, &claim_one(&*a, &q).await?, end).await?),
            None => same!(a.cancel(&q, &[first.id]).await?, [Cancel::Cancelled], "cancel"),
        }
    }
    same!(a.enqueue(&[keyed(&q, "last", "k")?], None).await?, [Enqueued::Enqueued], "after all of them");
    Ok(())
}

async fn a_refused_task_takes_no_key(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_capacity(1))).await?;
    let answers = a.enqueue(&[task(&q, "1")?, keyed(&q, "2", "k")?], None).await?;
    same!(answers, [Enqueued::Enqueued, Enqueued::Full], "two tasks for a queue of one");
    settle(&*a, &claim_one(&*a, &q).await?, complete()).await?;
    same!(a.enqueue(&[keyed(&q, "3", "k")?], None).await?, [Enqueued::Enqueued], "its key after that");
    Ok(())
}

async fn a_child_without_its_key_is_left_out(stage: &dyn Stage) -> Outcome {
    let (a, q, r) = (stage.session().await?, queue("q")?, queue("r")?);
    enqueue(&*a, &q, &["1"]).await?;
    a.enqueue(&[keyed(&r, "seen", "k")?], None).await?;
    let parent = claim_one(&*a, &q).await?;
    let children = vec![keyed(&r, "again", "k")?, keyed(&r, "new", "n")?, keyed(&r, "new again", "n")?];
    settle(&*a, &parent, End::complete(children)).await?;
    same!(names(&claim(&*a, &r, 9).await?.tasks), ["seen", "new"], "the children's queue");
    Ok(())
}

async fn a_key_outlives_retry_and_death(stage: &dyn Stage) -> Outcome {
    let (a, victim, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let first = keyed(&q, "1", "k")?;
    a.enqueue(std::slice::from_ref(&first), None).await?;
    settle(&*a, &claim_one(&*a, &q).await?, retry(Duration::from_secs(1))).await?;
    let duplicate = [Enqueued::Duplicate(first.id)];
    same!(a.enqueue(&[keyed(&q, "2", "k")?], None).await?, duplicate, "between two attempts");
    stage.advance(Duration::from_secs(1)).await;
    claim_and_die(stage, victim, &q, 1).await?;
    let task = claim_soon(&*a, &q).await?;
    same!(a.enqueue(&[keyed(&q, "3", "k")?], None).await?, duplicate, "after the death of a process");
    settle(&*a, &task, complete()).await?;
    same!(a.enqueue(&[keyed(&q, "4", "k")?], None).await?, [Enqueued::Enqueued], "when it is settled");
    Ok(())
}

async fn it_is_refused_where_no_task_is_known(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    refused(a.enqueue(&[keyed(&q, "1", "k")?], None).await, ErrorKind::Unsupported)?;
    same!(a.status(&q).await?, None, "the queue after the refusal");
    Ok(())
}
