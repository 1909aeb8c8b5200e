//! How the answers of the scripts are read.

use std::time::Duration;

use redis::Value;

use super::{
    body::{self, Stored, Unreadable},
    keys,
};
use crate::{
    BatchStatus, ClaimedTask, DeadTask, Enqueued, Error, ErrorKind, Failure, Incarnation, Lease, Order,
    Outcome, Pause, Payload, QueueName, QueueOptions, QueueStatus, Result, Revived, TaskId, TaskName, clock,
};

/// The answer was none of those that the script has.
pub(super) fn unexpected(operation: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, operation, "redis answered something else than was asked")
}

/// One answer for each that was asked about.
pub(super) fn each<V, T>(
    reply: &[V],
    asked: usize,
    operation: &'static str,
    read: impl Fn(&V) -> Option<T>,
) -> Result<Vec<T>> {
    if reply.len() != asked {
        return Err(unexpected(operation));
    }
    reply.iter().map(|answer| read(answer).ok_or_else(|| unexpected(operation))).collect()
}

/// A number that came as one, or as text because it is large.
pub(super) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

pub(super) fn uint(value: &Value) -> Option<u64> {
    int(value).and_then(|number| u64::try_from(number).ok())
}

pub(super) fn small(value: &Value) -> Option<u32> {
    int(value).and_then(|number| u32::try_from(number).ok())
}

pub(super) fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn id(operation: &'static str, value: &Value) -> Option<TaskId> {
    match value {
        Value::BulkString(id) => keys::stored_id(operation, id).ok(),
        _ => None,
    }
}

/// Which of the tasks does not fit its queue, and what of the options of that is of concern.
pub(super) fn misplaced(reply: &[Value]) -> Option<(usize, QueueOptions)> {
    match reply {
        [Value::Int(-1), at, order, limit, interval] => {
            let order = read_order(int(order)?)?;
            let options = limited(QueueOptions::default().with_order(order), int(limit)?, int(interval)?);
            Some((usize::try_from(int(at)?).ok()?, options))
        }
        _ => None,
    }
}

/// The options with a limit for keys, 0 for none, and an interval in milliseconds.
fn limited(options: QueueOptions, limit: i64, interval: i64) -> QueueOptions {
    let interval = Duration::from_millis(u64::try_from(interval).unwrap_or(0));
    let key_limit = u32::try_from(limit).ok().filter(|limit| *limit > 0);
    QueueOptions { key_limit, ..options.with_key_interval(interval) }
}

/// Who paused a queue that may be paused, and when, where that is known.
pub(super) fn paused_by(paused: i64, at: &Value, by: &Value) -> Option<Option<Pause>> {
    let (at, Value::BulkString(by)) = (int(at)?, by) else { return None };
    // What people said of themselves; nothing else reads it.
    let by = String::from_utf8_lossy(by).into_owned();
    Some(u64::try_from(at).ok().filter(|_| paused == 1).map(|at| Pause { by, at: clock::time(at) }))
}

/// An order by its number.
fn read_order(number: i64) -> Option<Order> {
    [Order::Fifo, Order::Lifo, Order::Priority].get(usize::try_from(number).ok()?).copied()
}

/// The name under which an order is stored.
pub(super) fn order(order: Order) -> &'static str {
    match order {
        Order::Fifo => "fifo",
        Order::Lifo => "lifo",
        Order::Priority => "priority",
    }
}

/// What `status.lua` returns, and whether the queue was configured.
pub(super) fn status(reply: &[Value]) -> Option<(QueueStatus, bool)> {
    let [numbers @ .., at, by] = reply else { return None };
    let numbers: Vec<i64> = numbers.iter().map(int).collect::<Option<_>>()?;
    let [capacity, remember_ids, order, revision, configured, closed, paused, rest @ ..] = &*numbers else {
        return None;
    };
    let uint = |number: &i64| u64::try_from(*number).unwrap_or(0);
    let [key_limit, key_interval, ready, scheduled, held, leased, dead, sequence] = rest else { return None };
    let options = QueueOptions::default()
        .with_capacity(uint(capacity))
        .with_order(read_order(*order)?)
        .with_remember_ids(Duration::from_millis(uint(remember_ids)));
    let status = QueueStatus {
        options: limited(options, *key_limit, *key_interval),
        revision: uint(revision),
        closed: *closed == 1,
        paused: *paused == 1,
        pause: paused_by(*paused, at, by)?,
        ready: uint(ready),
        scheduled: uint(scheduled),
        held: uint(held),
        leased: uint(leased),
        dead: uint(dead),
        sequence: Some(uint(sequence)),
    };
    Some((status, *configured == 1))
}

pub(super) fn enqueued(answer: &Value) -> Option<Enqueued> {
    match answer {
        Value::Int(0) => Some(Enqueued::Enqueued),
        Value::Int(1) => Some(Enqueued::Exists),
        Value::Int(2) => Some(Enqueued::Full),
        Value::Int(3) => Some(Enqueued::Closed),
        other => id("enqueue", other).map(Enqueued::Duplicate),
    }
}

pub(super) fn revived(answer: &Value) -> Option<Revived> {
    match answer {
        Value::Int(0) => Some(Revived::Unknown),
        Value::Int(1) => Some(Revived::Revived),
        Value::Int(2) => Some(Revived::Full),
        other => id("revive", other).map(Revived::Duplicate),
    }
}

pub(super) fn outcome(answer: &Value) -> Option<Outcome> {
    match answer {
        Value::Int(0) => Some(Outcome::Unknown),
        Value::Int(1) => Some(Outcome::Pending { progress: None }),
        Value::BulkString(known) => match known.split_first()? {
            (b'P', told) => Some(Outcome::Pending { progress: Some(Payload::from_stored(text(told)?)) }),
            (b'D', result) => Some(Outcome::Done(Payload::from_stored(text(result)?))),
            (b'C', []) => Some(Outcome::Cancelled),
            (b'X', error) => Some(Outcome::Dead(text(error)?)),
            _ => None,
        },
        _ => None,
    }
}

/// A task that was claimed and cannot be handed out: its id as it is stored, its epoch, and why.
pub(super) struct Refused {
    pub(super) id: Vec<u8>,
    pub(super) epoch: u64,
    pub(super) why: Unreadable,
}

/// What happened to a task before this claim.
struct History {
    epoch: u64,
    attempts: u32,
    crashes: u32,
    deaths: u32,
    alone: bool,
}

impl History {
    /// Reads what is told of it: nothing for a first claim, whose epoch is this.
    fn read(told: &[u8], first: u64) -> Option<Self> {
        if told.is_empty() {
            return Some(Self { epoch: first, attempts: 0, crashes: 0, deaths: 0, alone: false });
        }
        let mut words = std::str::from_utf8(told).ok()?.split(' ');
        let epoch = words.next()?.parse().ok()?;
        let mut number = || words.next()?.parse::<u32>().ok();
        Some(Self {
            epoch,
            attempts: number()?,
            crashes: number()?,
            deaths: number()?,
            alone: number()? == 1,
        })
    }
}

/// One task of those that a claim returns: its id, its body, and what happened to it. `first` is the epoch of those that were never claimed.
pub(super) fn claimed(
    queue: &QueueName,
    incarnation: Incarnation,
    first: u64,
    task: &[Value],
) -> Result<std::result::Result<ClaimedTask, Refused>> {
    const CLAIM: &str = "claim";
    let [Value::BulkString(id), Value::BulkString(body), Value::BulkString(told)] = task else {
        return Err(unexpected(CLAIM));
    };
    let history = History::read(told, first).ok_or_else(|| unexpected(CLAIM))?;
    let History { epoch, attempts, crashes, deaths, alone } = history;
    let read = body::read(body).and_then(|stored| {
        let id = keys::stored_id(CLAIM, id).map_err(|e| Unreadable::Foreign(e.report()))?;
        Ok((id, stored))
    });
    let (id, Stored { name, options, payload }) = match read {
        Ok(read) => read,
        Err(why) => return Ok(Err(Refused { id: id.clone(), epoch, why })),
    };
    Ok(Ok(ClaimedTask {
        run_limit: options.run_limit(),
        batch: options.batch,
        lease: Lease { queue: queue.clone(), id, epoch, incarnation },
        name,
        payload,
        attempts,
        max_attempts: options.max_attempts,
        crashes,
        deaths,
        alone,
        result_wanted: options.result.is_some(),
    }))
}

/// One task of those that `dead.lua` returns; of one whose id is none there is nothing to be said.
pub(super) fn dead(task: &[Value]) -> Result<Option<DeadTask>> {
    const LIST: &str = "list";
    let [Value::BulkString(id), Value::BulkString(body), Value::BulkString(error), numbers @ ..] = task
    else {
        return Err(unexpected(LIST));
    };
    let [attempts, crashes, died, mark, Value::Array(history)] = numbers else {
        return Err(unexpected(LIST));
    };
    let unread = || unexpected(LIST);
    let Ok(id) = keys::stored_id(LIST, id) else {
        tracing::warn!(id = %id.escape_ascii(), "a dead task is not listed: its id cannot be read");
        return Ok(None);
    };
    let (name, payload) = match body::read(body) {
        Ok(Stored { name, payload, .. }) => (name, payload),
        // With its raw bytes, as far as they are text.
        Err(_) => (TaskName::new("unknown")?, Payload::encode(&String::from_utf8_lossy(body))?),
    };
    Ok(Some(DeadTask {
        history: history.chunks(2).map(failure).collect::<Option<_>>().ok_or_else(unread)?,
        id,
        name,
        payload,
        error: text(error).ok_or_else(unread)?,
        attempts: small(attempts).ok_or_else(unread)?,
        crashes: small(crashes).ok_or_else(unread)?,
        died: clock::time(uint(died).ok_or_else(unread)?),
        mark: uint(mark).ok_or_else(unread)?,
    }))
}

pub(super) fn failure(failure: &[Value]) -> Option<Failure> {
    match failure {
        [at, Value::BulkString(error)] => Some(Failure { at: clock::time(uint(at)?), error: text(error)? }),
        _ => None,
    }
}

/// What `batch.lua` returns.
pub(super) fn batch(reply: &[u64]) -> Option<BatchStatus> {
    let [unsettled, done, dead, cancelled] = *reply else { return None };
    Some(BatchStatus { unsettled, done, dead, cancelled })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_are_written() {
        // The numbers are those of `lua/status.lua`, in this order.
        let stored = include_str!("lua/status.lua");
        for (number, wanted) in [Order::Fifo, Order::Lifo, Order::Priority].into_iter().enumerate() {
            assert!(stored.contains(&format!("{} = {number}", order(wanted))), "{wanted}");
            assert_eq!(read_order(i64::try_from(number).unwrap()), Some(wanted));
        }
    }

    #[test]
    fn what_is_not_ours_is_not_understood() {
        for bad in [Value::Nil, Value::Int(9), Value::BulkString(b"x".to_vec())] {
            assert_eq!(enqueued(&bad), None);
            assert_eq!(revived(&bad), None);
            assert_eq!(outcome(&bad), None);
        }
        assert_eq!(outcome(&Value::BulkString(Vec::new())), None);
    }
}
