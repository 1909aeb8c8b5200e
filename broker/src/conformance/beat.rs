//! Beats: they put off the end of a lease, and tell who lost one.

use std::time::Duration;

use super::{Outcome, Stage, area, same, support::*};
use crate::{Beaten, Claim};

area!("beat": a_beaten_lease_goes_on, a_lost_lease_is_told, answers_in_order);

const LEASE: Duration = Duration::from_secs(30);

async fn a_beaten_lease_goes_on(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = claim_one(&*a, &q).await?;
    for _ in 0..5 {
        stage.advance(Duration::from_secs(20)).await;
        same!(a.beat(std::slice::from_ref(&task.lease), LEASE).await?, [Beaten::Kept], "a beat in time");
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
    same!(
        a.beat(std::slice::from_ref(&task.lease), LEASE).await?,
        [Beaten::Lost],
        "a beat of the old holder"
    );
    same!(
        b.beat(std::slice::from_ref(&taken.lease), LEASE).await?,
        [Beaten::Kept],
        "a beat of the new holder"
    );
    settle(&*b, &taken, complete()).await?;
    same!(
        b.beat(std::slice::from_ref(&taken.lease), LEASE).await?,
        [Beaten::Lost],
        "a beat after the settlement"
    );
    Ok(())
}

async fn answers_in_order(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2", "3"]).await?;
    let tasks = a.claim(&Claim::new(q.clone(), 3)).await?.tasks;
    settle(&*a, &tasks[1], complete()).await?;
    let leases: Vec<_> = tasks.iter().map(|task| task.lease.clone()).collect();
    same!(
        a.beat(&leases, LEASE).await?,
        [Beaten::Kept, Beaten::Lost, Beaten::Kept],
        "beats with a settled one"
    );
    same!(a.beat(&[], LEASE).await?, [], "no beats");
    Ok(())
}
