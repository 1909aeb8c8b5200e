//! Enqueue calls that are made again, because nobody knows what became of them.

use std::time::Duration;

use super::{Outcome, Stage, area, holds, same, support::*};
use crate::{Enqueued, ErrorKind, QueueOptions, Token, Unique, limits};

area!("repeat": a_repeated_call_gets_the_first_answer if REMEMBERS, whatever_became_of_its_tasks if REMEMBERS, every_answer_is_told_again if REMEMBERS, a_refused_call_is_not_known if REMEMBERS, other_calls_are_other_calls if REMEMBERS, it_is_known_for_ten_minutes if REMEMBERS, the_last_calls_of_a_process_are_known if REMEMBERS, a_token_is_for_one_call if REMEMBERS, it_is_refused_where_no_call_is_known if FORGETS);

async fn a_repeated_call_gets_the_first_answer(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let (batch, token) = (tasks(&q, &["1", "2"])?, Some(Token::next(a.incarnation())));
    let first = a.enqueue(&batch, token).await?;
    same!(first, [Enqueued::Enqueued, Enqueued::Enqueued], "the first call");
    same!(a.enqueue(&batch, token).await?, first, "the same call again");
    // The session of a process may be another one by then.
    same!(b.enqueue(&batch, token).await?, first, "the same call by another session");
    same!(counts(&*a, &q).await?, (2, 0, 0, 0), "the queue after that");
    Ok(())
}

async fn whatever_became_of_its_tasks(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let (batch, token) = (tasks(&q, &["1", "2"])?, Some(Token::next(a.incarnation())));
    a.enqueue(&batch, token).await?;
    for task in claim(&*a, &q, 2).await?.tasks {
        settle(&*a, &task, complete()).await?;
    }
    a.close(&q).await?;
    same!(a.enqueue(&batch, token).await?, [Enqueued::Enqueued, Enqueued::Enqueued], "when they are settled");
    same!(counts(&*a, &q).await?, (0, 0, 0, 0), "the queue after that");
    same!(a.enqueue(&batch, None).await?, [Enqueued::Closed, Enqueued::Closed], "without the token");
    Ok(())
}

async fn every_answer_is_told_again(stage: &dyn Stage) -> Outcome {
    let (a, q, closed, full) = (stage.session().await?, queue("q")?, queue("closed")?, queue("full")?);
    a.declare(&full, Some(&QueueOptions::default().with_capacity(1))).await?;
    a.close(&closed).await?;
    let unique = |name: &str| Ok::<_, crate::Error>(task(&q, name)?.with_unique(Unique::until_settled("k")?));
    let holder = unique("1")?;
    let same = with_ids(&q, &["same"])?.remove(0);
    let batch = [
        holder.clone(),
        unique("2")?,
        same.clone(),
        same,
        task(&closed, "3")?,
        task(&full, "4")?,
        task(&full, "5")?,
    ];
    let token = Some(Token::next(a.incarnation()));
    let first = a.enqueue(&batch, token).await?;
    let expected = [
        Enqueued::Enqueued,
        Enqueued::Duplicate(holder.id),
        Enqueued::Enqueued,
        Enqueued::Exists,
        Enqueued::Closed,
        Enqueued::Enqueued,
        Enqueued::Full,
    ];
    same!(first, expected, "the first call");
    settle(&*a, &claim_one(&*a, &full).await?, complete()).await?;
    same!(a.enqueue(&batch, token).await?, expected, "the same call, when there is room");
    same!(counts(&*a, &full).await?, (0, 0, 0, 0), "the queue that was full");
    Ok(())
}

async fn a_refused_call_is_not_known(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let token = Some(Token::next(a.incarnation()));
    refused(a.enqueue(&[task(&q, "1")?.with_priority(1)], token).await, ErrorKind::Invalid)?;
    same!(a.enqueue(&tasks(&q, &["1"])?, token).await?, [Enqueued::Enqueued], "what was wrong, put right");
    Ok(())
}

async fn other_calls_are_other_calls(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let token = Token::next(a.incarnation());
    let others = Token { incarnation: b.incarnation(), ..token };
    let next = Token { sequence: token.sequence + 1, ..token };
    for (name, token) in
        [("1", Some(token)), ("2", Some(others)), ("3", Some(next)), ("4", None), ("5", None)]
    {
        same!(a.enqueue(&tasks(&q, &[name])?, token).await?, [Enqueued::Enqueued], "call {name}");
    }
    same!(counts(&*a, &q).await?, (5, 0, 0, 0), "the queue after that");
    Ok(())
}

async fn it_is_known_for_ten_minutes(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let (batch, token) = (tasks(&q, &["1"])?, Some(Token::next(a.incarnation())));
    a.enqueue(&batch, token).await?;
    settle(&*a, &claim_one(&*a, &q).await?, complete()).await?;
    stage.advance(limits::KEEP_CALLS - Duration::from_secs(1)).await;
    a.enqueue(&batch, token).await?;
    same!(counts(&*a, &q).await?, (0, 0, 0, 0), "a second before the time is over");
    stage.advance(Duration::from_secs(2)).await;
    a.enqueue(&batch, token).await?;
    same!(counts(&*a, &q).await?, (1, 0, 0, 0), "a second after it");
    Ok(())
}

async fn the_last_calls_of_a_process_are_known(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    // Both together: what is known of one process does not drive out what is known of the other.
    let others = Token::next(stage.session().await?.incarnation());
    a.enqueue(&tasks(&q, &["other"])?, Some(others)).await?;
    let all: Vec<_> = (0..=limits::MAX_CALLS).map(|_| Token::next(a.incarnation())).collect();
    for token in &all {
        a.enqueue(&tasks(&q, &["x"])?, Some(*token)).await?;
    }
    let enqueued = async || counts(&*a, &q).await.map(|counts| counts.0);
    let before = enqueued().await?;
    a.enqueue(&tasks(&q, &["again"])?, Some(all[1])).await?;
    a.enqueue(&tasks(&q, &["again"])?, Some(all[limits::MAX_CALLS])).await?;
    a.enqueue(&tasks(&q, &["again"])?, Some(others)).await?;
    same!(enqueued().await?, before, "after calls that are known");
    a.enqueue(&tasks(&q, &["again"])?, Some(all[0])).await?;
    same!(enqueued().await?, before + 1, "after one with {} calls behind it", limits::MAX_CALLS);
    Ok(())
}

async fn a_token_is_for_one_call(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let token = Some(Token::next(a.incarnation()));
    a.enqueue(&tasks(&q, &["1"])?, token).await?;
    let error = refused(a.enqueue(&tasks(&q, &["1", "2"])?, token).await, ErrorKind::Invalid)?.to_string();
    holds!(error.contains("token"), "what is wrong in: {error}");
    same!(counts(&*a, &q).await?, (1, 0, 0, 0), "the queue after the refusal");
    Ok(())
}

async fn it_is_refused_where_no_call_is_known(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let token = Some(Token::next(a.incarnation()));
    refused(a.enqueue(&tasks(&q, &["1"])?, token).await, ErrorKind::Unsupported)?;
    same!(a.status(&q).await?, None, "the queue after the refusal");
    Ok(())
}
