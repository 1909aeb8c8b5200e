//! Beats: they put off the end of a lease, and tell who lost one.

use std::time::Duration;

use super::{Outcome, Stage, area, same, support::*};
use crate::{Beat, Beaten, Claim, End, ErrorKind, Outcome as Became, Payload, TaskId, limits};

area!("beat": a_beaten_lease_goes_on, a_lost_lease_is_told, answers_in_order, progress_is_told if CONTROLS, progress_ends_with_the_lease if CONTROLS, progress_is_bounded if CONTROLS, it_tells_nothing_where_nobody_can_ask if LOOSE);

const LEASE: Duration = Duration::from_secs(30);

async fn a_beaten_lease_goes_on(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    for _ in 0..5 {
        stage.advance(Duration::from_secs(20)).await;
        same!(a.beat(&[task.lease.clone().into()], LEASE).await?, [Beaten::Kept], "a beat in time");
        same!(claim(&*b, &q, 1).await?.tasks.len(), 0, "tasks for another while it is beaten");
    }
    stage.advance(LEASE).await;
    let taken = claim_soon(&*b, &q).await?;
    same!(taken.lease.id, task.lease.id, "what another gets when the beats stop");
    Ok(())
}

async fn a_lost_lease_is_told(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    stage.advance(LEASE).await;
    let taken = claim_soon(&*b, &q).await?;
    same!(a.beat(&[task.lease.clone().into()], LEASE).await?, [Beaten::Lost], "a beat of the old holder");
    same!(b.beat(&[taken.lease.clone().into()], LEASE).await?, [Beaten::Kept], "a beat of the new holder");
    settle(&*b, &taken, complete()).await?;
    same!(b.beat(&[taken.lease.clone().into()], LEASE).await?, [Beaten::Lost], "a beat after the settlement");
    Ok(())
}

async fn answers_in_order(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2", "3"]).await?;
    let tasks = a.claim(&Claim::new(q.clone(), 3)).await?.tasks;
    settle(&*a, &tasks[1], complete()).await?;
    let leases: Vec<_> = tasks.iter().map(|task| task.lease.clone()).collect();
    same!(
        a.beat(&Beat::all(&leases), LEASE).await?,
        [Beaten::Kept, Beaten::Lost, Beaten::Kept],
        "beats with a settled one"
    );
    same!(a.beat(&[], LEASE).await?, [], "no beats");
    Ok(())
}

fn told(text: &str) -> Payload {
    Payload::from_stored(text.to_owned())
}

fn pending(progress: Option<&str>) -> Became {
    Became::Pending { progress: progress.map(told) }
}

async fn progress_is_told(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1", "2"]).await?;
    let tasks = claim(&*a, &q, 2).await?.tasks;
    let ids = [TaskId::new("1")?, TaskId::new("2")?];
    same!(b.outcomes(&q, &ids).await?, [pending(None), pending(None)], "before anything was told");
    let half = "{\"done\": 1,  \"of\":2}";
    let beat = Beat { progress: Some(told(half)), ..tasks[0].lease.clone().into() };
    let beats = [beat, tasks[1].lease.clone().into()];
    same!(a.beat(&beats, LEASE).await?, [Beaten::Kept; 2], "the beats");
    same!(
        b.outcomes(&q, &ids).await?,
        [pending(Some(half)), pending(None)],
        "after one was told, as it was given"
    );
    same!(
        a.beat(&[tasks[0].lease.clone().into()], LEASE).await?,
        [Beaten::Kept],
        "a beat that tells nothing"
    );
    same!(b.outcomes(&q, &ids[..1]).await?, [pending(Some(half))], "after a beat that tells nothing");
    let whole = Beat { progress: Some(told("2")), ..tasks[0].lease.clone().into() };
    a.beat(&[whole], LEASE).await?;
    same!(b.outcomes(&q, &ids[..1]).await?, [pending(Some("2"))], "after more was told");
    Ok(())
}

async fn progress_ends_with_the_lease(stage: &dyn Stage) -> Outcome {
    let (a, victim, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1"]).await?;
    let id = [TaskId::new("1")?];
    let tell = |lease: crate::Lease| Beat { progress: Some(told("1")), ..lease.into() };
    for end in [End::Release, retry(Duration::ZERO)] {
        let task = claim_soon(&*a, &q).await?;
        a.beat(&[tell(task.lease.clone())], LEASE).await?;
        settle(&*a, &task, end).await?;
        same!(a.outcomes(&q, &id).await?, [pending(None)], "after the lease has ended");
        same!(a.beat(&[tell(task.lease)], LEASE).await?, [Beaten::Lost], "a beat after that");
        same!(a.outcomes(&q, &id).await?, [pending(None)], "after a beat that was refused");
    }
    let claim = Claim::new(q.clone(), 1).with_lease(super::VICTIMS_LEASE);
    let task = victim.claim(&claim).await?.tasks.remove(0);
    victim.beat(&[tell(task.lease)], super::VICTIMS_LEASE).await?;
    stage.kill(victim).await?;
    claim_soon(&*a, &q).await?;
    same!(a.outcomes(&q, &id).await?, [pending(None)], "for the next holder");
    Ok(())
}

async fn progress_is_bounded(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    let text = format!("\"{}\"", "x".repeat(limits::MAX_PROGRESS - 1));
    let beat = Beat { progress: Some(told(&text)), ..task.lease.into() };
    refused(a.beat(&[beat], LEASE).await, ErrorKind::Invalid)?;
    same!(a.outcomes(&q, &[TaskId::new("1")?]).await?, [pending(None)], "after the refusal");
    Ok(())
}

async fn it_tells_nothing_where_nobody_can_ask(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    let beat = Beat { progress: Some(told("1")), ..task.lease.clone().into() };
    refused(a.beat(&[beat], LEASE).await, ErrorKind::Unsupported)?;
    same!(a.beat(&[task.lease.into()], LEASE).await?, [Beaten::Kept], "a beat that tells nothing");
    Ok(())
}
