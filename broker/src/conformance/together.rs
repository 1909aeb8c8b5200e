//! Tasks that are sent many at a time and ask for nothing: a broker may keep them together, as long as nobody can tell.

use std::time::Duration;

use super::{Outcome, Stage, area, holds, lookup::lookup, same, support::*};
use crate::{
    Beat, Beaten, Cancel, Capabilities, Claim, End, Enqueued, Outcome as Ended, Payload, QueueOptions,
    Settled, Settlement, Standing, State, TaskId, Why, capabilities::Operators, limits,
};

const LOOKS: fn(&Capabilities) -> bool = |broker| broker.operators >= Operators::All && CONTROLS(broker);

area!("together": each_has_an_end_of_its_own if PUNCTUAL, they_are_taken_a_few_at_a_time if PUNCTUAL, what_is_given_back_stands_where_it_stood if PUNCTUAL, whoever_beats_keeps_its_own if PUNCTUAL, all_of_a_lost_holder_come_back if PUNCTUAL, one_is_cancelled if CONTROLS, they_are_there_only_once if REMEMBERS, as_many_as_fit_are_taken if PUNCTUAL, each_is_seen if LOOKS);

const LEASE: Duration = limits::LEASE;

fn ids(tasks: &[crate::NewTask]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.id.clone()).collect()
}

async fn each_has_an_end_of_its_own(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2", "3", "4", "5", "6"]).await?;
    let tasks = claim(&*a, &q, 6).await?.tasks;
    let ends = [
        complete(),
        retry(Duration::ZERO),
        End::Bury { error: "it cannot succeed".to_owned() },
        End::Release,
        complete(),
    ];
    let ends: Vec<_> =
        tasks.iter().zip(ends).map(|(task, end)| Settlement::new(task.lease.clone(), end)).collect();
    same!(a.settle(&ends).await?, vec![Settled::Settled; 5], "five of six");
    same!(counts(&*a, &q).await?, (1, 1, 1, 1), "what became of them");
    same!(a.settle(&ends).await?, vec![Settled::Lost; 5], "the same again");
    let again = claim(&*a, &q, 9).await?.tasks;
    same!(names(&again), ["4", "2"], "the one that was given back, and the one that failed");
    same!((again[0].attempts, again[1].attempts), (0, 1), "who is charged");
    holds!(again.iter().all(|task| task.lease.epoch > tasks[0].lease.epoch), "they have new epochs");
    for task in again.iter().chain(&tasks[5..]) {
        same!(settle(&*a, task, complete()).await?, Settled::Settled, "the rest");
    }
    same!(counts(&*a, &q).await?, (0, 0, 0, 1), "the end");
    Ok(())
}

async fn they_are_taken_a_few_at_a_time(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2", "3", "4", "5"]).await?;
    enqueue(&*b, &q, &["6"]).await?;
    enqueue(&*b, &q, &["7", "8", "9"]).await?;
    enqueue(&*a, &q, &["10"]).await?;
    let mut all = Vec::new();
    for (session, max) in [(&a, 2), (&b, 1), (&a, 4), (&b, 9)] {
        all.extend(claim(&**session, &q, max).await?.tasks);
    }
    same!(names(&all), ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"], "in their order");
    // Last to first, and one by one.
    for (number, task) in all.iter().enumerate().rev() {
        let session = if [2, 7, 8, 9].contains(&number) { &b } else { &a };
        same!(settle(&**session, task, complete()).await?, Settled::Settled, "task {}", number + 1);
    }
    same!(counts(&*a, &q).await?, (0, 0, 0, 0), "the end");
    Ok(())
}

async fn what_is_given_back_stands_where_it_stood(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2", "3", "4", "5", "6"]).await?;
    let first = claim(&*a, &q, 3).await?.tasks;
    same!(settle(&*a, &first[1], End::Release).await?, Settled::Settled, "given back");
    let second = claim(&*a, &q, 2).await?.tasks;
    same!(names(&second), ["2", "4"], "before those that were never claimed");
    for task in [&second[1], &first[0], &second[0]] {
        same!(settle(&*a, task, End::Release).await?, Settled::Settled, "given back");
    }
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["1", "2", "4", "5", "6"], "all but the one that runs");
    Ok(())
}

async fn whoever_beats_keeps_its_own(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2", "3", "4", "5", "6"]).await?;
    let tasks = a.claim(&Claim::new(q.clone(), 6).with_lease(LEASE)).await?.tasks;
    let beats: Vec<Beat> = tasks.iter().map(|task| task.lease.clone().into()).collect();
    stage.advance(LEASE / 2).await;
    same!(a.beat(&beats, LEASE).await?, vec![Beaten::Kept; 6], "all of them");
    stage.advance(LEASE * 3 / 4).await;
    same!(names(&claim(&*b, &q, 9).await?.tasks), [] as [&str; 0], "all of them are kept");
    let told = Beat { progress: Some(Payload::encode(&50)?), ..beats[4].clone() };
    let some = [beats[1].clone(), beats[3].clone(), beats[1].clone(), told];
    same!(a.beat(&some, LEASE).await?, vec![Beaten::Kept; 4], "three of them, one twice");
    same!(b.beat(&[], LEASE).await?, [], "nobody else's");
    stage.advance(LEASE / 2).await;
    same!(names(&claim(&*b, &q, 9).await?.tasks), ["1", "3", "6"], "those that were not beaten");
    same!(a.beat(&beats[..2], LEASE).await?, [Beaten::Lost, Beaten::Kept], "one of another, one of its own");
    let late: Vec<_> = tasks.iter().map(|task| Settlement::new(task.lease.clone(), complete())).collect();
    let [lost, settled] = [Settled::Lost, Settled::Settled];
    same!(a.settle(&late).await?, [lost, settled, lost, settled, settled, lost], "who may end them");
    Ok(())
}

async fn all_of_a_lost_holder_come_back(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2", "3", "4", "5"]).await?;
    let victim = stage.session().await?;
    let mine = claim(&*a, &q, 1).await?.tasks;
    let lost = claim_and_die(stage, victim, &q, 3).await?;
    same!(names(&lost), ["2", "3", "4"], "what the victim held");
    let status = until(&*a, &q, "taken back", |status| status.leased == 1).await?;
    same!(status.ready, 4, "ready");
    let again = claim(&*a, &q, 9).await?.tasks;
    same!(names(&again), ["2", "3", "4", "5"], "in their order");
    same!(again.iter().map(|task| task.deaths).collect::<Vec<_>>(), [1, 1, 1, 0], "who lost a holder");
    same!(settle(&*a, &mine[0], complete()).await?, Settled::Settled, "the one of another holder");
    Ok(())
}

async fn one_is_cancelled(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let tasks = tasks(&q, &["1", "2", "3", "4", "5"])?;
    same!(a.enqueue(&tasks, None).await?, vec![Enqueued::Enqueued; 5], "an enqueue of five");
    let ids = ids(&tasks);
    let running = claim(&*a, &q, 2).await?.tasks;
    let answers = [Cancel::Asked, Cancel::Cancelled, Cancel::Cancelled];
    same!(b.cancel(&q, &[ids[1].clone(), ids[2].clone(), ids[4].clone()]).await?, answers, "one runs");
    let beats: Vec<Beat> = running.iter().map(|task| task.lease.clone().into()).collect();
    same!(a.beat(&beats, LEASE).await?, [Beaten::Kept, Beaten::Cancelled], "its holder is told");
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["4"], "what is left");
    same!(b.cancel(&q, &ids[2..3]).await?, [Cancel::Unknown], "it is gone");
    Ok(())
}

async fn they_are_there_only_once(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let tasks = tasks(&q, &["1", "2", "3", "4"])?;
    same!(a.enqueue(&tasks[..2], None).await?, vec![Enqueued::Enqueued; 2], "an enqueue of two");
    let answers = [Enqueued::Exists, Enqueued::Exists, Enqueued::Enqueued, Enqueued::Enqueued];
    same!(b.enqueue(&tasks, None).await?, answers, "with two more");
    same!(b.enqueue(&tasks[1..2], None).await?, [Enqueued::Exists], "one of them");
    same!(b.enqueue(&[tasks[0].clone(), tasks[0].clone()], None).await?, vec![Enqueued::Exists; 2], "twice");
    let claimed = claim(&*a, &q, 9).await?.tasks;
    same!(names(&claimed), ["1", "2", "3", "4"], "each once");
    same!(a.enqueue(&tasks, None).await?, vec![Enqueued::Exists; 4], "while they run");
    for task in &claimed {
        same!(settle(&*a, task, complete()).await?, Settled::Settled, "the end");
    }
    Ok(())
}

async fn as_many_as_fit_are_taken(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_capacity(5))).await?;
    enqueue(&*a, &q, &["1", "2"]).await?;
    let answers = a.enqueue(&tasks(&q, &["3", "4", "5", "6", "7"])?, None).await?;
    let [in_, full] = [Enqueued::Enqueued, Enqueued::Full];
    same!(answers, [in_.clone(), in_.clone(), in_, full.clone(), full], "three of five");
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["1", "2", "3", "4", "5"], "those that fit");
    Ok(())
}

async fn each_is_seen(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let name = |number: usize| format!("{number}");
    let names: Vec<String> = (0..7).map(name).collect();
    let many = tasks(&q, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    same!(a.enqueue(&many, None).await?, vec![Enqueued::Enqueued; 7], "an enqueue of seven");
    enqueue(&*a, &q, &["7"]).await?;
    let (ids, look) = (ids(&many), lookup(&*a)?);
    let held = claim(&*a, &q, 3).await?.tasks;
    same!(settle(&*a, &held[1], End::Release).await?, Settled::Settled, "given back");
    a.cancel(&q, &ids[4..5]).await?;

    let listed = async |state: State| {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = look.list(&q, state, after.as_ref(), 2).await?;
            found.extend(page.tasks.into_iter().map(|task| ids.iter().position(|id| *id == task.id)));
            let Some(next) = page.next else { return Ok::<_, crate::Error>(found) };
            after = Some(next);
        }
    };
    same!(listed(State::Ready).await?, [Some(1), Some(3), Some(5), Some(6), None], "what is ready");
    same!(listed(State::Leased).await?, [Some(0), Some(2)], "what is leased");
    let why = look.why(&q, &ids[6]).await?;
    holds!(matches!(&why, Why::Behind { ahead } if ahead.tasks == 3), "three are ahead: {why:?}");
    let task = look.get(&q, &ids[2]).await?.ok_or_else(|| super::Failure("it is not found".to_owned()))?;
    holds!(matches!(task.info.standing, Standing::Leased { by, .. } if by == a.incarnation()), "{task:?}");
    same!(task.payload.decode::<String>()?, "2", "the payload");
    same!(task.info.epoch, held[2].lease.epoch, "the epoch");
    let task = look.get(&q, &ids[6]).await?.ok_or_else(|| super::Failure("it is not found".to_owned()))?;
    same!((task.payload.as_str(), task.info.payload_bytes), ("\"6\"", 3), "the payload of another");
    same!(look.get(&q, &ids[4]).await?, None, "the one that was cancelled");
    let outcomes = a.outcomes(&q, &[ids[4].clone(), ids[5].clone(), ids[0].clone()]).await?;
    let pending = Ended::Pending { progress: None };
    same!(outcomes, [Ended::Unknown, pending.clone(), pending], "the outcomes");
    same!(look.purge(&q, &[State::Ready], 2).await?, 2, "a purge of two");
    same!(listed(State::Ready).await?, [Some(5), Some(6), None], "what is left");
    Ok(())
}
