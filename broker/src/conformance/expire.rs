//! Arrow `expire`: leases that run out, holders that die, and who is to blame.

use std::{sync::Arc, time::Duration};

use super::{Failure, Outcome, Stage, VICTIMS_LEASE, area, holds, same, support::*};
use crate::{Broker, Claim, ClaimedTask, QueueName, Settled, capabilities::Crashes, limits};

area!("expire": a_lease_runs_out, a_task_given_back_goes_first, a_late_settlement_is_refused, a_dead_holder_is_noticed, a_living_holder_is_left_alone, the_first_death_is_nobodys_fault, after_the_second_death_it_runs_alone, a_busy_process_gets_none_to_run_alone, a_clean_end_clears_the_suspicion, only_the_poison_is_charged);

const LEASE: Duration = Duration::from_secs(30);

async fn a_lease_runs_out(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let task = a.claim(&Claim::new(q.clone(), 1).with_lease(LEASE)).await?.tasks.remove(0);
    stage.advance(LEASE - Duration::from_millis(1)).await;
    same!(claim(&*b, &q, 1).await?.tasks.len(), 0, "tasks a millisecond before the end");
    stage.advance(Duration::from_millis(1)).await;
    let again = claim_soon(&*b, &q).await?;
    same!((&again.lease.id, again.lease.incarnation), (&task.lease.id, b.incarnation()), "the next holder");
    same!((again.attempts, again.crashes, again.deaths), (0, 0, 1), "what it is charged with");
    holds!(again.lease.epoch > task.lease.epoch, "the epoch must grow");
    Ok(())
}

async fn a_task_given_back_goes_first(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2"]).await?;
    a.claim(&Claim::new(q.clone(), 2).with_lease(LEASE)).await?;
    enqueue(&*a, &q, &["3"]).await?;
    stage.advance(LEASE).await;
    taken_back(&*a, &q, 3).await?;
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["1", "2", "3"], "order after the leases ran out");
    Ok(())
}

async fn a_late_settlement_is_refused(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    let late = claim_one(&*a, &q).await?;
    stage.advance(LEASE).await;
    let task = claim_soon(&*b, &q).await?;
    let children = tasks(&q, &["2"])?;
    let end = crate::End::complete(children);
    same!(settle(&*a, &late, end).await?, Settled::Lost, "a settlement after the lease was given to another");
    same!(counts(&*b, &q).await?, (0, 0, 1, 0), "the queue after that");
    same!(settle(&*b, &task, complete()).await?, Settled::Settled, "the settlement of the new holder");
    Ok(())
}

async fn a_dead_holder_is_noticed(stage: &dyn Stage) -> Outcome {
    let (a, b, q) = (stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2"]).await?;
    let lost = claim_and_die(stage, a, &q, 1).await?;
    same!(names(&lost), ["1"], "what it held");
    until(&*b, &q, "taken back", |status| status.ready == 2).await?;
    same!(names(&claim(&*b, &q, 9).await?.tasks), ["1", "2"], "the tasks, in their old order");
    Ok(())
}

async fn a_living_holder_is_left_alone(stage: &dyn Stage) -> Outcome {
    let (a, b, c, q) = (stage.session().await?, stage.session().await?, stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2"]).await?;
    let mine = claim_one(&*a, &q).await?;
    claim_and_die(stage, b, &q, 1).await?;
    until(&*c, &q, "taken back from the dead one only", |status| (status.ready, status.leased) == (1, 1))
        .await?;
    same!(settle(&*a, &mine, complete()).await?, Settled::Settled, "the settlement of the one who lives");
    Ok(())
}

async fn the_first_death_is_nobodys_fault(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2", "3"]).await?;
    die(stage, stage.session().await?, &q, 3).await?;
    let again = a.claim(&Claim::new(q.clone(), 9).with_idle(false)).await?;
    same!(names(&again.tasks), ["1", "2", "3"], "all at once, also for a busy process");
    let charges: Vec<_> = again.tasks.iter().map(|t| (t.attempts, t.crashes, t.deaths, t.alone)).collect();
    same!(charges, [(0, 0, 1, false); 3], "what they are charged with");
    Ok(())
}

async fn after_the_second_death_it_runs_alone(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1", "2"]).await?;
    for _ in 0..2 {
        die(stage, stage.session().await?, &q, 2).await?;
    }
    enqueue(&*a, &q, &["3"]).await?;
    let reply = claim(&*a, &q, 9).await?;
    same!(names(&reply.tasks), ["1"], "what an idle process gets");
    let task = &reply.tasks[0];
    same!((task.alone, task.crashes, task.deaths), (true, 0, 2), "the task that runs alone");
    same!(reply.waiting_alone, 1, "how many more wait for that");
    settle(&*a, task, complete()).await?;
    same!(names(&claim(&*a, &q, 9).await?.tasks), ["2"], "the next one to run alone");
    Ok(())
}

async fn a_busy_process_gets_none_to_run_alone(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    for _ in 0..2 {
        die(stage, stage.session().await?, &q, 1).await?;
    }
    enqueue(&*a, &q, &["2"]).await?;
    let busy = Claim::new(q.clone(), 9).with_idle(false);
    let reply = a.claim(&busy).await?;
    same!((names(&reply.tasks), reply.waiting_alone), (vec!["2".to_owned()], 1), "what a busy process gets");
    let reply = a.claim(&busy).await?;
    same!((names(&reply.tasks), reply.waiting_alone), (Vec::new(), 1), "what it gets after that");
    Ok(())
}

async fn a_clean_end_clears_the_suspicion(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    enqueue(&*a, &q, &["1"]).await?;
    for _ in 0..2 {
        die(stage, stage.session().await?, &q, 1).await?;
    }
    let task = claim_one(&*a, &q).await?;
    settle(&*a, &task, crate::End::Release).await?;
    let task = claim_one(&*a, &q).await?;
    same!((task.alone, task.deaths), (true, 2), "after a release, which tells nothing");
    settle(&*a, &task, retry(Duration::ZERO)).await?;
    let task = claim_one(&*a, &q).await?;
    same!((task.alone, task.deaths, task.attempts), (false, 0, 1), "after a failure, which is an end");
    Ok(())
}

/// Ten tasks run together in a process; one of them kills every process that it runs in.
async fn only_the_poison_is_charged(stage: &dyn Stage) -> Outcome {
    let (a, q) = (stage.session().await?, queue("q")?);
    let sent = ["0", "1", "2", "3", "4", "poison", "6", "7", "8", "9"];
    enqueue(&*a, &q, &sent).await?;
    // Two deaths make it a suspect, three more prove it; where deaths cannot be told from lost connections, it takes many.
    let enough = if a.capabilities().crashes == Crashes::WhileAlone { 5 } else { limits::MAX_DELIVERIES };
    let (mut done, mut deaths) = (Vec::new(), 0);
    while counts(&*a, &q).await?.0 > 0 {
        let victim = stage.session().await?;
        let tasks = victim.claim(&Claim::new(q.clone(), 10).with_lease(VICTIMS_LEASE)).await?.tasks;
        if tasks.iter().any(|task| name(task) == "poison") {
            deaths += 1;
            holds!(deaths <= enough, "still not dead after {deaths} processes");
            stage.kill(victim).await?;
            let dead = u64::from(deaths == enough && a.capabilities().crashes == Crashes::WhileAlone);
            taken_back(&*a, &q, (sent.len() - done.len()) as u64 - dead).await?;
        } else {
            for task in &tasks {
                same!((task.crashes, task.attempts), (0, 0), "charges of the innocent {}", name(task));
                same!(settle(&*victim, task, complete()).await?, Settled::Settled, "an innocent task");
                done.push(name(task));
            }
        }
    }
    done.sort();
    same!(done, sent.into_iter().filter(|name| *name != "poison").collect::<Vec<_>>(), "who ended well");
    same!(
        (counts(&*a, &q).await?, deaths),
        ((0, 0, 0, 1), enough),
        "the queue, and how many processes it cost"
    );
    Ok(())
}

/// Claims `tasks` tasks, alone or together, and dies of it.
async fn die(
    stage: &dyn Stage,
    victim: Arc<dyn Broker>,
    q: &QueueName,
    tasks: usize,
) -> Result<Vec<ClaimedTask>, Failure> {
    let witness = stage.session().await?;
    let claimed = claim_and_die(stage, victim, q, tasks).await?;
    same!(claimed.len(), tasks, "claimed before dying");
    taken_back(&*witness, q, tasks as u64).await?;
    Ok(claimed)
}

/// Waits until nothing is leased any more and this many tasks are ready.
async fn taken_back(witness: &dyn Broker, q: &QueueName, ready: u64) -> Outcome {
    let what = format!("taken back, with {ready} ready");
    until(witness, q, &what, |status| (status.leased, status.ready) == (0, ready)).await.map(drop)
}
