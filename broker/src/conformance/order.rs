//! In which order tasks are claimed.

use super::{Outcome, Stage, area, holds, same, support::*};
use crate::{
    Capabilities, Claim, End, Enqueued, ErrorKind, NewTask, Order, QueueName, QueueOptions, Result, Settled,
    Settlement, capabilities::Orders, limits,
};

const ALL: fn(&Capabilities) -> bool = |broker| broker.orders == Orders::All;
const FIFO: fn(&Capabilities) -> bool = |broker| broker.orders == Orders::Fifo;

area!("order": last_in_first_out if ALL, the_lowest_priority_first if ALL, what_is_given_back_goes_first if ALL, what_is_given_back_stands_where_it_stood if ALL, a_priority_needs_an_order if ALL, a_child_with_a_priority_needs_an_order if ALL, the_order_of_waiting_tasks_is_kept if ALL, other_orders_are_refused if FIFO);

fn ranked(queue: &QueueName, name: &str, priority: i64) -> Result<NewTask> {
    Ok(task(queue, name)?.with_priority(priority))
}

fn ordered(order: Order) -> QueueOptions {
    QueueOptions::default().with_order(order)
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

async fn what_is_given_back_goes_first(stage: &dyn Stage) -> Outcome {
    let a = stage.session().await?;
    for order in [Order::Fifo, Order::Lifo, Order::Priority] {
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
    a.enqueue(&[ranked(&q, "later", 7)?, ranked(&q, "sooner", 3)?], None).await?;
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
    for order in [Order::Fifo, Order::Lifo] {
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
    enqueue(&*a, &q, &["1"]).await?;
    refused(a.declare(&q, Some(&ordered(Order::Lifo))).await, ErrorKind::Conflict)?;
    let task = claim(&*a, &q, 1).await?.tasks.remove(0);
    refused(a.declare(&q, Some(&ordered(Order::Lifo))).await, ErrorKind::Conflict)?;
    settle(&*a, &task, complete()).await?;
    let status = a.declare(&q, Some(&ordered(Order::Lifo))).await?;
    same!(status.options.order, Order::Lifo, "the order of an empty queue");
    refused(a.declare(&q, Some(&ordered(Order::Priority))).await, ErrorKind::Conflict)?;
    same!(
        a.enqueue(&tasks(&q, &["2", "3"])?, None).await?,
        [Enqueued::Enqueued, Enqueued::Enqueued],
        "two tasks"
    );
    let claim = Claim::new(q.clone(), 1);
    same!(names(&a.claim(&claim).await?.tasks), ["3"], "the first of them");
    Ok(())
}

async fn other_orders_are_refused(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    for order in [Order::Lifo, Order::Priority] {
        refused(a.declare(&q, Some(&ordered(order))).await, ErrorKind::Unsupported)?;
    }
    refused(a.enqueue(&[ranked(&q, "1", 1)?], None).await, ErrorKind::Unsupported)?;
    same!(a.status(&q).await?, None, "the queue after the refusals");
    Ok(())
}
