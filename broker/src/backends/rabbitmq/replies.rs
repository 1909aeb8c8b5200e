//! What became of the tasks whose sender waits: told to its session, and kept nowhere else.
//!
//! The task carries the sender's incarnation. Whoever settles it publishes under that name what became of it, before the delivery is
//! acknowledged; the inbox of the sender's connection is bound to the name. While there is no connection there is no inbox, and
//! what is told then is lost. A session whose connection was replaced may still be told by the next one.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{
    error,
    link::Link,
    live::Live,
    message::{Stored, string},
    news::OUTCOME,
    publish::{Outgoing, To},
};
use crate::{
    ErrorKind, Interest, NewTask, Outcome, Payload, QueueName, Result, TaskId, Wanted,
    backends::outcomes::Outcomes,
};

/// For how many tasks a session waits at a time; those that were sent first are forgotten first.
const MOST: usize = 100_000;

/// Of how many a session keeps what it was told; what it was told first is forgotten first.
const MOST_TOLD: usize = 10_000;

/// How many bytes that has.
const BYTES: usize = 64 * 1024 * 1024;

/// How long the server is waited for before it is said what is known without it.
const PATIENCE: Duration = Duration::from_secs(1);

/// What became of a completed task is told under this name, and its body is the result.
const DONE: &str = "done";

/// The same of a dead one, and the body says why.
const DEAD: &str = "dead";

/// A task of a queue.
type Name = (QueueName, TaskId);

/// What a session has asked to be told, and was.
#[derive(Default)]
pub(super) struct Replies {
    asked: Mutex<Asked>,
    /// Those who wait.
    pub(super) outcomes: Outcomes,
}

#[derive(Default)]
struct Asked {
    /// Those that are awaited, each with the number of its asking.
    awaited: HashMap<Name, Awaited>,
    /// The same in the order in which they were sent.
    order: BTreeMap<u64, Name>,
    asked: u64,
    told: HashMap<Name, Outcome>,
    /// In the order in which they were told.
    told_order: VecDeque<Name>,
    /// How many bytes they have.
    bytes: usize,
}

struct Awaited {
    number: u64,
    /// The connection by which the task was sent.
    connection: u64,
}

/// Tells what is known of tasks that this session sent. Does not fail for want of a connection: who waits is told in the end that
/// it is unknown.
pub(super) async fn outcomes(link: Arc<Link>, queue: QueueName, ids: Vec<TaskId>) -> Result<Vec<Outcome>> {
    // Goes on when this does not wait any longer, so that there is a connection when it is asked again.
    let connecting = {
        let link = Arc::clone(&link);
        tokio::spawn(async move { link.live("outcomes").await })
    };
    let connected = async {
        // Where the thread ended, so does this.
        let live = connecting.await.map_err(|_| error::lost("outcomes"))??;
        live.sync("outcomes").await.map(|()| live.number)
    };
    let connection = match tokio::time::timeout(PATIENCE, connected).await {
        Ok(Ok(number)) => Some(number),
        Ok(Err(error)) if error.kind() != ErrorKind::Unavailable => return Err(error),
        Ok(Err(_)) => None,
        // It may only be slow.
        Err(_) => link.present(),
    };
    Ok(ids.into_iter().map(|id| link.replies.outcome(&(queue.clone(), id), connection)).collect())
}

impl Replies {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that somebody here waits for a task.
    fn ask(&self, name: Name, connection: u64) {
        let mut asked = self.asked();
        asked.asked += 1;
        let number = asked.asked;
        if let Some(before) = asked.awaited.insert(name.clone(), Awaited { number, connection }) {
            asked.order.remove(&before.number);
        }
        asked.order.insert(number, name);
        if asked.order.len() > MOST
            && let Some((_, first)) = asked.order.pop_first()
        {
            asked.awaited.remove(&first);
        }
    }

    /// Notes what became of a task, if somebody here waits for it. A task that was doubled may be told of twice: the first
    /// one stands.
    fn tell(&self, name: Name, became: Outcome) {
        let mut asked = self.asked();
        let Some(awaited) = asked.awaited.remove(&name) else { return };
        self.outcomes.tell(&name.1, Some(became.clone()));
        asked.order.remove(&awaited.number);
        asked.bytes += size(&became);
        if let Some(before) = asked.told.insert(name.clone(), became) {
            asked.bytes -= size(&before);
            asked.told_order.retain(|other| *other != name);
        }
        asked.told_order.push_back(name);
        while (asked.told.len() > MOST_TOLD || asked.bytes > BYTES)
            && let Some(first) = asked.told_order.pop_front()
        {
            let forgotten = asked.told.remove(&first);
            asked.bytes -= forgotten.as_ref().map_or(0, size);
        }
    }

    /// What became of a task. Without this connection, it is unknown of one that is still awaited: it may have been told to nobody.
    fn outcome(&self, name: &Name, connection: Option<u64>) -> Outcome {
        let asked = self.asked();
        match (asked.awaited.get(name), asked.told.get(name)) {
            (Some(awaited), _) if connection == Some(awaited.connection) => {
                Outcome::Pending { progress: None }
            }
            (None, Some(told)) => told.clone(),
            _ => Outcome::Unknown,
        }
    }
}

fn size(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Done(result) => result.len(),
        Outcome::Dead(error) => error.len(),
        Outcome::Pending { .. } | Outcome::Cancelled | Outcome::Unknown => 0,
    }
}

impl Live {
    /// A task that is sent by this session, which is told what becomes of it if it asks for that.
    pub(super) fn sent(&self, link: &Link, task: &NewTask, repeated: bool) -> Stored {
        let reply_to = (task.result == Wanted::Reply).then(|| self.incarnation.to_string().into());
        if reply_to.is_some() {
            // Before it is published: the answer may be quicker.
            link.replies.ask((task.queue.clone(), task.id.clone()), self.number);
        }
        Stored::new(task, repeated, reply_to)
    }

    /// What is told to the sender of a task that completed, if it waits.
    pub(super) fn reply_done(
        &self,
        queue: &QueueName,
        stored: &Stored,
        result: Option<&Payload>,
    ) -> Option<Outgoing> {
        self.reply(queue, stored, DONE, result.unwrap_or(&Payload::null()).as_str())
    }

    /// What is told to the sender of a task that is dead, if it waits.
    pub(super) fn reply_dead(&self, queue: &QueueName, stored: &Stored) -> Option<Outgoing> {
        self.reply(queue, stored, DEAD, stored.progress.error.as_deref().unwrap_or_default())
    }

    fn reply(&self, queue: &QueueName, stored: &Stored, became: &str, body: &str) -> Option<Outgoing> {
        let to = To::exchange(self.names.replies(), stored.reply_to.clone()?);
        let mut headers = FieldTable::default();
        headers.insert("mh-queue".into(), AMQPValue::LongString(queue.as_str().into()));
        headers.insert("mh-became".into(), AMQPValue::LongString(became.into()));
        let properties = BasicProperties::default()
            .with_type(OUTCOME.into())
            .with_message_id(ShortString::from(stored.id.to_string()))
            .with_headers(headers);
        Some(Outgoing::if_wanted(to, body.as_bytes().to_vec(), properties))
    }

    /// Reads what became of a task. What cannot be read is from a newer version: the wait ends without it.
    pub(super) fn read_outcome(&self, letter: &Delivery) {
        let Some((name, became)) = read(letter) else { return };
        let queue = name.0.clone();
        self.replies.tell(name, became);
        self.waiters.wake(Interest::Settled, &queue);
    }
}

fn read(letter: &Delivery) -> Option<(Name, Outcome)> {
    let headers = letter.properties.headers().as_ref()?;
    let queue = QueueName::new(&string(headers, "mh-queue")?).ok()?;
    let id = TaskId::new(letter.properties.message_id().as_ref()?.as_str()).ok()?;
    let body = String::from_utf8(letter.data.clone()).ok()?;
    let became = match string(headers, "mh-became")?.as_str() {
        DONE => Outcome::Done(Payload::from_stored(body)),
        DEAD => Outcome::Dead(body),
        _ => return None,
    };
    Some(((queue, id), became))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: usize) -> Name {
        (QueueName::new("q").unwrap(), TaskId::new(&id.to_string()).unwrap())
    }

    fn done(bytes: usize) -> Outcome {
        Outcome::Done(Payload::from_stored("7".repeat(bytes)))
    }

    const PENDING: Outcome = Outcome::Pending { progress: None };

    #[test]
    fn only_what_was_asked_is_kept_and_the_first_answer_stands() {
        let replies = Replies::default();
        replies.tell(name(1), done(1));
        assert_eq!(replies.outcome(&name(1), Some(1)), Outcome::Unknown);
        replies.ask(name(1), 1);
        assert_eq!(replies.outcome(&name(1), Some(1)), PENDING);
        for connection in [None, Some(2)] {
            assert_eq!(
                replies.outcome(&name(1), connection),
                Outcome::Unknown,
                "it may have been told to nobody"
            );
        }
        replies.tell(name(1), done(1));
        replies.tell(name(1), Outcome::Dead("late".to_owned()));
        assert_eq!(replies.outcome(&name(1), None), done(1));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let replies = Replies::default();
        for id in 0..=MOST {
            replies.ask(name(id), 1);
        }
        assert_eq!(replies.outcome(&name(0), Some(1)), Outcome::Unknown);
        for id in 2..=4 {
            replies.tell(name(id), done(BYTES / 2));
        }
        let outcomes = [1, 2, 3, 4].map(|id| replies.outcome(&name(id), Some(1)));
        assert_eq!(
            outcomes,
            [PENDING, Outcome::Unknown, done(BYTES / 2), done(BYTES / 2)],
            "who waits is not forgotten"
        );
        for id in 5..5 + MOST_TOLD {
            replies.tell(name(id), done(1));
        }
        assert_eq!(replies.outcome(&name(4), Some(1)), Outcome::Unknown);
        assert_eq!(replies.outcome(&name(5), Some(1)), done(1));
        assert_eq!(replies.asked().bytes, MOST_TOLD);
    }
}
