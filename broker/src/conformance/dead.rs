//! Dead tasks, as an operator sees them.

use std::time::Duration;

use super::{Failure, Outcome, Stage, area, holds, same, support::*};
use crate::{
    Broker, Capabilities, DeadTask, End, Enqueued, QueueName, QueueOptions, Revived, Start, TaskId, Unique,
    capabilities::{Ids, Operators},
    limits,
};

const LISTS: fn(&Capabilities) -> bool = |broker| broker.operators >= Operators::DeadOneByOne;
const KNOWS: fn(&Capabilities) -> bool = |broker| broker.operators >= Operators::DeadLetters;
const SOME: fn(&Capabilities) -> bool = |broker| broker.operators == Operators::DeadOneByOne;
const COUNTS: fn(&Capabilities) -> bool = |broker| broker.operators == Operators::Counts;

area!("dead": they_are_listed_with_their_reasons if LISTS, looking_changes_nothing if LISTS, those_who_look_at_once_see_all if LISTS, what_went_wrong_is_listed if KNOWS, what_handlers_said_is_listed if SOME, a_long_history_is_cut if LISTS, a_revived_task_begins_anew if LISTS, a_revived_task_needs_room if LISTS, a_revived_task_needs_its_key if KNOWS, each_is_revived_once if LISTS, a_purged_task_is_gone if LISTS, they_are_kept_for_a_week if KNOWS, others_are_unknown if LISTS, there_is_no_power_where_none_is_claimed if COUNTS);

/// Enqueues tasks and buries them, in this order; returns their ids.
async fn bury(broker: &dyn Broker, queue: &QueueName, names: &[&str]) -> Result<Vec<TaskId>, Failure> {
    let sent = send(broker, queue, names).await?;
    for task in claim(broker, queue, names.len()).await?.tasks {
        settle(broker, &task, End::Bury { error: format!("no {}", name(&task)) }).await?;
    }
    Ok(sent)
}

/// Enqueues tasks and returns their ids, which are not given where none can be.
async fn send(broker: &dyn Broker, queue: &QueueName, names: &[&str]) -> Result<Vec<TaskId>, Failure> {
    let tasks = tasks(queue, names)?;
    let ids = tasks.iter().map(|task| task.id.clone()).collect();
    same!(broker.enqueue(&tasks, None).await?, vec![Enqueued::Enqueued; names.len()], "enqueue of {names:?}");
    Ok(ids)
}

async fn list(broker: &dyn Broker, queue: &QueueName) -> Result<Vec<DeadTask>, Failure> {
    Ok(dead_letters(broker)?.list(queue, None, limits::MAX_BATCH).await?)
}

/// The payloads of dead tasks, which are their names in the case.
async fn listed(broker: &dyn Broker, queue: &QueueName) -> Result<Vec<String>, Failure> {
    let dead = list(broker, queue).await?;
    Ok(dead.iter().map(|task| task.payload.as_str().trim_matches('"').to_owned()).collect())
}

async fn they_are_listed_with_their_reasons(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    same!(list(&*a, &q).await?.len(), 0, "the dead of a missing queue");
    let mut ids = send(&*a, &q, &["z"]).await?;
    for attempt in 0..limits::MAX_ATTEMPTS {
        let task = claim_soon(&*a, &q).await?;
        settle(&*a, &task, End::Retry { error: format!("failure {attempt}"), delay: Duration::ZERO }).await?;
    }
    ids.extend(bury(&*a, &q, &["c", "b", "a"]).await?);
    let dead = list(&*b, &q).await?;
    let found: Vec<_> = dead
        .iter()
        .map(|task| (task.id.clone(), task.payload.as_str(), task.error.as_str(), task.attempts))
        .collect();
    let said = [("\"z\"", "failure 4", 5), ("\"c\"", "no c", 0), ("\"b\"", "no b", 0), ("\"a\"", "no a", 0)];
    let expected: Vec<_> = ids
        .into_iter()
        .zip(said)
        .map(|(id, (payload, error, attempts))| (id, payload, error, attempts))
        .collect();
    same!(found, expected, "in the order of their deaths");
    same!(dead[1].name.as_str(), "work", "the name");
    holds!(dead.is_sorted_by(|one, next| one.mark < next.mark), "the marks of {dead:?}");
    let pages = dead_letters(&*b)?;
    let first = pages.list(&q, None, 3).await?;
    let rest = pages.list(&q, Some(first[2].mark), 3).await?;
    same!([first, rest].concat(), dead, "the same in two pages");
    Ok(())
}

async fn looking_changes_nothing(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    bury(&*a, &q, &["1", "2", "3", "4"]).await?;
    let dead = list(&*a, &q).await?;
    for _ in 0..5 {
        same!(counts(&*a, &q).await?, (0, 0, 0, 4), "the queue while it is looked at");
        same!(list(&*b, &q).await?, dead, "what is listed again");
        same!(dead_letters(&*b)?.list(&q, Some(dead[1].mark), 1).await?, dead[2..3], "a part of it");
    }
    bury(&*b, &q, &["5"]).await?;
    same!(listed(&*a, &q).await?, ["1", "2", "3", "4", "5"], "with one that died since");
    Ok(())
}

async fn those_who_look_at_once_see_all(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let names: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let ids = bury(&*a, &q, &names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let look = async |broker: &dyn Broker| -> Outcome {
        for _ in 0..5 {
            same!(listed(broker, &q).await?, names, "what one of them sees");
        }
        Ok(())
    };
    let (one, other, same_session) = tokio::join!(look(&*a), look(&*b), look(&*b));
    one.and(other).and(same_session)?;
    let (purged, listed) = tokio::join!(
        async { dead_letters(&*a)?.purge(&q, &ids[..20]).await.map_err(Failure::from) },
        list(&*b, &q)
    );
    same!(purged?, vec![true; 20], "purging while somebody looks");
    let left = listed?.len();
    holds!(left == 40 || left == 20, "{left} of 40 while 20 are purged in one step");
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
    dead_letters(&*a)?.revive(&q, &[TaskId::new("1")?]).await?;
    settle(&*a, &claim_one(&*a, &q).await?, End::Bury { error: "again".to_owned() }).await?;
    let history = list(&*a, &q).await?.remove(0).history;
    same!(history.len(), 4, "what is listed of one that was revived, and died again");
    same!(history[3].error, "again", "its last failure");
    Ok(())
}

/// Where nobody stores what became of a lease that was lost.
async fn what_handlers_said_is_listed(stage: &dyn Stage) -> Outcome {
    let (a, victim, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let ids = send(&*a, &q, &["1"]).await?;
    settle(&*a, &claim_one(&*a, &q).await?, retry(Duration::ZERO)).await?;
    claim_and_die(stage, victim, &q, 1).await?;
    stage.advance(Duration::from_secs(7)).await;
    settle(&*a, &claim_soon(&*a, &q).await?, End::Bury { error: "it is no image".to_owned() }).await?;
    let dead = list(&*a, &q).await?.remove(0);
    let errors: Vec<_> = dead.history.iter().map(|failure| failure.error.as_str()).collect();
    same!(errors, ["it failed", "it is no image"], "what went wrong");
    let between = dead.history[1].at.duration_since(dead.history[0].at).unwrap_or_default();
    holds!(between >= Duration::from_secs(7), "{between:?} between the two");
    same!(dead.history[1].at, dead.died, "when it died");
    dead_letters(&*a)?.revive(&q, &ids).await?;
    settle(&*a, &claim_one(&*a, &q).await?, End::Bury { error: "again".to_owned() }).await?;
    let history = list(&*a, &q).await?.remove(0).history;
    same!(history.len(), 3, "what is listed of one that was revived, and died again");
    same!(history[2].error, "again", "its last failure");
    Ok(())
}

async fn a_long_history_is_cut(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let attempts = limits::MAX_HISTORY as u32 + 2;
    a.enqueue(&[task(&q, "1")?.with_max_attempts(attempts)], None).await?;
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
    let doomed = task(&q, "1")?.with_max_attempts(1);
    let id = [doomed.id.clone()];
    a.enqueue(&[doomed], None).await?;
    let first = claim_one(&*a, &q).await?;
    settle(&*a, &first, retry(Duration::ZERO)).await?;
    enqueue(&*a, &q, &["2"]).await?;
    same!(dead_letters(&*b)?.revive(&q, &id).await?, [Revived::Revived], "reviving");
    same!(counts(&*a, &q).await?, (2, 0, 0, 0), "the queue after that");
    let claimed = claim(&*a, &q, 9).await?.tasks;
    same!(names(&claimed), ["2", "1"], "the revived task is the last");
    same!((claimed[1].attempts, claimed[1].crashes, claimed[1].deaths), (0, 0, 0), "attempts and crashes");
    holds!(claimed[1].lease.epoch > first.lease.epoch, "the epoch went on");
    same!(dead_letters(&*b)?.revive(&q, &id).await?, [Revived::Unknown], "reviving again");
    Ok(())
}

async fn a_revived_task_needs_room(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&QueueOptions::default().with_capacity(2))).await?;
    let dead = bury(&*a, &q, &["1", "2"]).await?;
    enqueue(&*a, &q, &["3"]).await?;
    let revive = async || dead_letters(&*a)?.revive(&q, &dead).await.map_err(Failure::from);
    same!(revive().await?, [Revived::Revived, Revived::Full], "two, where there is room for one");
    same!(counts(&*a, &q).await?, (2, 0, 0, 1), "the queue after that");
    same!(revive().await?, [Revived::Unknown, Revived::Full], "the same again");
    for task in claim(&*a, &q, 2).await?.tasks {
        settle(&*a, &task, complete()).await?;
    }
    same!(revive().await?, [Revived::Unknown, Revived::Revived], "when there is room");
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["2"], "who is ready then");
    Ok(())
}

async fn a_revived_task_needs_its_key(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let unique = || Unique::and_for("k", Duration::from_secs(600));
    let first = task(&q, "1")?.with_unique(unique()?);
    let id = [first.id.clone()];
    a.enqueue(&[first], None).await?;
    settle(&*a, &claim_one(&*a, &q).await?, End::Bury { error: "no".to_owned() }).await?;
    let revive = async || dead_letters(&*a)?.revive(&q, &id).await.map_err(Failure::from);
    // Its own key is still held for it.
    same!(revive().await?, [Revived::Revived], "while its key is held for it");
    settle(&*a, &claim_one(&*a, &q).await?, End::Bury { error: "no".to_owned() }).await?;
    stage.advance(Duration::from_secs(601)).await;
    let other = task(&q, "3")?.with_unique(unique()?);
    let holder = other.id.clone();
    same!(a.enqueue(&[other], None).await?, [Enqueued::Enqueued], "another task with the key");
    same!(revive().await?, [Revived::Duplicate(holder)], "when another one has the key");
    same!(counts(&*a, &q).await?, (1, 0, 0, 1), "the queue after that");
    Ok(())
}

/// By two operators at once, and by one who names it twice.
async fn each_is_revived_once(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let mut ids = bury(&*a, &q, &["1", "2", "3"]).await?;
    ids.push(ids[0].clone());
    let revive =
        async |broker: &dyn Broker| dead_letters(broker)?.revive(&q, &ids).await.map_err(Failure::from);
    let (one, other) = tokio::join!(revive(&*a), revive(&*b));
    let revived = [one?, other?].concat().iter().filter(|answer| **answer == Revived::Revived).count();
    same!(revived, 3, "how often one was revived, by both");
    same!(counts(&*a, &q).await?, (3, 0, 0, 0), "the queue after that");
    Ok(())
}

async fn a_purged_task_is_gone(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let ids = bury(&*a, &q, &["1", "2", "3"]).await?;
    let never = TaskId::generate();
    let purged = dead_letters(&*a)?.purge(&q, &[ids[1].clone(), ids[1].clone(), never]).await?;
    same!(purged, [true, false, false], "one of them, the same again, and one that never was");
    same!(listed(&*a, &q).await?, ["1", "3"], "who is left");
    same!(counts(&*a, &q).await?, (0, 0, 0, 2), "the queue after that");
    if a.capabilities().ids == Ids::Remembered {
        let again = task(&q, "2")?.with_id(ids[1].clone());
        same!(a.enqueue(&[again], None).await?, [Enqueued::Enqueued], "its id is free");
    }
    Ok(())
}

async fn they_are_kept_for_a_week(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    bury(&*a, &q, &["1"]).await?;
    stage.advance(Duration::from_secs(4 * 86_400)).await;
    bury(&*a, &q, &["2"]).await?;
    stage.advance(Duration::from_secs(4 * 86_400)).await;
    claim(&*a, &q, 1).await?;
    same!(listed(&*a, &q).await?, ["2"], "who is left after eight days");
    Ok(())
}

async fn others_are_unknown(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let (power, never) = (dead_letters(&*a)?, [TaskId::generate()]);
    same!(power.revive(&q, &never).await?, [Revived::Unknown], "a missing queue");
    same!(power.purge(&q, &never).await?, [false], "a missing queue");
    same!(a.status(&q).await?, None, "the missing queue after that");
    let mut ids = send(&*a, &q, &["1", "2", "3"]).await?;
    claim_one(&*a, &q).await?;
    let later = task(&q, "4")?.with_start(Start::After(Duration::from_secs(60)));
    ids.push(later.id.clone());
    a.enqueue(&[later], None).await?;
    same!(power.revive(&q, &ids).await?, vec![Revived::Unknown; 4], "those not dead");
    same!(power.purge(&q, &ids).await?, [false; 4], "those not dead");
    same!(counts(&*a, &q).await?, (2, 1, 1, 0), "the queue after that");
    Ok(())
}

async fn there_is_no_power_where_none_is_claimed(stage: &dyn Stage) -> Outcome {
    holds!(stage.session().await?.dead_letters().is_none(), "a power over dead tasks that was not claimed");
    Ok(())
}
