//! `pause` and `resume`: a queue whose claims are stopped.

use std::time::Duration;

use super::{Failure, Outcome, Stage, area, holds, same, support::*};
use crate::{Beaten, Enqueued, ErrorKind, Pause, limits};

area!("pause": a_paused_queue_hands_out_nothing if CONTROLS, all_else_goes_on if CONTROLS, a_missing_queue_can_be_paused if CONTROLS, who_waits_hears_that_it_goes_on if CONTROLS, it_is_told_who_and_when if CONTROLS, who_must_be_told if CONTROLS);

/// Who pauses queues here.
const BY: &str = "ann@host";

async fn a_paused_queue_hands_out_nothing(stage: &dyn Stage) -> Outcome {
    let (a, b, q, r) = (stage.session().await?, stage.session().await?, queue("q")?, queue("r")?);
    enqueue(&*a, &q, &["1"]).await?;
    enqueue(&*a, &r, &["2"]).await?;
    for _ in 0..2 {
        a.pause(&q, BY).await?;
        holds!(b.status(&q).await?.is_some_and(|status| status.paused), "the status does not say: paused");
        same!(names(&claim(&*b, &q, 9).await?.tasks), [""; 0], "what a claim gets of a paused queue");
    }
    same!(names(&claim(&*b, &r, 9).await?.tasks), ["2"], "of another one");
    same!(counts(&*b, &q).await?, (1, 0, 0, 0), "the paused queue");
    b.resume(&q).await?;
    holds!(a.status(&q).await?.is_some_and(|status| !status.paused), "the status says: paused");
    same!(names(&claim(&*b, &q, 9).await?.tasks), ["1"], "when it goes on");
    Ok(())
}

async fn all_else_goes_on(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2"]).await?;
    let claimed = claim(&*a, &q, 2).await?.tasks;
    a.pause(&q, BY).await?;
    same!(a.enqueue(&tasks(&q, &["3"])?, None).await?, [Enqueued::Enqueued], "a new task");
    same!(a.beat(&[claimed[0].lease.clone().into()], limits::LEASE).await?, [Beaten::Kept], "a beat");
    settle(&*a, &claimed[0], complete()).await?;
    settle(&*a, &claimed[1], retry(Duration::from_secs(1))).await?;
    stage.advance(Duration::from_secs(1)).await;
    same!(names(&claim(&*a, &q, 9).await?.tasks), [""; 0], "what a claim gets");
    same!(counts(&*a, &q).await?, (2, 0, 0, 0), "the queue: what was due became ready");
    Ok(())
}

async fn a_missing_queue_can_be_paused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.pause(&q, BY).await?;
    enqueue(&*a, &q, &["1"]).await?;
    same!(names(&claim(&*a, &q, 9).await?.tasks), [""; 0], "what a claim gets");
    Ok(())
}

async fn who_waits_hears_that_it_goes_on(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    a.pause(&q, BY).await?;
    let changed = b.wait(std::slice::from_ref(&q));
    a.resume(&q).await?;
    heard(changed).await?;
    Ok(())
}

async fn it_is_told_who_and_when(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    same!(b.status(&q).await?.and_then(|status| status.pause), None, "who paused a queue that is not paused");
    a.pause(&q, BY).await?;
    let paused = b.status(&q).await?;
    let Some(Pause { by, at }) = paused.clone().and_then(|status| status.pause) else {
        return Err(Failure("it is not told who paused it".to_owned()));
    };
    same!(&*by, BY, "who paused it");
    stage.advance(Duration::from_secs(7)).await;
    b.pause(&q, "bob").await?;
    same!(a.status(&q).await?, paused, "pausing twice is pausing once");
    b.resume(&q).await?;
    same!(a.status(&q).await?.and_then(|status| status.pause), None, "who paused it, when it goes on");
    // As long as can be, and not only letters.
    let by = format!("{}\u{e9}\n", "b".repeat(limits::MAX_BY - 3));
    b.pause(&q, &by).await?;
    let again = Pause { by, at: at + Duration::from_secs(7) };
    same!(a.status(&q).await?.and_then(|status| status.pause), Some(again), "who paused it again");
    Ok(())
}

async fn who_must_be_told(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    for by in [String::new(), "b".repeat(limits::MAX_BY + 1)] {
        refused(a.pause(&q, &by).await, ErrorKind::Invalid)?;
    }
    holds!(a.status(&q).await?.is_some_and(|status| !status.paused), "it is paused all the same");
    Ok(())
}
