//! In which order tasks are claimed.

use std::time::Duration;

use super::{Outcome, Stage, area, holds, same, support::*};
use crate::{
    Broker, Capabilities, Claim, End, Enqueued, ErrorKind, NewTask, Order, QueueName, QueueOptions, Result,
    Settled, Settlement, Start, capabilities::Orders, limits,
};

const ALL: fn(&Capabilities) -> bool = |broker| broker.orders == Orders::All;
const CLASSES: fn(&Capabilities) -> bool = |broker| broker.orders == Orders::Classes;

area!("order": last_in_first_out if ALL, the_lowest_priority_first, any_integer_is_a_priority if ALL, each_claim_takes_the_lowest_there_is, what_waits_in_a_session_holds_up_nothing_urgent, who_waits_gets_all_priorities, all_priorities_count, what_comes_again_keeps_its_priority, what_is_given_back_goes_first, what_is_given_back_stands_where_it_stood if ALL, a_priority_needs_an_order, a_child_with_a_priority_needs_an_order, the_order_of_waiting_tasks_is_kept, last_in_first_out_is_refused if CLASSES, other_priorities_are_refused if CLASSES);

/// All that a broker with classes knows, and every other one too.
const PRIORITIES: std::ops::RangeInclusive<i64> = 0..=3;

fn ranked(queue: &QueueName, name: &str, priority: i64) -> Result<NewTask> {
    Ok(task(queue, name)?.with_priority(priority))
}

fn ordered(order: Order) -> QueueOptions {
    QueueOptions::default().with_order(order)
}

/// The orders that a broker knows.
fn orders(broker: &dyn Broker) -> &'static [Order] {
    match broker.capabilities().orders {
        Orders::All => &[Order::Fifo, Order::Lifo, Order::Priority],
        Orders::Classes => &[Order::Fifo, Order::Priority],
    }
}

/// Enqueues tasks with these names and priorities, which must all be accepted.
async fn enqueue_ranked(broker: &dyn Broker, queue: &QueueName, of: &[(&str, i64)]) -> Outcome {
    let tasks: Vec<_> =
        of.iter().map(|(name, priority)| ranked(queue, name, *priority)).collect::<Result<_>>()?;
    same!(broker.enqueue(&tasks, None).await?, vec![Enqueued::Enqueued; of.len()], "enqueue of {of:?}");
    Ok(())
}

async fn last_in_first_out(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.declare(&q, Some(&ordered(Order::Lifo))).await?;
    enqueue(&*a, &q, &["1", "2"]).await?;
    enqueue(&*b, &q, &["3"]).await?;
    same!(names(&claim(&*b, &q, 2).await?.tasks), ["3", "2"], "the last two");
    enqueue(&*a, &q, &["4"]).await?;
    same!(names(&claim(&*b, &q, 9).await?.tasks), ["4", "1"], "the rest");
    Ok(())
}

async fn the_lowest_priority_first(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.declare(&q, Some(&ordered(Order::Priority))).await?;
    a.enqueue(&[ranked(&q, "3", 3)?, task(&q, "0")?, ranked(&q, "1", 1)?], None).await?;
    enqueue_ranked(&*b, &q, &[("2", 2), ("1 too", 1), ("0 too", 0), ("3 too", 3)]).await?;
    let order = ["0", "0 too", "1", "1 too", "2", "3", "3 too"];
    same!(names(&claim(&*a, &q, 9).await?.tasks), order, "by priority, then first in, first out");
    Ok(())
}

async fn any_integer_is_a_priority(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    a.declare(&q, Some(&ordered(Order::Priority))).await?;
    let most = limits::MAX_PRIORITY;
    let tasks = [
        ranked(&q, "last", most)?,
        ranked(&q, "5", 5)?,
        task(&q, "0")?,
        ranked(&q, "5 too", 5)?,
        ranked(&q, "-1", -1)?,
        ranked(&q, "256", 256)?,
        ranked(&q, "-300", -300)?,
        ranked(&q, "first", -most)?,
        ranked(&q, "last but one", most - 1)?,
    ];
    a.enqueue(&tasks, None).await?;
    let order = ["first", "-300", "-1", "0", "5", "5 too", "256", "last but one", "last"];
    same!(names(&claim(&*a, &q, 9).await?.tasks), order, "by priority, then first in, first out");
    refused(a.enqueue(&[ranked(&q, "x", most + 1)?], None).await, ErrorKind::Invalid)?;
    Ok(())
}

async fn each_claim_takes_the_lowest_there_is(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.declare(&q, Some(&ordered(Order::Priority))).await?;
    enqueue_ranked(&*a, &q, &[("3a", 3), ("3b", 3), ("2a", 2), ("3c", 3), ("0a", 0), ("0b", 0)]).await?;
    same!(names(&claim(&*b, &q, 1).await?.tasks), ["0a"], "the first claim");
    same!(names(&claim(&*a, &q, 3).await?.tasks), ["0b", "2a", "3a"], "a claim of three");
    enqueue_ranked(&*b, &q, &[("2b", 2), ("1a", 1), ("1b", 1)]).await?;
    for next in ["1a", "1b", "2b", "3b", "3c"] {
        same!(names(&claim(&*b, &q, 1).await?.tasks), [next], "one by one, with those that came since");
    }
    same!(claim(&*a, &q, 9).await?.tasks.len(), 0, "tasks in the end");
    Ok(())
}

/// A session may be sent tasks before it claims them, as many as it has asked for; what comes then and is more urgent goes first all
/// the same.
async fn what_waits_in_a_session_holds_up_nothing_urgent(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.declare(&q, Some(&ordered(Order::Priority))).await?;
    let _interest = a.wait(std::slice::from_ref(&q));
    same!(claim(&*a, &q, 3).await?.tasks.len(), 0, "tasks of an empty queue");
    enqueue_ranked(&*b, &q, &[("3a", 3), ("3b", 3), ("3c", 3), ("3d", 3), ("3e", 3)]).await?;
    let mut expected = vec!["3a", "3b", "3c", "3d", "3e"];
    for (urgent, priority) in [("2", 2), ("0", 0), ("1", 1), ("0 again", 0)] {
        enqueue_ranked(&*b, &q, &[(urgent, priority)]).await?;
        // What is on its way to the other session has reached it when this is answered.
        b.status(&q).await?;
        same!(names(&claim(&*a, &q, 1).await?.tasks), [urgent], "what is claimed once it is there");
        b.status(&q).await?;
        same!(names(&claim(&*a, &q, 1).await?.tasks), [expected.remove(0)], "what is claimed after it");
    }
    same!(names(&claim(&*a, &q, 9).await?.tasks), expected, "the rest");
    Ok(())
}

async fn who_waits_gets_all_priorities(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.declare(&q, Some(&ordered(Order::Priority))).await?;
    let _interest = a.wait(std::slice::from_ref(&q));
    same!(claim(&*a, &q, 1).await?.tasks.len(), 0, "tasks of an empty queue");
    for (name, priority) in [("3", 3), ("0", 0), ("2", 2), ("1", 1), ("0 again", 0)] {
        enqueue_ranked(&*b, &q, &[(name, priority)]).await?;
        let task = claim_soon(&*a, &q).await?;
        same!(self::name(&task), name, "what one slot gets");
        settle(&*a, &task, complete()).await?;
    }
    same!(counts(&*b, &q).await?, (0, 0, 0, 0), "the queue in the end");
    Ok(())
}

async fn all_priorities_count(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    a.declare(&q, Some(&ordered(Order::Priority).with_capacity(4))).await?;
    for priority in PRIORITIES {
        enqueue_ranked(&*a, &q, &[(&priority.to_string(), priority)]).await?;
    }
    same!(counts(&*b, &q).await?, (4, 0, 0, 0), "the queue with one of each");
    same!(b.enqueue(&[ranked(&q, "more", 0)?], None).await?, [Enqueued::Full], "one more than it takes");
    a.close(&q).await?;
    for left in [3, 2, 1, 0] {
        let task = claim_one(&*a, &q).await?;
        same!(counts(&*b, &q).await?, (left, 0, 1, 3 - left), "the queue while {} is held", name(&task));
        // Else it would get the next one.
        if left == 0 {
            holds!(!claim(&*b, &q, 1).await?.ended, "ended while one is held");
        }
        settle(&*a, &task, End::Release).await?;
        let task = claim_one(&*a, &q).await?;
        settle(&*a, &task, End::Bury { error: "it is no image".to_owned() }).await?;
        same!(counts(&*b, &q).await?, (left, 0, 0, 4 - left), "the queue after {}", name(&task));
    }
    holds!(claim(&*b, &q, 1).await?.ended, "closed, and nothing is left");
    let dead = dead_letters(&*b)?.list(&q, None, limits::MAX_BATCH).await?;
    let order: Vec<_> = dead.iter().map(|task| task.payload.as_str()).collect();
    same!(order, ["\"0\"", "\"1\"", "\"2\"", "\"3\""], "the dead, in the order of their deaths");
    Ok(())
}

/// Ways on which a task becomes ready a second time.
#[derive(Clone, Copy, Debug)]
enum Again {
    Released,
    Retried,
    PutOff,
    Parked,
    RanOut,
    Lost,
    Revived,
}

async fn what_comes_again_keeps_its_priority(stage: &dyn Stage) -> Outcome {
    let (a, b) = (stage.session().await?, stage.session().await?);
    let ways = [
        Again::Released,
        Again::Retried,
        Again::PutOff,
        Again::Parked,
        Again::RanOut,
        Again::Lost,
        Again::Revived,
    ];
    for way in ways {
        let q = queue(&format!("{way:?}"))?;
        a.declare(&q, Some(&ordered(Order::Priority))).await?;
        // Also one that starts later has its priority when it does.
        let mut later = ranked(&q, "later", 1)?.with_start(Start::After(Duration::from_secs(1)));
        if !matches!(way, Again::PutOff) {
            later.start = Start::Now;
        }
        a.enqueue(&[ranked(&q, "1", 1)?], None).await?;
        comes_again(stage, &*a, &q, way).await?;
        a.enqueue(&[later, ranked(&q, "2", 2)?, ranked(&q, "0", 0)?], None).await?;
        stage.advance(Duration::from_secs(1)).await;
        until(&*b, &q, "all ready", |status| (status.ready, status.leased) == (4, 0)).await?;
        let mut order = names(&claim(&*b, &q, 9).await?.tasks);
        // Of the two that are equal, either may have become ready first.
        order[1..3].sort();
        same!(order, ["0", "1", "later", "2"], "the order, when it was {way:?}");
    }
    Ok(())
}

/// Lets the one task of the queue be claimed, and become ready again, or be about to.
async fn comes_again(stage: &dyn Stage, a: &dyn Broker, q: &QueueName, way: Again) -> Outcome {
    if matches!(way, Again::Lost) {
        let lost = claim_and_die(stage, stage.session().await?, q, 1).await?;
        same!(names(&lost), ["1"], "what is lost");
        return Ok(());
    }
    let task = claim_one(a, q).await?;
    let end = match way {
        Again::Released => End::Release,
        Again::Retried => retry(Duration::ZERO),
        Again::PutOff => retry(Duration::from_secs(1)),
        Again::Parked => End::Park,
        Again::Revived => End::Bury { error: "no".to_owned() },
        Again::RanOut | Again::Lost => {
            stage.advance(limits::LEASE).await;
            return Ok(());
        }
    };
    same!(settle(a, &task, end).await?, Settled::Settled, "the end of what is {way:?}");
    if matches!(way, Again::Revived) {
        let id = task.lease.id.clone();
        same!(dead_letters(a)?.revive(q, &[id]).await?, [crate::Revived::Revived], "reviving");
    }
    Ok(())
}

async fn what_is_given_back_goes_first(stage: &dyn Stage) -> Outcome {
    let a = stage.session().await?;
    for &order in orders(&*a) {
        let q = queue(&order.to_string())?;
        a.declare(&q, Some(&ordered(order))).await?;
        enqueue(&*a, &q, &["1", "2"]).await?;
        let one = claim_one(&*a, &q).await?;
        enqueue(&*a, &q, &["3"]).await?;
        settle(&*a, &one, End::Release).await?;
        let claimed = claim(&*a, &q, 9).await?.tasks;
        same!(names(&claimed)[0], name(&one), "what comes first in order {order}");
        same!(claimed.len(), 3, "how many there are in order {order}");
    }
    let q = queue("priority")?;
    a.enqueue(&[ranked(&q, "later", 3)?, ranked(&q, "sooner", 2)?], None).await?;
    let sooner = claim_one(&*a, &q).await?;
    a.enqueue(&[ranked(&q, "soonest", 1)?], None).await?;
    settle(&*a, &sooner, End::Release).await?;
    let order = ["soonest", "sooner", "later"];
    same!(names(&claim(&*a, &q, 9).await?.tasks), order, "what was given back, among other priorities");
    Ok(())
}

async fn what_is_given_back_stands_where_it_stood(stage: &dyn Stage) -> Outcome {
    let a = stage.session().await?;
    for order in [Order::Fifo, Order::Lifo, Order::Priority] {
        let q = queue(&order.to_string())?;
        a.declare(&q, Some(&ordered(order))).await?;
        enqueue(&*a, &q, &["1", "2", "3"]).await?;
        let mut claimed = claim(&*a, &q, 3).await?.tasks;
        enqueue(&*a, &q, &["4"]).await?;
        claimed.sort_by_key(name);
        // In an order that is neither of the two.
        for given_back in [&claimed[1], &claimed[0], &claimed[2]] {
            settle(&*a, given_back, End::Release).await?;
        }
        let expected = if order == Order::Lifo { ["3", "2", "1", "4"] } else { ["1", "2", "3", "4"] };
        same!(names(&claim(&*a, &q, 9).await?.tasks), expected, "what was given back, in order {order}");
    }
    Ok(())
}

async fn a_priority_needs_an_order(stage: &dyn Stage) -> Outcome {
    let (a, q, r) = (stage.session().await?, queue("q")?, queue("r")?);
    for &order in orders(&*a).iter().filter(|order| **order != Order::Priority) {
        let q = queue(&order.to_string())?;
        a.declare(&q, Some(&ordered(order))).await?;
        let batch = [task(&q, "1")?, ranked(&q, "2", 0)?];
        let error = refused(a.enqueue(&batch, None).await, ErrorKind::Invalid)?.to_string();
        holds!(error.contains(q.as_str()) && error.contains("priority"), "the queue and why in: {error}");
        same!(counts(&*a, &q).await?, (0, 0, 0, 0), "the queue of order {order} after that");
    }
    // A queue that is missing would be first in, first out.
    refused(a.enqueue(&[task(&q, "1")?, ranked(&r, "2", 1)?], None).await, ErrorKind::Invalid)?;
    holds!(claim(&*a, &q, 9).await?.tasks.is_empty(), "a task of a refused call is there");
    Ok(())
}

async fn a_child_with_a_priority_needs_an_order(stage: &dyn Stage) -> Outcome {
    let (a, q, r) = (stage.session().await?, queue("q")?, queue("r")?);
    enqueue(&*a, &q, &["1", "2"]).await?;
    a.declare(&r, None).await?;
    let claimed = claim(&*a, &q, 2).await?.tasks;
    let settlements = [
        Settlement::new(claimed[0].lease.clone(), complete()),
        Settlement::new(claimed[1].lease.clone(), End::complete(vec![ranked(&r, "child", 1)?])),
    ];
    refused(a.settle(&settlements).await, ErrorKind::Invalid)?;
    same!(counts(&*a, &q).await?, (0, 0, 2, 0), "the parents after that");
    same!(counts(&*a, &r).await?, (0, 0, 0, 0), "the child's queue after that");
    a.declare(&r, Some(&ordered(Order::Priority))).await?;
    same!(a.settle(&settlements).await?, [Settled::Settled; 2], "the same, when the queue has the order");
    same!(counts(&*a, &r).await?, (1, 0, 0, 0), "the child's queue then");
    Ok(())
}

async fn the_order_of_waiting_tasks_is_kept(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    // Last in, first out where there is that.
    let (other, third) = match a.capabilities().orders {
        Orders::All => (Order::Lifo, Order::Priority),
        Orders::Classes => (Order::Priority, Order::Fifo),
    };
    enqueue(&*a, &q, &["1"]).await?;
    refused(a.declare(&q, Some(&ordered(other))).await, ErrorKind::Conflict)?;
    let task = claim(&*a, &q, 1).await?.tasks.remove(0);
    refused(a.declare(&q, Some(&ordered(other))).await, ErrorKind::Conflict)?;
    settle(&*a, &task, complete()).await?;
    let status = a.declare(&q, Some(&ordered(other))).await?;
    same!((status.options.order, status.revision), (other, 2), "the order of an empty queue");
    refused(a.declare(&q, Some(&ordered(third))).await, ErrorKind::Conflict)?;
    same!(
        a.enqueue(&tasks(&q, &["2", "3"])?, None).await?,
        [Enqueued::Enqueued, Enqueued::Enqueued],
        "two tasks"
    );
    let claim = Claim::new(q.clone(), 1);
    let first = if other == Order::Lifo { "3" } else { "2" };
    same!(names(&a.claim(&claim).await?.tasks), [first], "the first of them");
    Ok(())
}

async fn last_in_first_out_is_refused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let error = refused(a.declare(&q, Some(&ordered(Order::Lifo))).await, ErrorKind::Unsupported)?;
    holds!(error.to_string().contains("lifo"), "the order in: {error}");
    same!(a.status(&q).await?, None, "the queue after the refusal");
    Ok(())
}

async fn other_priorities_are_refused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    for priority in [-1, 4, limits::MAX_PRIORITY] {
        let batch = [task(&q, "1")?, ranked(&q, "2", priority)?];
        let error = refused(a.enqueue(&batch, None).await, ErrorKind::Unsupported)?.to_string();
        let wanted = format!("priority {priority}");
        holds!(
            error.contains("\"q\"") && error.contains(&wanted) && error.contains("0 to 3"),
            "queue, priority and what is possible in: {error}"
        );
    }
    same!(a.status(&q).await?, None, "the queue after the refusals");
    a.declare(&q, Some(&ordered(Order::Priority))).await?;
    enqueue(&*a, &q, &["parent"]).await?;
    let parent = claim_one(&*a, &q).await?;
    let end = End::complete(vec![ranked(&q, "child", 4)?]);
    let answer = a.settle(&[Settlement::new(parent.lease.clone(), end)]).await;
    refused(answer, ErrorKind::Unsupported)?;
    same!(counts(&*a, &q).await?, (0, 0, 1, 0), "the parent after that");
    refused(a.enqueue(&[ranked(&q, "x", limits::MAX_PRIORITY + 1)?], None).await, ErrorKind::Invalid)?;
    Ok(())
}
