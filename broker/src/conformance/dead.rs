//! Dead tasks, as an operator sees them.

use std::time::Duration;

use super::{Failure, Outcome, Stage, area, holds, same, support::*};
use crate::{
    Broker, Capabilities, DeadTask, End, Enqueued, QueueName, QueueOptions, Revived, Start, TaskId, Unique,
    capabilities::Operators, limits,
};

const LISTS: fn(&Capabilities) -> bool = |broker| broker.operators >= Operators::DeadLetters;
const COUNTS: fn(&Capabilities) -> bool = |broker| broker.operators == Operators::Counts;

area!("dead": they_are_listed_with_their_reasons if LISTS, what_went_wrong_is_listed if LISTS, a_long_history_is_cut if LISTS, a_revived_task_begins_anew if LISTS, a_revived_task_needs_room_and_its_key if LISTS, a_purged_task_is_gone if LISTS, they_are_kept_for_a_week if LISTS, others_are_unknown if LISTS, there_is_no_power_where_none_is_claimed if COUNTS);

/// Enqueues tasks under ids and buries them.
async fn bury(broker: &dyn Broker, queue: &QueueName, ids: &[&str]) -> Outcome {
    enqueue_ids(broker, queue, ids).await?;
    for task in claim(broker, queue, ids.len()).await?.tasks {
        settle(broker, &task, End::Bury { error: format!("no {}", name(&task)) }).await?;
    }
    Ok(())
}

async fn list(broker: &dyn Broker, queue: &QueueName) -> Result<Vec<DeadTask>, Failure> {
    Ok(dead_letters(broker)?.list(queue, None, limits::MAX_BATCH).await?)
}

fn ids(ids: &[&str]) -> crate::Result<Vec<TaskId>> {
    ids.iter().map(|id| TaskId::new(id)).collect()
}

async fn they_are_listed_with_their_reasons(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    same!(list(&*a, &q).await?.len(), 0, "the dead of a missing queue");
    enqueue_ids(&*a, &q, &["z"]).await?;
    for attempt in 0..limits::MAX_ATTEMPTS {
        let task = claim_soon(&*a, &q).await?;
        settle(&*a, &task, End::Retry { error: format!("failure {attempt}"), delay: Duration::ZERO }).await?;
    }
    bury(&*a, &q, &["c", "b", "a"]).await?;
    let dead = list(&*b, &q).await?;
    let found: Vec<_> =
        dead.iter().map(|task| (task.id.to_string(), task.error.as_str(), task.attempts)).collect();
    let expected = [("z", "failure 4", 5), ("c", "no c", 0), ("b", "no b", 0), ("a", "no a", 0)]
        .map(|(id, error, attempts)| (id.to_owned(), error, attempts));
    same!(found, expected, "in the order of their deaths");
    same!((dead[1].name.as_str(), dead[1].payload.as_str()), ("work", "\"c\""), "name and payload");
    let pages = dead_letters(&*b)?;
    let first = pages.list(&q, None, 3).await?;
    let rest = pages.list(&q, Some(first[2].mark), 3).await?;
    same!([first, rest].concat(), dead, "the same in two pages");
    Ok(())
}

/// What is said of a process that did not end its lease.
const LOST: &str = "the process that held it died, or its lease ran out";

async fn what_went_wrong_is_listed(stage: &dyn Stage) -> Outcome {
    let (a, victim, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1"]).await?;
    settle(&*a, &claim_one(&*a, &q).await?, retry(Duration::from_secs(7))).await?;
    stage.advance(Duration::from_secs(7)).await;
    claim_and_die(stage, victim, &q, 1).await?;
    let task = claim_soon(&*a, &q).await?;
    settle(&*a, &task, End::Release).await?;
    let task = claim_soon(&*a, &q).await?;
    settle(&*a, &task, End::Park).await?;
    stage.advance(Duration::from_secs(5)).await;
    settle(&*a, &claim_one(&*a, &q).await?, End::Bury { error: "it is no image".to_owned() }).await?;
    let dead = list(&*a, &q).await?.remove(0);
    let errors: Vec<_> = dead.history.iter().map(|failure| failure.error.as_str()).collect();
    same!(
        errors,
        ["it failed", LOST, "it is no image"],
        "what went wrong; releases and parking are no failures"
    );
    let times: Vec<_> = dead.history.iter().map(|failure| failure.at).collect();
    holds!(
        times.is_sorted() && times[2] == dead.died,
        "the times {times:?} of one that died {:?}",
        dead.died
    );
    let between = times[1].duration_since(times[0]).unwrap_or_default();
    holds!(between >= Duration::from_secs(7), "{between:?} between the first two");
    dead_letters(&*a)?.revive(&q, &ids(&["1"])?).await?;
    settle(&*a, &claim_one(&*a, &q).await?, End::Bury { error: "again".to_owned() }).await?;
    let history = list(&*a, &q).await?.remove(0).history;
    same!(history.len(), 4, "what is listed of one that was revived, and died again");
    same!(history[3].error, "again", "its last failure");
    Ok(())
}

async fn a_long_history_is_cut(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let attempts = limits::MAX_HISTORY as u32 + 2;
    a.enqueue(&[with_ids(&q, &["1"])?.remove(0).with_max_attempts(attempts)], None).await?;
    for attempt in 1..=attempts {
        let task = claim_soon(&*a, &q).await?;
        // Two bytes each, so that the cut falls between two of them, or would fall into one.
        let error = format!("{attempt} {}", "ä".repeat(limits::MAX_HISTORY_ERROR));
        settle(&*a, &task, End::Retry { error, delay: Duration::ZERO }).await?;
    }
    let dead = list(&*a, &q).await?.remove(0);
    let began: Vec<_> = dead.history.iter().map(|failure| failure.error.split_once(' ')).collect();
    let numbers: Vec<_> =
        began.iter().flatten().filter_map(|(number, _)| number.parse::<u32>().ok()).collect();
    same!(numbers, (3..=attempts).collect::<Vec<_>>(), "the last ones, the oldest first");
    let longest = dead.history.iter().map(|failure| failure.error.len()).max().unwrap_or_default();
    same!(longest, limits::MAX_HISTORY_ERROR, "the length of the longest, whole characters");
    same!(
        dead.error.len(),
        attempts.to_string().len() + 1 + 2 * limits::MAX_HISTORY_ERROR,
        "the last error, as a whole"
    );
    Ok(())
}

async fn a_revived_task_begins_anew(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let doomed = with_ids(&q, &["1"])?.remove(0).with_max_attempts(1);
    a.enqueue(&[doomed], None).await?;
    let first = claim_one(&*a, &q).await?;
    settle(&*a, &first, retry(Duration::ZERO)).await?;
    enqueue(&*a, &q, &["2"]).await?;
    same!(dead_letters(&*b)?.revive(&q, &ids(&["1"])?).await?, [Revived::Revived], "reviving");
    same!(counts(&*a, &q).await?, (2, 0, 0, 0), "the queue after that");
    let claimed = claim(&*a, &q, 9).await?.tasks;
    same!(names(&claimed), ["2", "1"], "the revived task is the last");
    same!((claimed[1].attempts, claimed[1].crashes), (0, 0), "attempts and crashes");
    holds!(claimed[1].lease.epoch > first.lease.epoch, "the epoch went on");
    same!(dead_letters(&*b)?.revive(&q, &ids(&["1"])?).await?, [Revived::Unknown], "reviving again");
    Ok(())
}

async fn a_revived_task_needs_room_and_its_key(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_capacity(1))).await?;
    let unique = || Unique::and_for("k", Duration::from_secs(600));
    let first = with_ids(&q, &["1"])?.remove(0).with_unique(unique()?);
    a.enqueue(&[first], None).await?;
    settle(&*a, &claim_one(&*a, &q).await?, End::Bury { error: "no".to_owned() }).await?;
    let revive = async || dead_letters(&*a)?.revive(&q, &ids(&["1"])?).await.map_err(Failure::from);
    enqueue_ids(&*a, &q, &["2"]).await?;
    same!(revive().await?, [Revived::Full], "into a full queue");
    settle(&*a, &claim_one(&*a, &q).await?, complete()).await?;
    // Its own key is still held for it.
    same!(revive().await?, [Revived::Revived], "when there is room");
    settle(&*a, &claim_one(&*a, &q).await?, End::Bury { error: "no".to_owned() }).await?;
    stage.advance(Duration::from_secs(601)).await;
    let other = with_ids(&q, &["3"])?.remove(0).with_unique(unique()?);
    same!(a.enqueue(&[other], None).await?, [Enqueued::Enqueued], "another task with the key");
    same!(revive().await?, [Revived::Duplicate(TaskId::new("3")?)], "when another one has the key");
    same!(counts(&*a, &q).await?, (1, 0, 0, 1), "the queue after that");
    Ok(())
}

async fn a_purged_task_is_gone(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    bury(&*a, &q, &["1", "2", "3"]).await?;
    let purged = dead_letters(&*a)?.purge(&q, &ids(&["2", "2", "4"])?).await?;
    same!(purged, [true, false, false], "one of them, the same again, and one that never was");
    let left: Vec<_> = list(&*a, &q).await?.iter().map(|task| task.id.to_string()).collect();
    same!(left, ["1", "3"], "who is left");
    same!(counts(&*a, &q).await?, (0, 0, 0, 2), "the queue after that");
    same!(a.enqueue(&with_ids(&q, &["2"])?, None).await?, [Enqueued::Enqueued], "its id is free");
    Ok(())
}

async fn they_are_kept_for_a_week(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    bury(&*a, &q, &["1"]).await?;
    stage.advance(Duration::from_secs(4 * 86_400)).await;
    bury(&*a, &q, &["2"]).await?;
    stage.advance(Duration::from_secs(4 * 86_400)).await;
    claim(&*a, &q, 1).await?;
    let left: Vec<_> = list(&*a, &q).await?.iter().map(|task| task.id.to_string()).collect();
    same!(left, ["2"], "who is left after eight days");
    Ok(())
}

async fn others_are_unknown(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let power = dead_letters(&*a)?;
    same!(power.revive(&q, &ids(&["1"])?).await?, [Revived::Unknown], "a missing queue");
    same!(power.purge(&q, &ids(&["1"])?).await?, [false], "a missing queue");
    same!(a.status(&q).await?, None, "the missing queue after that");
    enqueue_ids(&*a, &q, &["1", "2", "3"]).await?;
    claim_one(&*a, &q).await?;
    let later = Start::After(Duration::from_secs(60));
    a.enqueue(&[with_ids(&q, &["4"])?.remove(0).with_start(later)], None).await?;
    same!(power.revive(&q, &ids(&["1", "2", "4"])?).await?, vec![Revived::Unknown; 3], "those not dead");
    same!(power.purge(&q, &ids(&["1", "2", "4"])?).await?, [false; 3], "those not dead");
    same!(counts(&*a, &q).await?, (2, 1, 1, 0), "the queue after that");
    Ok(())
}

async fn there_is_no_power_where_none_is_claimed(stage: &dyn Stage) -> Outcome {
    holds!(stage.session().await?.dead_letters().is_none(), "a power over dead tasks that was not claimed");
    Ok(())
}
