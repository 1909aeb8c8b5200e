//! How what `lua/look.lua` says of tasks is read.

use redis::Value;

use super::{
    body::{self, Options, Stored},
    keys,
    reply::{failure, int, paused_by, small, text, uint, unexpected},
};
use crate::{
    Ahead, Incarnation, LimitKey, Mark, Payload, Result, Standing, State, TaskDetail, TaskInfo, TaskName,
    Why, clock, machine::Facts,
};

/// How many values `describe` says of a task.
pub(super) const VALUES: usize = 18;

/// What is said of one task that was asked for.
pub(super) enum Found {
    /// It is there, and this decides why it is not running.
    Task(Box<TaskDetail>, Facts),
    /// What became of it.
    Ended(Why),
}

/// A state as the scripts name it.
pub(super) fn letter(state: State) -> &'static str {
    match state {
        State::Ready => "r",
        State::Scheduled => "s",
        State::Held => "h",
        State::Leased => "l",
        State::Dead => "d",
    }
}

/// A mark as `lua/list.lua` takes it. What tells leases apart are ids, which are bytes: in a mark they are written in hexadecimal digits.
pub(super) fn mark_arguments(state: State, mark: &Mark) -> [Vec<u8>; 3] {
    let rest = mark.rest.as_deref().unwrap_or_default();
    let rest = if state == State::Leased { from_digits(rest) } else { rest.as_bytes().to_vec() };
    [mark.first.to_string().into_bytes(), mark.second.to_string().into_bytes(), rest]
}

/// What `lua/list.lua` says of the list: whether there may be more, and the mark that was looked at last.
pub(super) fn next(state: State, head: &[Value; 4]) -> Option<(bool, Mark)> {
    let [more, first, second, Value::BulkString(rest)] = head else { return None };
    let rest = match state {
        State::Leased => digits(rest),
        _ => text(rest)?,
    };
    let rest = Some(rest).filter(|rest| !rest.is_empty());
    Some((int(more)? == 1, Mark::new(int(first)?, int(second)?, rest)))
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of digits that are none, nothing: whoever gives such a mark begins at the first of those that are leased until then.
fn from_digits(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map_while(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

/// One task. Of one whose id is none there is nothing to be said.
pub(super) fn info(operation: &'static str, task: &[Value]) -> Result<Option<TaskInfo>> {
    let [Value::BulkString(id), Value::BulkString(header), rest @ ..] = task else {
        return Err(unexpected(operation));
    };
    let Ok(id) = keys::stored_id(operation, id) else {
        tracing::warn!(id = %id.escape_ascii(), "a task is not listed: its id cannot be read");
        return Ok(None);
    };
    let (name, options) = match body::read(header) {
        Ok(Stored { name, options, .. }) => (name, Some(options)),
        Err(_) => (TaskName::new("unknown")?, None),
    };
    let info = described(rest).and_then(|said| said.info(id, name, options));
    info.map(Some).ok_or_else(|| unexpected(operation))
}

/// What `describe` says besides id and header.
struct Described<'a> {
    bytes: usize,
    standing: Standing,
    epoch: u64,
    attempts: u32,
    crashes: u32,
    parked: Option<u64>,
    error: &'a [u8],
    expires: Option<u64>,
    priorities: bool,
}

fn described(values: &[Value]) -> Option<Described<'_>> {
    let [bytes, Value::BulkString(state), at, left, Value::BulkString(holder), cancelled, rest @ ..] = values
    else {
        return None;
    };
    let [epoch, attempts, crashes, parked, Value::BulkString(error), expires, _, _, _, priorities] = rest
    else {
        return None;
    };
    let left = clock::duration(uint(left)?);
    let standing = match state.as_slice() {
        b"r" => Standing::Ready { alone: false },
        b"a" => Standing::Ready { alone: true },
        b"s" => Standing::Scheduled { due: clock::time(uint(at)?), left },
        b"h" => Standing::Held,
        b"l" => {
            let by = uuid::Uuid::from_slice(holder).map(Incarnation::from).ok()?;
            Standing::Leased { by, left, cancelled: int(cancelled)? == 1 }
        }
        b"d" => Standing::Dead { died: clock::time(uint(at)?) },
        _ => return None,
    };
    Some(Described {
        bytes: usize::try_from(uint(bytes)?).ok()?,
        standing,
        epoch: uint(epoch)?,
        attempts: small(attempts)?,
        crashes: small(crashes)?,
        parked: uint(parked),
        error,
        expires: uint(expires),
        priorities: int(priorities)? == 1,
    })
}

impl Described<'_> {
    fn info(self, id: crate::TaskId, name: TaskName, options: Option<Options>) -> Option<TaskInfo> {
        let waits = self.standing.state().waits() && self.epoch == 0;
        let mut info = TaskInfo {
            attempts: self.attempts,
            crashes: self.crashes,
            epoch: self.epoch,
            parked_since: self.parked.map(clock::time),
            expires: self.expires.filter(|_| waits).map(clock::time),
            error: Some(text(self.error)?).filter(|error| !error.is_empty()),
            payload_bytes: self.bytes,
            ..TaskInfo::new(id, name, self.standing)
        };
        let Some(options) = options else { return Some(info) };
        info.priority = self.priorities.then(|| options.rank());
        info.unique = options.unique();
        info.key = options.key().and_then(|key| LimitKey::new(key).ok());
        info.result = options.wanted();
        info.run_limit = options.run_limit();
        (info.max_attempts, info.max_crashes) = (options.max_attempts, options.max_crashes);
        info.id_given = options.given;
        info.batch = options.batch;
        Some(info)
    }
}

/// What `lua/task.lua` returns.
pub(super) fn found(operation: &'static str, reply: &[Value]) -> Result<Found> {
    let unread = || unexpected(operation);
    if let [Value::BulkString(ended)] = reply {
        return match ended.as_slice() {
            b"D" => Ok(Found::Ended(Why::Done)),
            b"C" => Ok(Found::Ended(Why::Cancelled)),
            b"S" => Ok(Found::Ended(Why::Settled)),
            b"U" => Ok(Found::Ended(Why::Unknown)),
            _ => Err(unread()),
        };
    }
    let (task, rest) = reply.split_at_checked(VALUES).ok_or_else(unread)?;
    let Some(info) = info(operation, task)? else { return Ok(Found::Ended(Why::Unknown)) };
    let [Value::BulkString(body), Value::BulkString(reported), Value::Array(history), facts @ ..] = rest
    else {
        return Err(unread());
    };
    let payload = match body::read(body) {
        Ok(Stored { payload, .. }) => payload,
        // With its raw bytes, as far as they are text.
        Err(_) => Payload::encode(&String::from_utf8_lossy(body))?,
    };
    let history = history.chunks(2).map(failure).collect::<Option<_>>().ok_or_else(unread)?;
    let progress = (!reported.is_empty()).then(|| text(reported).map(Payload::from_stored)).flatten();
    let facts = read_facts(facts).ok_or_else(unread)?;
    Ok(Found::Task(Box::new(TaskDetail { info, payload, progress, history }), facts))
}

fn read_facts(facts: &[Value]) -> Option<Facts> {
    let [paused, at, by, ahead, more, permits, limit, opens, in_time] = facts else { return None };
    Some(Facts {
        paused: int(paused)? == 1,
        pause: paused_by(int(paused)?, at, by)?,
        ahead: Ahead { tasks: uint(ahead)?, more: int(more)? == 1 },
        permits: uint(permits)?,
        limit: small(limit).filter(|limit| *limit > 0),
        opens: uint(opens).map(clock::duration),
        in_time: int(in_time)? == 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_marks_survive() {
        let id = b"u\x00\xff0123456789abcd";
        assert_eq!(from_digits(&digits(id)), id);
        assert_eq!(from_digits("zz"), b"");
        assert_eq!(from_digits("0é"), b"");
    }

    #[test]
    fn states_are_named_as_the_scripts_do() {
        let script = include_str!("lua/look.lua");
        for state in State::ALL {
            assert!(script.contains(&format!("{} {state}", letter(state))), "{state}");
        }
    }
}
