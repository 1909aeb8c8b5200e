//! What workers tell of themselves, and how one is asked to drain.

use std::{sync::Arc, time::Duration};

use super::{Failure, Outcome, Stage, area, holds, same, support::*};
use crate::{
    Broker, ErrorKind, Incarnation, LastClaim, LiveWorker, Request, RunningTask, TaskId, TaskName,
    WorkerReport, Workers, limits,
};

area!("workers":
    what_a_worker_tells_is_known_to_all, what_it_tells_anew_takes_the_place, who_never_told_is_no_worker,
    one_that_leaves_is_forgotten, one_that_dies_is_forgotten, one_that_is_silent_is_not_listed if PUNCTUAL,
    one_is_asked_to_drain_and_no_other, who_is_not_there_cannot_be_asked, a_list_goes_on_after_its_last,
    a_session_that_is_rebuilt_is_the_same_worker, what_is_too_long_is_refused);

fn power(broker: &dyn Broker) -> Result<&dyn Workers, Failure> {
    broker.workers().ok_or_else(|| Failure("workers cannot be seen".to_owned()))
}

fn report(slots: usize) -> WorkerReport {
    let mut report = WorkerReport::here();
    report.slots = slots;
    report
}

async fn tell(broker: &dyn Broker, slots: usize) -> Result<Request, Failure> {
    Ok(power(broker)?.report(&report(slots)).await?)
}

async fn live(broker: &dyn Broker) -> Result<Vec<LiveWorker>, Failure> {
    Ok(power(broker)?.live(None, limits::MAX_BATCH).await?)
}

async fn incarnations(broker: &dyn Broker) -> Result<Vec<Incarnation>, Failure> {
    Ok(live(broker).await?.into_iter().map(|worker| worker.incarnation).collect())
}

async fn what_a_worker_tells_is_known_to_all(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let name = TaskName::new("work")?;
    let mut told = report(7);
    told.up = Duration::from_millis(1234);
    told.queues = vec![q.clone()];
    told.handlers = vec![name.clone()];
    told.running = 1;
    told.tasks = vec![RunningTask::new(q, TaskId::new("7")?, name, Duration::from_secs(2))];
    told.last_claim = LastClaim::new(Some(Duration::from_millis(5)), Some("gone \u{2026}".to_owned()), true);
    same!(power(&*a)?.report(&told).await?, Request::Nothing, "what is asked of a new worker");
    for broker in [&a, &b] {
        let live = live(&**broker).await?;
        let known: Vec<_> = live.iter().map(|w| (w.incarnation, w.asked_to_drain, &w.report)).collect();
        same!(known, [(a.incarnation(), false, &told)], "the worker");
        holds!(live[0].heard <= limits::WORKER_SILENT, "heard {:?} ago", live[0].heard);
    }
    Ok(())
}

async fn what_it_tells_anew_takes_the_place(stage: &dyn Stage) -> Outcome {
    let (a, b) = (stage.session().await?, stage.session().await?);
    for slots in 1..=3 {
        tell(&*a, slots).await?;
        let slots_known: Vec<_> = live(&*b).await?.iter().map(|worker| worker.report.slots).collect();
        same!(slots_known, [slots], "what is known");
    }
    Ok(())
}

async fn who_never_told_is_no_worker(stage: &dyn Stage) -> Outcome {
    let (a, _b) = (stage.session().await?, stage.session().await?);
    same!(live(&*a).await?, [], "workers");
    Ok(())
}

async fn one_that_leaves_is_forgotten(stage: &dyn Stage) -> Outcome {
    let (a, b) = (stage.session().await?, stage.session().await?);
    tell(&*a, 1).await?;
    tell(&*b, 1).await?;
    holds!(power(&*b)?.drain(a.incarnation()).await?, "the worker is not there");
    for _ in 0..2 {
        power(&*a)?.leave().await?;
        same!(incarnations(&*b).await?, [b.incarnation()], "who is left");
    }
    // The session may be used by another worker afterwards.
    same!(tell(&*a, 2).await?, Request::Nothing, "what is asked of one that comes after it");
    Ok(())
}

async fn one_that_dies_is_forgotten(stage: &dyn Stage) -> Outcome {
    let (a, b) = (stage.session().await?, stage.session().await?);
    tell(&*a, 1).await?;
    let died = a.incarnation();
    stage.kill(a).await?;
    // Where nobody notices a death, by its silence.
    stage.advance(limits::WORKER_SILENT + Duration::from_millis(1)).await;
    eventually("forgotten", || async { Ok(!incarnations(&*b).await?.contains(&died)) }).await
}

async fn one_that_is_silent_is_not_listed(stage: &dyn Stage) -> Outcome {
    let (a, b) = (stage.session().await?, stage.session().await?);
    tell(&*a, 1).await?;
    stage.advance(limits::WORKER_SILENT / 2).await;
    let heard: Vec<_> = live(&*b).await?.iter().map(|worker| worker.heard).collect();
    holds!(heard.len() == 1 && heard[0] >= limits::WORKER_SILENT / 2, "heard {heard:?} ago");
    tell(&*b, 1).await?;
    stage.advance(limits::WORKER_SILENT / 2 + Duration::from_millis(1)).await;
    same!(incarnations(&*b).await?, [b.incarnation()], "who is not silent");
    holds!(!power(&*b)?.drain(a.incarnation()).await?, "one that is silent was asked to drain");
    tell(&*a, 1).await?;
    same!(live(&*b).await?.len(), 2, "workers when it tells of itself again");
    Ok(())
}

async fn one_is_asked_to_drain_and_no_other(stage: &dyn Stage) -> Outcome {
    let (a, b, c) = (stage.session().await?, stage.session().await?, stage.session().await?);
    tell(&*a, 1).await?;
    tell(&*b, 1).await?;
    for _ in 0..2 {
        holds!(power(&*c)?.drain(a.incarnation()).await?, "the worker is not there");
    }
    for _ in 0..2 {
        same!(tell(&*a, 1).await?, Request::Drain, "what is asked of it");
        same!(tell(&*b, 1).await?, Request::Nothing, "what is asked of the other");
    }
    for worker in live(&*c).await? {
        same!(worker.asked_to_drain, worker.incarnation == a.incarnation(), "whether it was asked to");
    }
    Ok(())
}

async fn who_is_not_there_cannot_be_asked(stage: &dyn Stage) -> Outcome {
    let (a, b) = (stage.session().await?, stage.session().await?);
    for nobody in [Incarnation::generate(), b.incarnation()] {
        holds!(!power(&*a)?.drain(nobody).await?, "somebody who is no worker was asked");
    }
    same!(tell(&*b, 1).await?, Request::Nothing, "what is asked of one that came later");
    Ok(())
}

async fn a_list_goes_on_after_its_last(stage: &dyn Stage) -> Outcome {
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let session: Arc<dyn Broker> = stage.session().await?;
        tell(&*session, 1).await?;
        sessions.push(session);
    }
    let mut wanted: Vec<_> = sessions.iter().map(|session| session.incarnation()).collect();
    wanted.sort_unstable();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = power(&*sessions[0])?.live(after, 2).await?;
        holds!(page.len() <= 2, "{} workers are more than were asked for", page.len());
        after = page.last().map(|worker| worker.incarnation);
        found.extend(page.iter().map(|worker| worker.incarnation));
        if page.len() < 2 {
            break;
        }
    }
    same!(found, wanted, "all workers");
    Ok(())
}

async fn a_session_that_is_rebuilt_is_the_same_worker(stage: &dyn Stage) -> Outcome {
    let (a, b) = (stage.session().await?, stage.session().await?);
    tell(&*a, 1).await?;
    holds!(power(&*b)?.drain(a.incarnation()).await?, "the worker is not there");
    a.rebuild().await;
    same!(tell(&*a, 2).await?, Request::Drain, "what is asked of it");
    eventually("known again", || async { Ok(incarnations(&*b).await? == [a.incarnation()]) }).await
}

async fn what_is_too_long_is_refused(stage: &dyn Stage) -> Outcome {
    let a = stage.session().await?;
    tell(&*a, 1).await?;
    let mut long = report(2);
    long.host = "x".repeat(limits::MAX_REPORT);
    let refused = power(&*a)?.report(&long).await.map_err(|error| error.kind());
    same!(refused, Err(ErrorKind::Invalid), "a report that is too long");
    for max in [0, limits::MAX_BATCH + 1] {
        let refused = power(&*a)?.live(None, max).await.map_err(|error| error.kind());
        same!(refused, Err(ErrorKind::Invalid), "a list of {max}");
    }
    same!(live(&*a).await?[0].report.slots, 1, "what is known");
    Ok(())
}
