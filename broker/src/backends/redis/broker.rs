//! The contract, by running scripts.

use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use super::{
    RedisBroker,
    keys::{self, Queues},
    scripts,
};
use crate::{
    Beaten, Broker, Capabilities, Claim, ClaimReply, ClaimedTask, End, Enqueued, Error, ErrorKind, Fsck,
    Incarnation, Lease, NewTask, QueueName, QueueOptions, QueueStatus, Result, Settled, Settlement, Waiter,
    clock::millis, machine::Configuration,
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
        let arguments = vec![text(flag), text(asked.capacity), text(millis(asked.remember_ids))];
        let reply: Vec<i64> = self.call("declare", &scripts::DECLARE, self.keys_of(queue), arguments).await?;
        let status = status(reply.get(1..).unwrap_or_default()).ok_or_else(|| unexpected("declare"))?;
        if reply.first() == Some(&1) {
            return Ok(status);
        }
        let mut stored =
            Configuration { options: status.options, revision: status.revision, configured: true };
        stored.configure(queue, &asked)?;
        Err(unexpected("declare"))
    }

    async fn enqueue(&self, tasks: &[NewTask]) -> Result<Vec<Enqueued>> {
        let mut queues = Queues::new(&self.keys);
        let mut arguments = vec![text(self.keys.channel())];
        for task in tasks {
            arguments.extend([text(queues.index(&task.queue)), keys::id(&task.id), keys::body(task)?]);
        }
        let reply: Vec<i64> = self.call("enqueue", &scripts::ENQUEUE, queues.keys(), arguments).await?;
        let answer = |code| match code {
            0 => Ok(Enqueued::Enqueued),
            1 => Ok(Enqueued::Exists),
            2 => Ok(Enqueued::Full),
            3 => Ok(Enqueued::Closed),
            _ => Err(unexpected("enqueue")),
        };
        each(&reply, tasks.len(), "enqueue", answer)
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReply> {
        let mut queues = Queues::new(&self.keys);
        queues.index(&claim.queue);
        for fed in claim.feeds.iter().filter(|fed| **fed != claim.queue) {
            queues.index(fed);
        }
        let fed = queues.len() - 1;
        let arguments = vec![
            text(self.keys.channel()),
            text(claim.max),
            text(millis(claim.lease)),
            text(u8::from(claim.idle)),
            self.incarnation.as_uuid().as_bytes().to_vec(),
            text(fed),
        ];
        let reply: Vec<Value> = self.call("claim", &scripts::CLAIM, queues.keys(), arguments).await?;
        let (head, tasks) = reply.split_at_checked(5).ok_or_else(|| unexpected("claim"))?;
        let number = |at: usize| int(&head[at]).ok_or_else(|| unexpected("claim"));
        let full = usize::try_from(number(0)?).ok().and_then(|index| queues.name(index));
        Ok(ClaimReply {
            tasks: tasks.chunks(7).map(|task| self.claimed(&claim.queue, task)).collect::<Result<_>>()?,
            held_by: full.cloned(),
            waiting_alone: uint(number(1)?),
            ended: number(2)? == 1,
            mark: uint(number(4)?),
            next: u64::try_from(number(3)?).ok().map(Duration::from_millis),
        })
    }

    async fn beat(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Beaten>> {
        let mut queues = Queues::new(&self.keys);
        let mut arguments = vec![text(millis(lease))];
        for lease in leases {
            arguments.extend(lease_arguments(&mut queues, lease));
        }
        let reply: Vec<i64> = self.call("beat", &scripts::BEAT, queues.keys(), arguments).await?;
        each(&reply, leases.len(), "beat", |code| Ok(if code == 1 { Beaten::Kept } else { Beaten::Lost }))
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut queues = Queues::new(&self.keys);
        let mut arguments = vec![text(self.keys.channel())];
        for Settlement { lease, end } in settlements {
            arguments.extend(lease_arguments(&mut queues, lease));
            let (how, error, delay, children) = match end {
                End::Complete { children } => ("complete", "", Duration::ZERO, children.as_slice()),
                End::Retry { error, delay } => ("retry", error.as_str(), *delay, [].as_slice()),
                End::Bury { error } => ("bury", error.as_str(), Duration::ZERO, [].as_slice()),
                End::Release => ("release", "", Duration::ZERO, [].as_slice()),
                End::Park => ("park", "", Duration::ZERO, [].as_slice()),
            };
            arguments.extend([text(how), text(error), text(millis(delay)), text(children.len())]);
            for child in children {
                arguments.extend([text(queues.index(&child.queue)), keys::id(&child.id), keys::body(child)?]);
            }
        }
        let reply: Vec<i64> = self.call("settle", &scripts::SETTLE, queues.keys(), arguments).await?;
        each(&reply, settlements.len(), "settle", |code| {
            Ok(if code == 1 { Settled::Settled } else { Settled::Lost })
        })
    }

    async fn close(&self, queue: &QueueName) -> Result<()> {
        let arguments = vec![text(self.keys.channel())];
        self.call::<i64>("close", &scripts::CLOSE, self.keys_of(queue), arguments).await.map(drop)
    }

    async fn status(&self, queue: &QueueName) -> Result<Option<QueueStatus>> {
        let reply: Vec<i64> = self.call("status", &scripts::STATUS, self.keys_of(queue), Vec::new()).await?;
        if reply.is_empty() { Ok(None) } else { status(&reply).map(Some).ok_or_else(|| unexpected("status")) }
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

    fn claimed(&self, queue: &QueueName, task: &[Value]) -> Result<ClaimedTask> {
        let [id, body, epoch, attempts, crashes, deaths, alone] = task else {
            return Err(unexpected("claim"));
        };
        let (Value::BulkString(id), Value::BulkString(body)) = (id, body) else {
            return Err(unexpected("claim"));
        };
        let id = keys::stored_id(id)?;
        let (header, payload) = keys::stored_body(&id, body)?;
        let small = |value| int(value).and_then(|n| u32::try_from(n).ok()).ok_or_else(|| unexpected("claim"));
        let epoch = int(epoch).map(uint).ok_or_else(|| unexpected("claim"))?;
        Ok(ClaimedTask {
            lease: Lease { queue: queue.clone(), id, epoch, incarnation: self.incarnation },
            name: header.name,
            payload,
            attempts: small(attempts)?,
            max_attempts: header.max_attempts,
            crashes: small(crashes)?,
            deaths: small(deaths)?,
            alone: small(alone)? == 1,
        })
    }
}

fn lease_arguments<'a>(queues: &mut Queues<'a>, lease: &'a Lease) -> [Vec<u8>; 4] {
    let holder = lease.incarnation.as_uuid().as_bytes().to_vec();
    [text(queues.index(&lease.queue)), keys::id(&lease.id), text(lease.epoch), holder]
}

/// The eight numbers that `status.lua` returns.
fn status(reply: &[i64]) -> Option<QueueStatus> {
    let [capacity, remember_ids, revision, closed, ready, scheduled, leased, dead] = reply.try_into().ok()?;
    Some(QueueStatus {
        options: QueueOptions {
            capacity: uint(capacity),
            remember_ids: Duration::from_millis(uint(remember_ids)),
        },
        revision: uint(revision),
        closed: closed == 1,
        ready: uint(ready),
        scheduled: uint(scheduled),
        leased: uint(leased),
        dead: uint(dead),
    })
}

/// One answer for each that was asked about.
fn each<T>(
    reply: &[i64],
    asked: usize,
    operation: &'static str,
    read: impl Fn(i64) -> Result<T>,
) -> Result<Vec<T>> {
    if reply.len() != asked {
        return Err(unexpected(operation));
    }
    reply.iter().map(|code| read(*code)).collect()
}

/// A number that came as one, or as text because it is large.
fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn text(value: impl ToString) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn unexpected(operation: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, operation, "redis answered something else than was asked")
}
