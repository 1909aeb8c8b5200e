//! What the cases share.

use std::{sync::Arc, time::Duration};

use super::{Failure, Stage, VICTIMS_LEASE};
use crate::{
    Broker, Capabilities, Claim, ClaimReply, ClaimedTask, DeadLetters, End, Enqueued, Error, ErrorKind,
    NewTask, Payload, QueueName, QueueOptions, QueueStatus, Result, Settled, Settlement, TaskId, TaskName,
    Waiter,
    capabilities::{Control, Delay, Ids},
};

/// How long an event of another process is waited for. Only a broken broker takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn queue(name: &str) -> Result<QueueName> {
    QueueName::new(name)
}

/// A task whose payload is its name in the case.
pub(super) fn task(queue: &QueueName, name: &str) -> Result<NewTask> {
    Ok(NewTask::new(queue.clone(), TaskName::new("work")?, Payload::encode(name)?))
}

pub(super) fn tasks(queue: &QueueName, names: &[&str]) -> Result<Vec<NewTask>> {
    names.iter().map(|name| task(queue, name)).collect()
}

/// Tasks that have their names in the case also as ids.
pub(super) fn with_ids(queue: &QueueName, ids: &[&str]) -> Result<Vec<NewTask>> {
    ids.iter().map(|id| Ok(task(queue, id)?.with_id(TaskId::new(id)?))).collect()
}

/// Brokers that remember ids.
pub(super) const REMEMBERS: fn(&Capabilities) -> bool = |broker| broker.ids == Ids::Remembered;

/// Brokers that cannot look an id up.
pub(super) const FORGETS: fn(&Capabilities) -> bool = |broker| broker.ids == Ids::Unknown;

/// Brokers that put tasks off to the millisecond, by a clock that the stage moves.
pub(super) const PUNCTUAL: fn(&Capabilities) -> bool = |broker| broker.delay == Delay::Exact;

/// Brokers where a task can be found again.
pub(super) const CONTROLS: fn(&Capabilities) -> bool = |broker| broker.control == Control::Full;

/// Brokers where no task can be found again.
pub(super) const LOOSE: fn(&Capabilities) -> bool = |broker| broker.control == Control::None;

/// Brokers that round delays up to whole steps, by a clock of their own.
pub(super) const STEPPED: fn(&Capabilities) -> bool = |broker| broker.delay == Delay::Ladder;

/// Enqueues tasks that must all be accepted.
pub(super) async fn enqueue(broker: &dyn Broker, queue: &QueueName, names: &[&str]) -> Result<(), Failure> {
    accepted(broker, tasks(queue, names)?).await
}

/// Enqueues tasks that have ids, and must all be accepted.
pub(super) async fn enqueue_ids(broker: &dyn Broker, queue: &QueueName, ids: &[&str]) -> Result<(), Failure> {
    accepted(broker, with_ids(queue, ids)?).await
}

async fn accepted(broker: &dyn Broker, tasks: Vec<NewTask>) -> Result<(), Failure> {
    let answers = broker.enqueue(&tasks, None).await?;
    if answers.len() == tasks.len() && answers.iter().all(|answer| *answer == Enqueued::Enqueued) {
        Ok(())
    } else {
        Err(Failure(format!("enqueue of {tasks:?} answered {answers:?}")))
    }
}

pub(super) async fn claim(broker: &dyn Broker, queue: &QueueName, max: usize) -> Result<ClaimReply> {
    broker.claim(&Claim::new(queue.clone(), max)).await
}

/// Claims for a session that is to be killed.
pub(super) async fn claim_and_die(
    stage: &dyn Stage,
    victim: Arc<dyn Broker>,
    queue: &QueueName,
    max: usize,
) -> Result<Vec<ClaimedTask>, Failure> {
    let claim = Claim::new(queue.clone(), max).with_lease(VICTIMS_LEASE);
    let tasks = victim.claim(&claim).await?.tasks;
    stage.kill(victim).await?;
    Ok(tasks)
}

/// Claims exactly one task.
pub(super) async fn claim_one(broker: &dyn Broker, queue: &QueueName) -> Result<ClaimedTask, Failure> {
    let reply = claim(broker, queue, 1).await?;
    let found = format!("a claim of one task got {reply:?}");
    reply.tasks.into_iter().next().ok_or(Failure(found))
}

/// Claims one task as soon as there is one, whatever process must first be found dead for it.
pub(super) async fn claim_soon(broker: &dyn Broker, queue: &QueueName) -> Result<ClaimedTask, Failure> {
    let wait = async {
        loop {
            let changed = broker.wait(std::slice::from_ref(queue));
            if let Some(task) = claim(broker, queue, 1).await?.tasks.into_iter().next() {
                return Ok::<_, Failure>(task);
            }
            let _ = tokio::time::timeout(Duration::from_millis(200), changed).await;
        }
    };
    let late = || Failure(format!("nothing to claim on {queue} after {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| Err(late()))
}

/// Waits until something is so that another process must first notice, and of which no hint tells.
pub(super) async fn eventually<F: Future<Output = Result<bool, Failure>>>(
    what: &str,
    is_so: impl Fn() -> F,
) -> Result<(), Failure> {
    let wait = async {
        while !is_so().await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok::<_, Failure>(())
    };
    let late = || Failure(format!("still not {what} after {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| Err(late()))
}

/// Waits until the queue stands as the case says, while somebody claims from it: a broker may take back what dead processes
/// held as part of claims only. These claims get nothing, as the queue feeds one that is full.
pub(super) async fn until(
    broker: &dyn Broker,
    queue: &QueueName,
    what: &str,
    stands: impl Fn(&QueueStatus) -> bool,
) -> Result<QueueStatus, Failure> {
    let full = QueueName::new("full")?;
    broker.declare(&full, Some(&QueueOptions::default().with_capacity(1))).await?;
    broker.enqueue(&[task(&full, "filler")?], None).await?;
    let claim = Claim::new(queue.clone(), 1).with_feeds(vec![full.clone()]);
    let mut last = None;
    let wait = async {
        loop {
            let changed = broker.wait(std::slice::from_ref(queue));
            if broker.claim(&claim).await?.held_by.as_ref() != Some(&full) {
                return Err(Failure("a claim was not held back by a full queue".to_owned()));
            }
            last = broker.status(queue).await?;
            if let Some(status) = last.take_if(|status| stands(status)) {
                return Ok::<_, Failure>(status);
            }
            let _ = tokio::time::timeout(Duration::from_millis(200), changed).await;
        }
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(found) => found,
        Err(_) => Err(Failure(format!("{queue}: still not {what} after {PATIENCE:?}: {last:?}"))),
    }
}

pub(super) async fn settle(broker: &dyn Broker, task: &ClaimedTask, end: End) -> Result<Settled, Failure> {
    let answers = broker.settle(&[Settlement::new(task.lease.clone(), end)]).await?;
    match answers.as_slice() {
        [answer] => Ok(*answer),
        _ => Err(Failure(format!("one settlement got {} answers", answers.len()))),
    }
}

pub(super) fn complete() -> End {
    End::complete(Vec::new())
}

pub(super) fn retry(delay: Duration) -> End {
    End::Retry { error: "it failed".to_owned(), delay }
}

pub(super) fn crash(delay: Duration) -> End {
    End::Crash { error: "it was killed".to_owned(), delay }
}

/// The power over dead tasks, which must be there.
pub(super) fn dead_letters(broker: &dyn Broker) -> Result<&dyn DeadLetters, Failure> {
    broker.dead_letters().ok_or_else(|| Failure("there is no power over dead tasks".to_owned()))
}

/// Awaits a hint that must come.
pub(super) async fn heard(hint: Waiter) -> Result<(), Failure> {
    let late = |_| Failure(format!("no hint after {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, hint).await.map_err(late)
}

/// Ready, scheduled, leased, dead.
pub(super) async fn counts(broker: &dyn Broker, queue: &QueueName) -> Result<(u64, u64, u64, u64), Failure> {
    let status = broker.status(queue).await?.ok_or_else(|| Failure(format!("{queue} does not exist")))?;
    Ok((status.ready, status.scheduled, status.leased, status.dead))
}

/// What a task is called in the case.
pub(super) fn name(task: &ClaimedTask) -> String {
    task.payload.decode().unwrap_or_else(|error| format!("{error}: {:?}", task.payload))
}

pub(super) fn names(tasks: &[ClaimedTask]) -> Vec<String> {
    tasks.iter().map(name).collect()
}

/// Whether a call was refused for this kind of reason.
pub(super) fn refused<T: std::fmt::Debug>(answer: Result<T>, kind: ErrorKind) -> Result<Error, Failure> {
    match answer {
        Err(error) if error.kind() == kind => Ok(error),
        Err(error) => Err(Failure(format!("refused as {:?} instead of {kind:?}: {error}", error.kind()))),
        Ok(answer) => Err(Failure(format!("expected a refusal ({kind:?}), got {answer:?}"))),
    }
}

/// Whether nothing is found that no step leaves behind.
pub(super) async fn books_are_whole(broker: &dyn Broker) -> Result<(), Failure> {
    let Some(fsck) = broker.fsck() else { return Ok(()) };
    let report = fsck.fsck(false).await?;
    if report.is_clean() {
        return Ok(());
    }
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    Err(Failure(format!("after the case: {}", findings.join(", "))))
}
