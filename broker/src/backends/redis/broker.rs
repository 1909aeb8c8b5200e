//! The contract, by running scripts.

use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use super::{
    RedisBroker, error,
    keys::{self, Queues},
    reply::{self, each, int, uint, unexpected},
    scripts,
};
use crate::{
    Beat, Beaten, Broker, Cancel, Capabilities, Claim, ClaimReply, DeadLetters, End, Enqueued, Fsck,
    Incarnation, Lease, NewTask, Outcome, Payload, QueueName, QueueOptions, QueueStatus, Result, Settled,
    Settlement, TaskId, Token, Waiter,
    clock::millis,
    machine::{Configuration, check_fits},
};

#[async_trait]
impl Broker for RedisBroker {
    fn backend(&self) -> &'static str {
        "redis"
    }

    fn capabilities(&self) -> Capabilities {
        Self::CAPABILITIES
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn declare(&self, queue: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        let asked = options.cloned().unwrap_or_default();
        let flag = if options.is_some() { "1" } else { "0" };
        let order = reply::order(asked.order);
        let arguments = vec![text(flag), text(asked.capacity), text(millis(asked.remember_ids)), text(order)];
        let reply: Vec<i64> = self.call("declare", &scripts::DECLARE, self.keys_of(queue), arguments).await?;
        let (status, configured) = reply::status(&reply).ok_or_else(|| unexpected("declare"))?;
        let mut stored =
            Configuration { options: status.options.clone(), revision: status.revision, configured };
        if options.is_some() && !stored.is(&asked) {
            // It was not taken, and this says why.
            stored.configure(queue, &asked, status.unsettled())?;
            return Err(unexpected("declare"));
        }
        Ok(status)
    }

    async fn enqueue(&self, tasks: &[NewTask], _token: Option<Token>) -> Result<Vec<Enqueued>> {
        let mut queues = Queues::new(&self.keys);
        let mut arguments = vec![text(self.keys.channel())];
        for task in tasks {
            arguments.push(text(queues.index(&task.queue)));
            arguments.extend(keys::task(task)?);
        }
        let reply = self.call("enqueue", &scripts::ENQUEUE, queues.keys(), arguments).await;
        let reply: Vec<Value> = reply.map_err(|e| error::of_queues(e, queues.names()))?;
        check_places("enqueue", &reply, tasks.iter())?;
        each(&reply, tasks.len(), "enqueue", reply::enqueued)
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReply> {
        let mut queues = Queues::new(&self.keys);
        queues.index(&claim.queue);
        for fed in claim.feeds.iter().filter(|fed| **fed != claim.queue) {
            queues.index(fed);
        }
        let fed = queues.names().len() - 1;
        let arguments = vec![
            text(self.keys.channel()),
            text(claim.max),
            text(millis(claim.lease)),
            text(u8::from(claim.idle)),
            self.incarnation.as_uuid().as_bytes().to_vec(),
            text(fed),
        ];
        let reply: Vec<Value> = self.call("claim", &scripts::CLAIM, queues.keys(), arguments).await?;
        let ([full, alone, ended, next, mark], tasks) =
            reply.split_first_chunk().ok_or_else(|| unexpected("claim"))?;
        let full = uint(full).and_then(|index| queues.names().get(usize::try_from(index).ok()?).copied());
        let read = |task| reply::claimed(&claim.queue, self.incarnation, task);
        Ok(ClaimReply {
            tasks: tasks.chunks(7).map(read).collect::<Result<_>>()?,
            held_by: full.cloned(),
            waiting_alone: uint(alone).ok_or_else(|| unexpected("claim"))?,
            ended: int(ended) == Some(1),
            mark: uint(mark).ok_or_else(|| unexpected("claim"))?,
            next: uint(next).map(Duration::from_millis),
        })
    }

    async fn beat(&self, beats: &[Beat], lease: Duration) -> Result<Vec<Beaten>> {
        let mut queues = Queues::new(&self.keys);
        let mut arguments = vec![text(millis(lease))];
        for Beat { lease, .. } in beats {
            arguments.extend(lease_arguments(&mut queues, lease));
        }
        let reply: Vec<i64> = self.call("beat", &scripts::BEAT, queues.keys(), arguments).await?;
        each(&reply, beats.len(), "beat", |code| match code {
            0 => Some(Beaten::Lost),
            1 => Some(Beaten::Kept),
            2 => Some(Beaten::Cancelled),
            _ => None,
        })
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut queues = Queues::new(&self.keys);
        let mut arguments = vec![text(self.keys.channel())];
        let mut all_children = Vec::new();
        for Settlement { lease, end } in settlements {
            arguments.extend(lease_arguments(&mut queues, lease));
            let (how, said, delay, children) = match end {
                End::Complete { children, result } => {
                    let result = result.as_ref().map_or("null", Payload::as_str);
                    ("complete", result, Duration::ZERO, children.as_slice())
                }
                End::Retry { error, delay } => ("retry", error.as_str(), *delay, [].as_slice()),
                End::Bury { error } => ("bury", error.as_str(), Duration::ZERO, [].as_slice()),
                End::Release => ("release", "", Duration::ZERO, [].as_slice()),
                End::Park => ("park", "", Duration::ZERO, [].as_slice()),
            };
            arguments.extend([text(how), text(said), text(millis(delay)), text(children.len())]);
            for child in children {
                arguments.push(text(queues.index(&child.queue)));
                arguments.extend(keys::task(child)?);
            }
            all_children.extend(children);
        }
        let reply: Vec<Value> = self.call("settle", &scripts::SETTLE, queues.keys(), arguments).await?;
        check_places("settle", &reply, all_children.into_iter())?;
        each(&reply, settlements.len(), "settle", |answer| match answer {
            Value::Int(0) => Some(Settled::Lost),
            Value::Int(1) => Some(Settled::Settled),
            _ => None,
        })
    }

    async fn close(&self, queue: &QueueName) -> Result<()> {
        let arguments = vec![text(self.keys.channel())];
        self.call::<i64>("close", &scripts::CLOSE, self.keys_of(queue), arguments).await.map(drop)
    }

    async fn status(&self, queue: &QueueName) -> Result<Option<QueueStatus>> {
        let reply: Vec<i64> = self.call("status", &scripts::STATUS, self.keys_of(queue), Vec::new()).await?;
        if reply.is_empty() {
            return Ok(None);
        }
        reply::status(&reply).map(|(status, _)| Some(status)).ok_or_else(|| unexpected("status"))
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<()> {
        let arguments = vec![text(self.keys.channel()), text(u8::from(paused))];
        self.call::<i64>("pause", &scripts::PAUSE, self.keys_of(queue), arguments).await.map(drop)
    }

    async fn cancel(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Cancel>> {
        let arguments = self.told_ids(ids);
        let reply: Vec<i64> = self.call("cancel", &scripts::CANCEL, self.keys_of(queue), arguments).await?;
        each(&reply, ids.len(), "cancel", |code| match code {
            0 => Some(Cancel::Unknown),
            1 => Some(Cancel::Cancelled),
            2 => Some(Cancel::Asked),
            _ => None,
        })
    }

    async fn outcomes(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        // A reply with large results has fewer than were asked for.
        while let Some(rest) = ids.get(outcomes.len()..).filter(|rest| !rest.is_empty()) {
            let arguments = rest.iter().map(keys::id).collect();
            let keys = self.keys_of(queue);
            let reply: Vec<Value> = self.call("outcomes", &scripts::OUTCOMES, keys, arguments).await?;
            if reply.is_empty() || reply.len() > rest.len() {
                return Err(unexpected("outcomes"));
            }
            outcomes.extend(each(&reply, reply.len(), "outcomes", reply::outcome)?);
        }
        Ok(outcomes)
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        Some(self)
    }

    fn fsck(&self) -> Option<&dyn Fsck> {
        Some(self)
    }

    fn wait(&self, _queues: &[QueueName]) -> Waiter {
        // Subscribed now, not when the future is first polled: changes from here on count.
        let mut changes = self.changes();
        Box::pin(async move {
            // An error means that the session is gone, which is worth waking up for too.
            let _ = changes.changed().await;
        })
    }
}

impl RedisBroker {
    pub(super) fn keys_of(&self, queue: &QueueName) -> Vec<String> {
        let mut queues = Queues::new(&self.keys);
        queues.index(queue);
        queues.keys()
    }

    /// Where news goes, and ids.
    pub(super) fn told_ids(&self, ids: &[TaskId]) -> Vec<Vec<u8>> {
        std::iter::once(text(self.keys.channel())).chain(ids.iter().map(keys::id)).collect()
    }
}

/// Says which of these tasks has a priority that its queue has no use for, if the script found one.
fn check_places<'a>(
    operation: &'static str,
    reply: &[Value],
    mut tasks: impl Iterator<Item = &'a NewTask>,
) -> Result<()> {
    let Some((at, order)) = reply::misplaced(reply) else { return Ok(()) };
    let task = tasks.nth(at).ok_or_else(|| unexpected(operation))?;
    check_fits(operation, task, &QueueOptions::default().with_order(order))?;
    Err(unexpected(operation))
}

fn lease_arguments<'a>(queues: &mut Queues<'a>, lease: &'a Lease) -> [Vec<u8>; 4] {
    let holder = lease.incarnation.as_uuid().as_bytes().to_vec();
    [text(queues.index(&lease.queue)), keys::id(&lease.id), text(lease.epoch), holder]
}

fn text(value: impl ToString) -> Vec<u8> {
    value.to_string().into_bytes()
}
