//! Single tasks, as an operator sees them: `get`, `list` and `why`, and the names of the queues.

use std::time::Duration;

use super::{Failure, Outcome, Stage, area, holds, same, support::*};
use crate::{
    Ahead, Beat, Broker, Capabilities, End, Incarnation, LimitKey, Lookup, NewTask, Payload, QueueName,
    QueueOptions, Standing, Start, State, TaskDetail, TaskId, Unique, Wanted, Why, capabilities::Operators,
    limits,
};

const LOOKS: fn(&Capabilities) -> bool = |broker| broker.operators >= Operators::All;
const BLIND: fn(&Capabilities) -> bool = |broker| broker.operators < Operators::All;

area!("lookup": queues_are_listed_by_name, a_task_is_shown_with_all_that_it_asked_for if LOOKS, what_happened_to_a_task_is_shown if LOOKS, tasks_are_listed_in_their_order if LOOKS, lifo_and_priorities_are_listed_in_their_order if LOOKS, long_lists_come_in_pages if LOOKS, why_a_task_waits if LOOKS, how_many_are_ahead_is_counted_so_far if LOOKS, the_process_behind_a_lease_is_told if LOOKS, why_a_key_is_waited_for if LOOKS, why_a_task_is_over if LOOKS, looking_changes_nothing if LOOKS, there_is_no_power_where_none_is_claimed if BLIND);

/// The power over single tasks, which must be there.
pub(super) fn lookup(broker: &dyn Broker) -> Result<&dyn Lookup, Failure> {
    broker.lookup().ok_or_else(|| Failure("there is no power over single tasks".to_owned()))
}

fn id(id: &str) -> crate::Result<TaskId> {
    TaskId::new(id)
}

fn given(queue: &QueueName, name: &str) -> crate::Result<NewTask> {
    Ok(task(queue, name)?.with_id(id(name)?))
}

async fn get(broker: &dyn Broker, queue: &QueueName, name: &str) -> Result<TaskDetail, Failure> {
    let found = lookup(broker)?.get(queue, &id(name)?).await?;
    found.ok_or_else(|| Failure(format!("task {name} is not found")))
}

async fn listed(broker: &dyn Broker, queue: &QueueName, state: State) -> Result<Vec<String>, Failure> {
    let page = lookup(broker)?.list(queue, state, None, limits::MAX_BATCH).await?;
    Ok(page.tasks.into_iter().map(|task| task.id.to_string()).collect())
}

async fn why(broker: &dyn Broker, queue: &QueueName, name: &str) -> Result<Why, Failure> {
    Ok(lookup(broker)?.why(queue, &id(name)?).await?)
}

const fn exactly(tasks: u64) -> Ahead {
    Ahead { tasks, more: false }
}

async fn queues_are_listed_by_name(stage: &dyn Stage) -> Outcome {
    let (a, b) = (stage.session().await?, stage.session().await?);
    same!(b.queues(None, 9).await?, [], "the queues of an empty namespace");
    for name in ["b", "a.2", "c", "a"] {
        enqueue(&*a, &queue(name)?, &["task"]).await?;
    }
    let names = |names: &[&str]| names.iter().map(|name| queue(name)).collect::<crate::Result<Vec<_>>>();
    same!(b.queues(None, 9).await?, names(&["a", "a.2", "b", "c"])?, "all queues");
    same!(b.queues(Some(&queue("a")?), 2).await?, names(&["a.2", "b"])?, "two after the first");
    same!(b.queues(Some(&queue("c")?), 2).await?, [], "what follows the last");
    let max = limits::MAX_BATCH + 1;
    holds!(b.queues(None, max).await.is_err() && b.queues(None, 0).await.is_err(), "a page has bounds");
    Ok(())
}

async fn a_task_is_shown_with_all_that_it_asked_for(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let options = QueueOptions::default().with_order(crate::Order::Priority).with_key_limit(3);
    a.declare(&q, Some(&options)).await?;
    let unique = Unique::and_for("u", Duration::from_secs(7))?;
    let task = given(&q, "all")?
        .with_priority(-4)
        .with_max_attempts(2)
        .with_start(Start::After(Duration::from_secs(60)))
        .with_expires(Duration::from_secs(90))
        .with_unique(unique.clone())
        .with_key(LimitKey::new("example.org")?)
        .in_batch(crate::BatchName::new("films")?)
        .with_result(Wanted::Keep(Duration::from_secs(5)));
    a.enqueue(std::slice::from_ref(&task), None).await?;
    let TaskDetail { info, payload, progress, history } = get(&*b, &q, "all").await?;
    same!(payload, task.payload, "the payload");
    same!((progress, history.len()), (None, 0), "progress and history");
    same!((info.id, info.name, info.id_given), (task.id, task.name, true), "id and name");
    let Standing::Scheduled { due, left } = info.standing else {
        return Err(Failure(format!("scheduled, but {:?}", info.standing)));
    };
    same!(left, Duration::from_secs(60), "how long it is put off");
    let expires = info.expires.and_then(|expires| expires.duration_since(due).ok());
    same!(expires, Some(Duration::from_secs(30)), "how long after that it expires");
    same!(info.priority, Some(-4), "priority");
    same!((info.attempts, info.max_attempts, info.crashes, info.max_crashes), (0, 2, 0, 3), "counters");
    same!((info.unique, info.result), (Some(unique), task.result), "unique key and result");
    same!((info.key, info.batch), (task.key, task.batch), "key and batch");
    same!((info.epoch, info.error, info.parked_since), (0, None, None), "what has not happened yet");
    same!(info.payload_bytes, "\"all\"".len(), "the size of the payload");
    same!(lookup(&*b)?.get(&q, &id("other")?).await?, None, "a task that never was");
    same!(lookup(&*b)?.get(&queue("none")?, &id("all")?).await?, None, "a queue that never was");
    Ok(())
}

async fn what_happened_to_a_task_is_shown(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let plain = given(&q, "1")?.with_expires(Duration::from_secs(10));
    a.enqueue(&[plain], None).await?;
    same!(get(&*b, &q, "1").await?.info.priority, None, "the priority in a queue without priorities");
    let task = claim_one(&*a, &q).await?;
    stage.advance(Duration::from_secs(5)).await;
    let told = Payload::encode(&7)?;
    let beat = Beat { lease: task.lease.clone(), progress: Some(told.clone()) };
    a.beat(&[beat], limits::LEASE).await?;
    stage.advance(Duration::from_secs(10)).await;
    let TaskDetail { info, progress, .. } = get(&*b, &q, "1").await?;
    let left = limits::LEASE - Duration::from_secs(10);
    let standing = Standing::Leased { by: a.incarnation(), left, cancelled: false };
    same!((&info.standing, info.epoch), (&standing, task.lease.epoch), "the lease");
    same!((info.expires, progress), (None, Some(told)), "a claimed task does not expire; its progress");
    b.cancel(&q, &[id("1")?]).await?;
    let cancelled = |standing: &Standing| matches!(standing, Standing::Leased { cancelled: true, .. });
    holds!(cancelled(&get(&*b, &q, "1").await?.info.standing), "a cancelled one says so");
    enqueue_ids(&*a, &q, &["2"]).await?;
    let failed = claim_one(&*a, &q).await?;
    settle(&*a, &failed, retry(Duration::from_secs(8))).await?;
    let TaskDetail { info, progress, history, .. } = get(&*b, &q, "2").await?;
    same!((info.attempts, info.error.as_deref()), (1, Some("it failed")), "after a failure");
    same!(history.iter().map(|f| f.error.as_str()).collect::<Vec<_>>(), ["it failed"], "its history");
    holds!(
        matches!(info.standing, Standing::Scheduled { left, .. } if left == Duration::from_secs(8)),
        "{info:?}"
    );
    same!(progress, None, "its progress");
    enqueue_ids(&*a, &q, &["3"]).await?;
    let bad = claim_one(&*a, &q).await?;
    settle(&*a, &bad, End::Bury { error: "no".to_owned() }).await?;
    let info = get(&*b, &q, "3").await?.info;
    holds!(matches!(info.standing, Standing::Dead { .. }), "{info:?}");
    same!(info.error.as_deref(), Some("no"), "why it is dead");
    Ok(())
}

async fn tasks_are_listed_in_their_order(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    for state in State::ALL {
        same!(listed(&*b, &q, state).await?.len(), 0, "what is {state} in a missing queue");
    }
    enqueue_ids(&*a, &q, &["1", "2", "3", "4", "5", "6"]).await?;
    for (id, secs) in [("late", 9), ("soon", 3)] {
        let task = given(&q, id)?.with_start(Start::After(Duration::from_secs(secs)));
        a.enqueue(&[task], None).await?;
    }
    let first = claim(&*a, &q, 4).await?.tasks;
    settle(&*a, &first[2], End::Bury { error: "no".to_owned() }).await?;
    settle(&*a, &first[1], End::Bury { error: "no".to_owned() }).await?;
    settle(&*a, &first[3], End::Release).await?;
    b.cancel(&q, &[id("5")?]).await?;
    same!(listed(&*b, &q, State::Ready).await?, ["4", "6"], "what was given back goes first");
    same!(listed(&*b, &q, State::Scheduled).await?, ["soon", "late"], "by due time");
    same!(listed(&*b, &q, State::Leased).await?, ["1"], "what is leased");
    same!(listed(&*b, &q, State::Dead).await?, ["3", "2"], "in the order of death");
    same!(listed(&*b, &q, State::Held).await?.len(), 0, "nothing is held");
    Ok(())
}

async fn lifo_and_priorities_are_listed_in_their_order(stage: &dyn Stage) -> Outcome {
    let a = stage.session().await?;
    let (lifo, priority) = (queue("lifo")?, queue("priority")?);
    a.declare(&lifo, Some(&QueueOptions::default().with_order(crate::Order::Lifo))).await?;
    a.declare(&priority, Some(&QueueOptions::default().with_order(crate::Order::Priority))).await?;
    enqueue_ids(&*a, &lifo, &["1", "2", "3"]).await?;
    let last = claim_one(&*a, &lifo).await?;
    enqueue_ids(&*a, &lifo, &["4"]).await?;
    settle(&*a, &last, End::Release).await?;
    same!(listed(&*a, &lifo, State::Ready).await?, ["3", "4", "2", "1"], "lifo, one given back");
    let ranked = [("a", 5), ("b", -1), ("c", 5), ("d", 0)];
    for (id, rank) in ranked {
        a.enqueue(&[given(&priority, id)?.with_priority(rank)], None).await?;
    }
    same!(listed(&*a, &priority, State::Ready).await?, ["b", "d", "a", "c"], "by priority");
    for q in [&lifo, &priority] {
        let wanted = listed(&*a, q, State::Ready).await?;
        let power = lookup(&*a)?;
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = power.list(q, State::Ready, after.as_ref(), 1).await?;
            found.extend(page.tasks.iter().map(|task| task.id.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        same!(found, wanted, "the same of {q}, one by one");
    }
    Ok(())
}

async fn long_lists_come_in_pages(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let ids: Vec<String> = (0..300).map(|number| format!("{number:03}")).collect();
    for ids in ids.chunks(100) {
        enqueue_ids(&*a, &q, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    }
    // Some go in the middle, and the place where a page ended is one of them.
    let power = lookup(&*a)?;
    let first = power.list(&q, State::Ready, None, 100).await?;
    a.cancel(&q, &[id("099")?, id("101")?]).await?;
    let rest = power.list(&q, State::Ready, first.next.as_ref(), limits::MAX_BATCH).await?;
    let found: Vec<String> = first.tasks.iter().chain(&rest.tasks).map(|task| task.id.to_string()).collect();
    let wanted: Vec<String> = ids.into_iter().filter(|id| id != "101").collect();
    same!(found, wanted, "two pages");
    let answer = power.list(&q, State::Ready, None, limits::MAX_BATCH + 1).await;
    refused(answer, crate::ErrorKind::Invalid)?;
    Ok(())
}

async fn how_many_are_ahead_is_counted_so_far(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let (mut left, most) = (usize::try_from(limits::MAX_AHEAD).unwrap_or_default(), limits::MAX_BATCH);
    while left > 0 {
        let count = left.min(most);
        let many: Vec<NewTask> = (0..count).map(|_| task(&q, "many")).collect::<crate::Result<_>>()?;
        a.enqueue(&many, None).await?;
        left -= count;
    }
    enqueue_ids(&*a, &q, &["next", "last"]).await?;
    claim_one(&*a, &q).await?;
    let ahead = Ahead { tasks: limits::MAX_AHEAD, more: true };
    same!(
        why(&*a, &q, "next").await?,
        Why::Behind { ahead: exactly(limits::MAX_AHEAD - 1) },
        "the last that is counted"
    );
    same!(why(&*a, &q, "last").await?, Why::Behind { ahead }, "one more");
    Ok(())
}

async fn why_a_task_waits(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    same!(why(&*b, &q, "1").await?, Why::Unknown, "a task of a missing queue");
    enqueue_ids(&*a, &q, &["1", "2", "3"]).await?;
    same!(why(&*b, &q, "1").await?, Why::Behind { ahead: exactly(0) }, "the next one");
    same!(why(&*b, &q, "3").await?, Why::Behind { ahead: exactly(2) }, "the last one");
    same!(why(&*b, &q, "4").await?, Why::Unknown, "a task that never was");
    a.pause(&q, "operator@host").await?;
    let pause = a.status(&q).await?.and_then(|status| status.pause);
    holds!(pause.is_some(), "it is not told who paused it");
    same!(why(&*b, &q, "2").await?, Why::Paused { pause, ahead: exactly(1) }, "in a paused queue");
    a.resume(&q).await?;
    let many: Vec<String> = (0..limits::MAX_BATCH).map(|number| format!("m{number}")).collect();
    enqueue_ids(&*a, &q, &many.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    same!(why(&*b, &q, "m255").await?, Why::Behind { ahead: exactly(258) }, "far behind");
    let later = given(&q, "later")?.with_start(Start::After(Duration::from_secs(240)));
    let short = given(&q, "short")?.with_expires(Duration::from_secs(1));
    a.enqueue(&[later, short], None).await?;
    holds!(
        matches!(why(&*b, &q, "later").await?, Why::Due { left, .. } if left == Duration::from_secs(240)),
        "one that starts later"
    );
    stage.advance(Duration::from_secs(1)).await;
    holds!(matches!(why(&*b, &q, "short").await?, Why::Expired { .. }), "one whose time is over");
    let task = claim_one(&*a, &q).await?;
    same!(name(&task), "1", "what a claim gets");
    let leased = |left| Why::Leased { by: a.incarnation(), left, cancelled: false, progress: None };
    same!(why(&*b, &q, "1").await?, leased(limits::LEASE), "one that runs");
    settle(&*a, &task, End::Park).await?;
    let parked = why(&*b, &q, "1").await?;
    holds!(
        matches!(parked, Why::Parked { left, .. } if left == Duration::from_secs(1)),
        "parked: {parked:?}"
    );
    // Two deaths in a row, and nothing else: it may run alone only.
    for _ in 0..2 {
        let claimed = claim_one(&*a, &q).await?;
        same!(name(&claimed), "2", "what is claimed");
        stage.advance(limits::LEASE).await;
        until(&*a, &q, "taken back", |status| status.leased == 0).await?;
    }
    same!(why(&*b, &q, "2").await?, Why::Alone { ahead: exactly(0) }, "one that must run alone");
    holds!(
        matches!(get(&*b, &q, "2").await?.info.standing, Standing::Ready { alone: true }),
        "and is shown so"
    );
    Ok(())
}

async fn the_process_behind_a_lease_is_told(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1"]).await?;
    claim_one(&*a, &q).await?;
    let Why::Leased { by, .. } = why(&*b, &q, "1").await? else {
        return Err(Failure("a claimed task is not leased".to_owned()));
    };
    let asked = [Incarnation::generate(), by, b.incarnation()];
    let found = lookup(&*b)?.holders(&asked).await?;
    let pids: Vec<_> = found.iter().map(|holder| holder.as_ref().map(|holder| holder.pid)).collect();
    // The sessions of a stage are all of this process.
    let ours = Some(std::process::id());
    same!(pids, [None, ours, ours], "nobody, a holder, and who asks");
    same!(found[1], found[2], "two sessions of one process");
    holds!(found.iter().flatten().all(|holder| !holder.host.is_empty()), "a holder without a host");
    same!(lookup(&*b)?.holders(&[]).await?, [], "what is told of none");
    holds!(lookup(&*b)?.holders(&[by; limits::MAX_BATCH + 1]).await.is_err(), "a call has bounds");
    Ok(())
}

async fn why_a_key_is_waited_for(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let interval = Duration::from_secs(10);
    let options = QueueOptions::default().with_key_limit(1).with_key_interval(interval);
    a.declare(&q, Some(&options)).await?;
    let key = LimitKey::new("example.org")?;
    for id in ["1", "2", "3"] {
        a.enqueue(&[given(&q, id)?.with_key(key.clone())], None).await?;
    }
    let held = |permits, opens, ahead| Why::Held {
        key: key.clone(),
        permits,
        limit: Some(1),
        opens,
        ahead: exactly(ahead),
    };
    same!(why(&*b, &q, "3").await?, held(1, None, 1), "behind one that is ready and one that is held");
    same!(listed(&*b, &q, State::Held).await?, ["2", "3"], "what is held");
    let task = claim_one(&*a, &q).await?;
    stage.advance(Duration::from_secs(4)).await;
    same!(why(&*b, &q, "2").await?, held(1, Some(Duration::from_secs(6)), 0), "while it runs");
    settle(&*a, &task, complete()).await?;
    same!(why(&*b, &q, "2").await?, held(0, Some(Duration::from_secs(6)), 0), "while the interval goes on");
    Ok(())
}

async fn why_a_task_is_over(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let kept = Wanted::Keep(Duration::from_secs(60));
    let tasks: Vec<_> = ["kept", "gone", "cancelled", "dead"]
        .into_iter()
        .map(|name| Ok(given(&q, name)?.with_result(if name == "gone" { Wanted::No } else { kept })))
        .collect::<crate::Result<_>>()?;
    a.enqueue(&tasks, None).await?;
    a.cancel(&q, &[id("cancelled")?]).await?;
    let claimed = claim(&*a, &q, 3).await?.tasks;
    settle(&*a, &claimed[0], complete()).await?;
    settle(&*a, &claimed[1], complete()).await?;
    settle(&*a, &claimed[2], End::Bury { error: "no".to_owned() }).await?;
    same!(why(&*b, &q, "kept").await?, Why::Done, "a completed one with a result");
    same!(why(&*b, &q, "gone").await?, Why::Settled, "a completed one whose id is remembered");
    same!(why(&*b, &q, "cancelled").await?, Why::Cancelled, "a cancelled one");
    let dead = why(&*b, &q, "dead").await?;
    holds!(
        matches!(&dead, Why::Dead { error, history, .. } if error == "no" && history.len() == 1),
        "a dead one: {dead:?}"
    );
    stage.advance(limits::REMEMBER_IDS).await;
    same!(why(&*b, &q, "kept").await?, Why::Unknown, "when it is forgotten");
    Ok(())
}

async fn looking_changes_nothing(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue_ids(&*a, &q, &["1", "2"]).await?;
    let task = claim_one(&*a, &q).await?;
    // The lease is over, and the next claim will take it back: who looks does not.
    stage.advance(limits::LEASE).await;
    let before = a.status(&q).await?;
    for state in State::ALL {
        listed(&*a, &q, state).await?;
    }
    let leased = why(&*a, &q, "1").await?;
    holds!(matches!(leased, Why::Leased { left: Duration::ZERO, .. }), "a lease that is over: {leased:?}");
    get(&*a, &q, "1").await?;
    same!(a.status(&q).await?, before, "the queue after all that");
    same!(a.status(&queue("none")?).await?, None, "a queue that was asked about");
    same!(settle(&*a, &task, complete()).await?, crate::Settled::Settled, "the lease that nobody took back");
    Ok(())
}

async fn there_is_no_power_where_none_is_claimed(stage: &dyn Stage) -> Outcome {
    holds!(stage.session().await?.lookup().is_none(), "a power over single tasks that was not claimed");
    Ok(())
}
