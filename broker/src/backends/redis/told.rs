//! What is told of tasks to the session that waits for what becomes of them: a task says to which (`reply` among its options), and `tell` in `lua/header.lua` writes it.

use redis::Value;

use super::{keys, reply};
use crate::{Outcome, TaskId};

/// What such a message begins with. No other news does.
const MARK: &[u8] = b"=\n";

/// What became of a task. Nothing: it is to be asked for.
type Told = (TaskId, Option<Outcome>);

/// Reads a message, if it is one of these; and nothing of it, if it cannot be read.
pub(super) fn read(message: &[u8]) -> Option<Option<Vec<Told>>> {
    let mut rest = message.strip_prefix(MARK)?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let Some((told, after)) = record(rest) else { return Some(None) };
        all.push(told);
        rest = after;
    }
    Some(Some(all))
}

/// The first record, which is the lengths of an id and of what became of it, and both; and what is after it.
fn record(rest: &[u8]) -> Option<(Told, &[u8])> {
    let (id, after) = rest.split_first_chunk()?;
    let (outcome, after) = after.split_first_chunk()?;
    let (id, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*id)))?;
    let (outcome, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*outcome)).ok()?)?;
    let became = reply::outcome(&Value::BulkString(outcome.to_vec()));
    Some(((keys::stored_id("outcomes", id).ok()?, became), after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Payload;

    fn message(told: &[(&TaskId, &str)]) -> Vec<u8> {
        let mut message = MARK.to_vec();
        for (id, outcome) in told {
            let id = keys::id(id);
            message.extend(u16::try_from(id.len()).unwrap().to_be_bytes());
            message.extend(u32::try_from(outcome.len()).unwrap().to_be_bytes());
            message.extend([&id, outcome.as_bytes()].concat());
        }
        message
    }

    #[test]
    fn what_is_told_is_read() {
        let [a, b, c] = [(); 3].map(|()| TaskId::generate());
        let told = read(&message(&[(&a, "D7"), (&b, ""), (&c, "Xno")]));
        let done = Outcome::Done(Payload::from_stored("7".to_owned()));
        let expected = vec![(a, Some(done)), (b, None), (c, Some(Outcome::Dead("no".to_owned())))];
        assert_eq!(told, Some(Some(expected)));
        assert_eq!(read(b"s films"), None);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let whole = message(&[(&TaskId::generate(), "D7")]);
        for end in MARK.len() + 1..whole.len() {
            assert_eq!(read(&whole[..end]), Some(None), "{end}");
        }
        assert_eq!(read(b"=\n\0\x01\0\0\0\x01?D"), Some(None), "an id that is not ours");
    }
}
