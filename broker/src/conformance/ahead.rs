//! Tasks that are sent ahead: a broker may send what comes to who claims and waits, before it is asked, once there is such a queue. Nobody gets
//! more or less by it.

use super::{Failure, Outcome, Stage, area, same, support::*};
use crate::{
    Broker, Claim, QueueName, QueueOptions, Waiter,
    capabilities::{Control, Crashes},
};

area!("ahead": who_waits_gets_each_task_once, what_nobody_claims_goes_to_others, who_withdraws_keeps_nothing, what_is_held_back_is_not_sent, the_others_get_what_does_not_fit);

/// How many deaths may be counted of a task that went back and was not begun: where the server counts deliveries, one, which has no consequence.
fn uncharged(broker: &dyn Broker) -> u32 {
    u32::from(broker.capabilities().crashes == Crashes::PerDelivery)
}

/// Waits for tasks of a queue that is there and has none, with room for so many.
async fn waits(broker: &dyn Broker, q: &QueueName, room: usize) -> Result<Waiter, Failure> {
    broker.declare(q, None).await?;
    let interest = broker.wait(std::slice::from_ref(q));
    same!(claim(broker, q, room).await?.tasks.len(), 0, "tasks of an empty queue");
    Ok(interest)
}

/// A session that waits, and asks again whenever there is something.
async fn who_waits_gets_each_task_once(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let _interest = waits(&*a, &q, 3).await?;
    for number in 0..20 {
        let name = number.to_string();
        enqueue(&*b, &q, &[&name]).await?;
        let task = claim_soon(&*a, &q).await?;
        same!((self::name(&task), task.attempts, task.deaths), (name.clone(), 0, 0), "what it gets");
        same!(claim(&*b, &q, 9).await?.tasks.len(), 0, "what another one gets");
        settle(&*a, &task, complete()).await?;
        // Leaves room again, so that the next one may be sent ahead.
        same!(claim(&*a, &q, 3).await?.tasks.len(), 0, "what is left");
    }
    same!(counts(&*b, &q).await?, (0, 0, 0, 0), "the queue in the end");
    Ok(())
}

async fn what_nobody_claims_goes_to_others(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let interest = waits(&*a, &q, 3).await?;
    enqueue(&*b, &q, &["1"]).await?;
    // It waits no more, and says nothing of it.
    drop(interest);
    let task = claim_soon(&*b, &q).await?;
    same!(
        (name(&task), task.attempts, task.deaths <= uncharged(&*b), task.alone),
        ("1".to_owned(), 0, true, false),
        "what the other one gets"
    );
    settle(&*b, &task, complete()).await?;
    same!(counts(&*b, &q).await?, (0, 0, 0, 0), "the queue in the end");
    Ok(())
}

async fn who_withdraws_keeps_nothing(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    for name in ["sent before it withdraws", "and after"] {
        // Somebody may go on waiting: only a claim has something sent.
        let _interest = waits(&*a, &q, 3).await?;
        if name == "and after" {
            a.withdraw().await?;
            enqueue(&*b, &q, &[name]).await?;
        } else {
            enqueue(&*b, &q, &[name]).await?;
            a.withdraw().await?;
        }
        let task = claim_one(&*b, &q).await?;
        same!(
            (self::name(&task), task.attempts, task.deaths <= uncharged(&*b), task.alone),
            (name.to_owned(), 0, true, false),
            "what the other one gets"
        );
        settle(&*b, &task, complete()).await?;
    }
    a.withdraw().await?;
    same!(counts(&*b, &q).await?, (0, 0, 0, 0), "the queue in the end");
    Ok(())
}

/// A paused queue hands out nothing, in no way.
async fn what_is_held_back_is_not_sent(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let _interest = waits(&*a, &q, 3).await?;
    if b.capabilities().control == Control::Full {
        b.pause(&q, "a test").await?;
        enqueue(&*b, &q, &["1"]).await?;
        same!(counts(&*b, &q).await?, (1, 0, 0, 0), "the paused queue");
        same!(claim(&*a, &q, 3).await?.tasks.len(), 0, "tasks of a paused queue");
        b.resume(&q).await?;
    } else {
        enqueue(&*b, &q, &["1"]).await?;
    }
    let fed = queue("fed")?;
    b.declare(&fed, Some(&QueueOptions::default().with_capacity(1))).await?;
    enqueue(&*b, &fed, &["full"]).await?;
    let task = claim_soon(&*a, &q).await?;
    settle(&*a, &task, complete()).await?;
    let held_back = Claim::new(q.clone(), 3).with_feeds(vec![fed.clone()]);
    same!(a.claim(&held_back).await?.held_by, Some(fed), "what holds it back");
    enqueue(&*b, &q, &["2"]).await?;
    let reply = a.claim(&held_back).await?;
    same!(reply.tasks.len(), 0, "tasks that would feed a full queue");
    a.withdraw().await?;
    Ok(())
}

/// One claim leaves room for one more; what comes besides is for everybody.
async fn the_others_get_what_does_not_fit(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    let interest = waits(&*a, &q, 1).await?;
    for name in ["1", "2", "3"] {
        enqueue(&*b, &q, &[name]).await?;
    }
    drop(interest);
    a.withdraw().await?;
    let mut found = Vec::new();
    for _ in 0..3 {
        found.push(name(&claim_soon(&*b, &q).await?));
    }
    found.sort();
    same!(found, ["1", "2", "3"], "what the other one gets");
    Ok(())
}
