//! A task as a message: the payload is the body, as it was given; the rest are properties that people can read.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable, ShortString},
};

use super::publish::{Outgoing, To};
use crate::{
    Error, ErrorKind, Incarnation, NewTask, Payload, Result, TaskId, TaskName, clock::millis,
    machine::Progress,
};

/// The format of a message with headers; those before are read, too. Since 2, what is usual is left out, which a version before would take for
/// one attempt and one crash. A message that says no format is a plain task, of which nothing is left to be said in headers: each property is
/// work for the server and both ends. Versions before that are kept out by the format of the directory.
const FORMAT: i64 = 2;

/// How many attempts and crashes a task is allowed that does not say so. Never to be changed: such tasks lie in queues.
const USUAL: (u32, u32) = (5, 3);

/// How the server says how often a message was handed out and came back: from 4.3 on the first of these, as the second one counts there only what is
/// taken for a failure.
const RETURNED: [&str; 2] = ["x-acquired-count", "x-delivery-count"];

/// A task that is in a message.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) id: TaskId,
    pub(super) name: TaskName,
    pub(super) payload: Payload,
    pub(super) progress: Progress,
    /// Whether its enqueueing was repeated, so that it may be there twice.
    pub(super) repeated: bool,
    /// The session that waits for what becomes of it.
    pub(super) reply_to: Option<ShortString>,
    /// How long one run of it may take.
    pub(super) run_limit: Option<Duration>,
    /// Its priority, if it was given one.
    pub(super) priority: Option<i64>,
}

impl Stored {
    /// A task that nobody claimed yet.
    pub(super) fn new(task: &NewTask, repeated: bool, reply_to: Option<ShortString>) -> Self {
        Self {
            id: task.id.clone(),
            name: task.name.clone(),
            payload: task.payload.clone(),
            progress: Progress::new(task.max_attempts, task.max_crashes),
            repeated,
            reply_to,
            run_limit: task.run_limit,
            priority: task.priority,
        }
    }

    /// Reads the task in a delivery. What the server counted since the copy was made is in the progress.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is not a task; [`ErrorKind::Incompatible`] when a newer version made it.
    pub(super) fn read(delivery: &Delivery) -> Result<Self> {
        let foreign = |what: &str| {
            Error::new(
                ErrorKind::Corrupt,
                "claim",
                format!("a message in RabbitMQ is no task of ours: {what}"),
            )
        };
        let none = FieldTable::default();
        let headers = delivery.properties.headers().as_ref().unwrap_or(&none);
        let ours = match number(headers, "mh-format") {
            Some(1..=FORMAT) => true,
            Some(newer) if newer > FORMAT => {
                let message =
                    format!("a task needs a version that knows format {newer}; this one knows {FORMAT}");
                return Err(Error::new(ErrorKind::Incompatible, "claim", message));
            }
            None if !headers.contains_key("mh-format") => false,
            _ => return Err(foreign("its format is none")),
        };
        let id = delivery.properties.message_id().as_ref().ok_or_else(|| foreign("it has no id"))?;
        let id = TaskId::new(id.as_str()).map_err(|e| foreign("its id").because(e))?;
        let name = delivery.properties.kind().as_ref().ok_or_else(|| foreign("it has no name"))?;
        let name = TaskName::new(name.as_str()).map_err(|e| foreign("its name").because(e))?;
        let small = |key| number(headers, key).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let bound = |key, usual| number(headers, key).map_or(usual, |n| u32::try_from(n).unwrap_or(0).max(1));
        let returned = u32::try_from(returned_by(headers)).unwrap_or(0);
        let progress = Progress {
            epoch: number(headers, "mh-epoch").and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
                + u64::from(returned),
            attempts: small("mh-attempts"),
            crashes: small("mh-crashes"),
            deaths: small("mh-deaths").saturating_add(returned),
            parks: small("mh-parks"),
            parked_since: number(headers, "mh-parked-since").and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            error: string(headers, "mh-error"),
            history: string(headers, "mh-history")
                .and_then(|history| serde_json::from_str(&history).ok())
                .unwrap_or_default(),
            ..Progress::new(bound("mh-max-attempts", USUAL.0), bound("mh-max-crashes", USUAL.1))
        };
        let run_limit = number(headers, "mh-run-limit").and_then(|ms| u64::try_from(ms).ok());
        let repeated = headers.inner().contains_key("mh-repeated");
        let priority = number(headers, "mh-priority");
        let reply_to = delivery.properties.reply_to().clone();
        let text =
            str::from_utf8(&delivery.data).map_err(|e| foreign("its payload is not UTF-8").because(e))?;
        // Anybody could have sent one that says no format.
        let payload = if ours {
            Payload::from_stored(text)
        } else {
            Payload::from_json(text).map_err(|e| foreign("its payload").because(e))?
        };
        Ok(Self {
            id,
            name,
            payload,
            progress,
            repeated,
            reply_to,
            priority,
            run_limit: run_limit.map(Duration::from_millis),
        })
    }

    /// How many processes died of it, as far as can be told: those whose holders said so, or, as nobody tells whom a loss is to be blamed
    /// on, the losses since it was handed out to run alone.
    pub(super) fn crashes(&self) -> u32 {
        self.progress.crashes.max(self.progress.deaths.saturating_sub(2))
    }

    /// A fresh copy that goes to the dead.
    pub(super) fn copy_for_dead(&self, to: To, obituary: Obituary) -> Outgoing {
        let body = self.payload.as_str().as_bytes().to_vec();
        Outgoing::new(to, body, obituary.on(self.properties()))
    }

    /// A fresh copy that goes there.
    pub(super) fn copy_for(&self, to: To) -> Outgoing {
        Outgoing::new(to, self.payload.as_str().as_bytes().to_vec(), self.properties())
    }

    /// The properties of a fresh copy. Built from nothing: a copied `x-death` would look like a circle to the server, which
    /// would drop it.
    fn properties(&self) -> BasicProperties {
        let Progress {
            epoch,
            attempts,
            max_attempts,
            crashes,
            max_crashes,
            deaths,
            parks,
            parked_since,
            error,
            history,
            ..
        } = &self.progress;
        let mut headers = FieldTable::default();
        let mut set = |key: &str, value: i64| {
            headers.insert(key.into(), AMQPValue::LongLongInt(value));
        };
        // What is usual is left out.
        if *max_attempts != USUAL.0 {
            set("mh-max-attempts", i64::from(*max_attempts));
        }
        if *max_crashes != USUAL.1 {
            set("mh-max-crashes", i64::from(*max_crashes));
        }
        if *epoch > 0 {
            set("mh-epoch", i64::try_from(*epoch).unwrap_or(i64::MAX));
        }
        if *attempts > 0 {
            set("mh-attempts", i64::from(*attempts));
        }
        if *crashes > 0 {
            set("mh-crashes", i64::from(*crashes));
        }
        if *deaths > 0 {
            set("mh-deaths", i64::from(*deaths));
        }
        if *parks > 0 {
            set("mh-parks", i64::from(*parks));
            set("mh-parked-since", i64::try_from(*parked_since).unwrap_or(i64::MAX));
        }
        if let Some(limit) = self.run_limit {
            set("mh-run-limit", i64::try_from(millis(limit)).unwrap_or(i64::MAX));
        }
        if self.repeated {
            set("mh-repeated", 1);
        }
        if let Some(priority) = self.priority {
            set("mh-priority", priority);
        }
        if let Some(error) = error {
            headers.insert("mh-error".into(), AMQPValue::LongString(error.as_str().into()));
        }
        // Texts can always be written as JSON.
        if let (false, Ok(history)) = (history.is_empty(), serde_json::to_string(history)) {
            headers.insert("mh-history".into(), AMQPValue::LongString(history.into()));
        }
        let mut properties = persistent()
            .with_message_id(ShortString::from(self.id.to_string()))
            .with_type(ShortString::from(self.name.as_str()));
        if !headers.inner().is_empty() {
            headers.insert("mh-format".into(), AMQPValue::LongLongInt(FORMAT));
            properties = properties.with_headers(headers);
        }
        match &self.reply_to {
            Some(reply_to) => properties.with_reply_to(reply_to.clone()),
            None => properties,
        }
    }
}

/// When a task died, and its place among the dead: written on it when it is buried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Obituary {
    /// In wall-clock milliseconds of the session that buried it.
    pub(super) died: u64,
    pub(super) mark: u64,
}

impl Obituary {
    /// For a task that dies now, in a session that gave out `last`. The mark is the time with 12 bits that differ from session to
    /// session, so that no two are likely to be the same: exact in JSON until 2039.
    pub(super) fn new(died: u64, incarnation: Incarnation, last: u64) -> Self {
        let mut session = DefaultHasher::new();
        incarnation.hash(&mut session);
        let mark = (died << 12 | session.finish() & 0xfff).max(last.saturating_add(1));
        Self { died, mark }
    }

    /// What is written on a dead message; nothing where an older version, or the server, made it dead.
    pub(super) fn of(properties: &BasicProperties) -> Option<Self> {
        let headers = properties.headers().as_ref()?;
        let positive = |key| number(headers, key).and_then(|n| u64::try_from(n).ok());
        Some(Self { died: positive("mh-died")?, mark: positive("mh-mark")? })
    }

    /// Properties with this on them.
    pub(super) fn on(self, properties: BasicProperties) -> BasicProperties {
        let mut headers = properties.headers().clone().unwrap_or_default();
        for (key, value) in [("mh-died", self.died), ("mh-mark", self.mark)] {
            headers.insert(key.into(), AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX)));
        }
        properties.with_headers(headers)
    }
}

/// How often a message was handed out and came back.
pub(super) fn returned(properties: &BasicProperties) -> i64 {
    properties.headers().as_ref().map_or(0, returned_by)
}

fn returned_by(headers: &FieldTable) -> i64 {
    RETURNED.into_iter().find_map(|key| number(headers, key)).unwrap_or(0)
}

/// Why a message was buried.
pub(super) fn error(properties: &BasicProperties) -> Option<String> {
    string(properties.headers().as_ref()?, "mh-error")
}

/// What a dead message is called that has no id that could be one.
pub(super) fn unnamed(Obituary { mark, .. }: Obituary) -> TaskId {
    TaskId::new(&format!("foreign-{mark}")).unwrap_or_else(|_| TaskId::generate())
}

/// The properties of a message that is not a task of ours, when it is buried with its raw bytes.
pub(super) fn foreign(delivery: &Delivery, why: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("mh-error".into(), AMQPValue::LongString(why.into()));
    let mut properties = persistent().with_headers(headers);
    if let Some(id) = delivery.properties.message_id() {
        properties = properties.with_message_id(id.clone());
    }
    if let Some(kind) = delivery.properties.kind() {
        properties = properties.with_type(kind.clone());
    }
    properties
}

/// The properties of a copy of what only a newer version can read: all but what the server wrote.
pub(super) fn as_it_was(properties: BasicProperties) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (key, value) in properties.headers().iter().flat_map(|headers| headers.inner()) {
        if !key.as_str().starts_with("x-") {
            headers.insert(key.clone(), value.clone());
        }
    }
    properties.with_headers(headers)
}

/// What survives a restart of the server.
pub(super) fn persistent() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2)
}

/// A number among the headers, however wide whoever wrote it made it.
pub(super) fn number(headers: &FieldTable, key: &str) -> Option<i64> {
    match headers.inner().get(key)? {
        AMQPValue::ShortShortInt(n) => Some((*n).into()),
        AMQPValue::ShortShortUInt(n) => Some((*n).into()),
        AMQPValue::ShortInt(n) => Some((*n).into()),
        AMQPValue::ShortUInt(n) => Some((*n).into()),
        AMQPValue::LongInt(n) => Some((*n).into()),
        AMQPValue::LongUInt(n) => Some((*n).into()),
        AMQPValue::LongLongInt(n) => Some(*n),
        _ => None,
    }
}

/// A text among the headers.
pub(super) fn string(headers: &FieldTable, key: &str) -> Option<String> {
    match headers.inner().get(key)? {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueueName;

    fn delivery(properties: BasicProperties, data: &[u8]) -> Delivery {
        let mut delivery = Delivery::mock(1, "".into(), "".into(), false, data.to_vec());
        delivery.properties = properties;
        delivery
    }

    fn task() -> NewTask {
        let payload = Payload::from_json("{\"n\": 1.50}").unwrap();
        NewTask::new(QueueName::new("q").unwrap(), TaskName::new("work").unwrap(), payload)
    }

    #[test]
    fn a_copy_reads_as_it_was_written() {
        let mut stored = Stored::new(&task().with_priority(2), true, Some("sender".into()));
        stored.progress.claim(0);
        stored.progress.attempts = 2;
        stored.progress.crashes = 3;
        stored.progress.deaths = 1;
        stored.progress.error = Some("ü".to_owned());
        (stored.progress.parks, stored.progress.parked_since) = (3, 99);
        let read = Stored::read(&delivery(stored.properties(), b"{\"n\": 1.50}")).unwrap();
        assert_eq!((read.id, read.payload, read.repeated), (stored.id, stored.payload, true));
        assert_eq!((read.reply_to, read.priority), (Some("sender".into()), Some(2)));
        assert_eq!(read.progress, stored.progress);
    }

    #[test]
    fn a_plain_task_says_nothing_in_headers() {
        let properties = Stored::new(&task(), false, Some("sender".into())).properties();
        assert_eq!(properties.headers(), &None);
        let read = Stored::read(&delivery(properties, b"1")).unwrap();
        assert_eq!((read.progress.max_attempts, read.progress.max_crashes), USUAL);
        assert_eq!(read.reply_to, Some("sender".into()));
        let unusual = Stored::new(&task().with_max_attempts(1), false, None).properties();
        assert_eq!(Stored::read(&delivery(unusual, b"1")).unwrap().progress.max_attempts, 1);
    }

    /// As every version before this one has written it.
    #[test]
    fn the_format_before_is_read() {
        let mut headers = FieldTable::default();
        let said = ["format", "epoch", "attempts", "max-attempts", "max-crashes", "deaths"].into_iter();
        for (key, value) in said.zip([1, 4, 2, 9, 8, 1]) {
            headers.insert(format!("mh-{key}").into(), AMQPValue::LongLongInt(value));
        }
        let properties =
            persistent().with_message_id("a".into()).with_type("work".into()).with_headers(headers);
        let Progress { epoch, attempts, max_attempts, crashes, max_crashes, deaths, .. } =
            Stored::read(&delivery(properties, b"1")).unwrap().progress;
        assert_eq!((epoch, attempts, max_attempts, crashes, max_crashes, deaths), (4, 2, 9, 0, 8, 1));
    }

    /// A crash that its holder told of, and the losses after it.
    #[test]
    fn crashes_are_those_that_were_told_or_the_losses_while_alone() {
        let mut stored = Stored::new(&task(), false, None);
        for (crashes, deaths, shown) in [(0, 0, 0), (0, 2, 0), (0, 5, 3), (1, 2, 1), (2, 3, 2), (1, 5, 3)] {
            (stored.progress.crashes, stored.progress.deaths) = (crashes, deaths);
            assert_eq!(stored.crashes(), shown, "{crashes} crashes, {deaths} deaths");
        }
    }

    #[test]
    fn what_the_server_counted_is_added() {
        let stored = Stored::new(&task(), false, None);
        let counted = |counts: &[(&str, i64)]| {
            let properties = stored.properties();
            let mut headers = properties.headers().clone().unwrap_or_default();
            for (key, count) in counts {
                headers.insert((*key).into(), AMQPValue::LongLongInt(*count));
            }
            let properties = properties.with_headers(headers);
            let returned = returned(&properties);
            let progress = Stored::read(&delivery(properties, b"1")).unwrap().progress;
            (returned, progress.epoch, progress.deaths, progress.must_run_alone())
        };
        assert_eq!(counted(&[]), (0, 0, 0, false));
        assert_eq!(counted(&[("x-delivery-count", 2)]), (2, 2, 2, true));
        // 4.3 and newer.
        assert_eq!(counted(&[("x-acquired-count", 2)]), (2, 2, 2, true));
        assert_eq!(counted(&[("x-acquired-count", 3), ("x-delivery-count", 1)]), (3, 3, 3, true));
    }

    #[test]
    fn what_is_not_ours_is_said() {
        let kind = |properties, data: &[u8]| Stored::read(&delivery(properties, data)).unwrap_err().kind();
        assert_eq!(kind(BasicProperties::default(), b"1"), ErrorKind::Corrupt);
        let good = Stored::new(&task(), false, None).properties();
        assert_eq!(kind(good.clone(), b"\xff"), ErrorKind::Corrupt);
        assert_eq!(kind(good.clone(), b"1}\n{"), ErrorKind::Corrupt, "whoever sent it");
        let mut headers = FieldTable::default();
        headers.insert("mh-format".into(), AMQPValue::LongLongInt(FORMAT + 1));
        assert_eq!(kind(good.with_headers(headers), b"1"), ErrorKind::Incompatible);
    }
}
