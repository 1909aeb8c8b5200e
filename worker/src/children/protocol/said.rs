//! What a child says.

use std::{
    fmt,
    time::{Duration, UNIX_EPOCH},
};

use manyhands_broker::Payload;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{HandedOn, MOST_AHEAD, VERSION};

/// What a child says.
#[derive(Debug)]
pub(in crate::children) enum Said {
    /// It is ready for tasks.
    Hello(Hello),
    /// Something of the task of this id.
    Of { id: String, news: News },
    /// A line for the log, of the task of this id or of none.
    Log { level: Level, text: String, id: Option<String> },
}

/// How a child introduces itself.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::children) struct Hello {
    /// The names of the tasks that it runs.
    pub(in crate::children) tasks: Vec<String>,
    /// How many tasks it may be given beside the one that it runs.
    pub(in crate::children) ahead: usize,
}

/// What a child says of a task.
#[derive(Debug)]
pub(in crate::children) enum News {
    /// It ended.
    Answer(Answer),
    /// How far it is.
    Progress(Payload),
    /// These tasks follow when it is done.
    Then(Vec<HandedOn>),
    /// This task is to be enqueued now, and the child waits for the answer.
    Put(Put),
}

/// A task that is to be enqueued at once.
#[derive(Debug)]
pub(in crate::children) struct Put {
    /// What the answer is to be called.
    pub(in crate::children) number: u64,
    pub(in crate::children) task: Box<HandedOn>,
}

/// How a task ended.
#[derive(Debug)]
pub(in crate::children) enum Answer {
    Done {
        result: Payload,
        then: Vec<HandedOn>,
    },
    /// It is tried again, after so long if that is said.
    Retry {
        error: String,
        after: Option<Duration>,
    },
    Bury {
        error: String,
    },
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::children) enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

/// All fields that there are. What else a message has is passed over.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow, deserialize_with = "present")]
    hello: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    tasks: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    ahead: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    error: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    then: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    retry_in_ms: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    retry_at: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    progress: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    log: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    level: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    put: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    task: Option<&'a RawValue>,
}

/// A field that is `null` is there all the same: as a result it is one.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Reads what a child says.
///
/// # Errors
/// Why it is no message.
pub(in crate::children) fn read(line: &[u8]) -> Result<Said, String> {
    let message: Message<'_> =
        serde_json::from_slice(line).map_err(|e| format!("it is no JSON object: {e}"))?;
    if let Some(version) = message.hello {
        return hello(version.get(), &message).map(Said::Hello);
    }
    let id = field::<String>("id", message.id, "string")?;
    if let Some(text) = field("log", message.log, "string")? {
        let level = match field::<String>("level", message.level, "string")? {
            None => Level::default(),
            Some(level) => Level::read(&level)?,
        };
        return Ok(Said::Log { level, text, id });
    }
    let id = id.ok_or("it has none of \"hello\", \"id\" and \"log\"")?;
    Ok(Said::Of { id, news: news(&message)? })
}

fn hello(version: &str, message: &Message<'_>) -> Result<Hello, String> {
    if version != VERSION.to_string() {
        return Err(format!("it speaks version {version} of the protocol, and this worker {VERSION}"));
    }
    let tasks = field("tasks", message.tasks, "list of names")?.unwrap_or_default();
    let ahead = field("ahead", message.ahead, "whole number")?.unwrap_or(0);
    if ahead > MOST_AHEAD {
        return Err(format!("its \"ahead\" is {ahead}, and at most {MOST_AHEAD} tasks are given ahead"));
    }
    Ok(Hello { tasks, ahead })
}

fn news(message: &Message<'_>) -> Result<News, String> {
    let payload = |json: &RawValue| Payload::from_stored(json.get());
    if let Some(number) = field("put", message.put, "whole number")? {
        let task = field("task", message.task, "task")?.ok_or("its \"put\" has no \"task\"")?;
        return Ok(News::Put(Put { number, task }));
    }
    let error = field::<String>("error", message.error, "string")?;
    match (message.result, error) {
        (Some(_), Some(_)) => Err("it has a \"result\" and an \"error\"".to_owned()),
        (Some(result), None) => {
            let then = tasks(message.then)?.unwrap_or_default();
            Ok(News::Answer(Answer::Done { result: payload(result), then }))
        }
        (None, Some(error)) => failure(error, message).map(News::Answer),
        (None, None) => match (message.progress, tasks(message.then)?) {
            (Some(progress), _) => Ok(News::Progress(payload(progress))),
            (None, Some(then)) => Ok(News::Then(then)),
            (None, None) => {
                Err("it has none of \"result\", \"error\", \"progress\", \"then\" and \"put\"".to_owned())
            }
        },
    }
}

fn failure(error: String, message: &Message<'_>) -> Result<Answer, String> {
    let after = match field::<u64>("retry_in_ms", message.retry_in_ms, "number of milliseconds")? {
        Some(millis) => Some(Duration::from_millis(millis)),
        None => field::<f64>("retry_at", message.retry_at, "time in milliseconds since 1970")?.map(until),
    };
    match field::<String>("then", message.then, "\"retry\" or \"bury\"")?.as_deref() {
        None | Some("retry") => Ok(Answer::Retry { error, after }),
        Some("bury") if after.is_some() => Err("it is to be buried and to be tried again".to_owned()),
        Some("bury") => Ok(Answer::Bury { error }),
        Some(then) => Err(format!("its \"then\" is {then:?}, and there are \"retry\" and \"bury\"")),
    }
}

/// How long it is until then, by the clock of this host.
fn until(millis: f64) -> Duration {
    let then = Duration::try_from_secs_f64(millis / 1000.0).unwrap_or_default();
    then.saturating_sub(UNIX_EPOCH.elapsed().unwrap_or_default())
}

fn tasks(field: Option<&RawValue>) -> Result<Option<Vec<HandedOn>>, String> {
    let read = |json: &RawValue| {
        serde_json::from_str(json.get()).map_err(|e| format!("its \"then\" is no list of tasks: {e}"))
    };
    field.map(read).transpose()
}

fn field<'a, T: Deserialize<'a>>(
    name: &str,
    value: Option<&'a RawValue>,
    what: &str,
) -> Result<Option<T>, String> {
    let read = |json: &'a RawValue| {
        serde_json::from_str(json.get()).map_err(|e| format!("its \"{name}\" is no {what}: {e}"))
    };
    value.map(read).transpose()
}

impl Level {
    fn read(text: &str) -> Result<Self, String> {
        serde_json::from_value(text.into())
            .map_err(|_| format!("its \"level\" is {text:?}, and there are error, warn, info and debug"))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news_of(line: &str) -> News {
        match read(line.as_bytes()) {
            Ok(Said::Of { id, news }) if id == "a" => news,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_child_introduces_itself() {
        let hello = |line: &str| match read(line.as_bytes()) {
            Ok(Said::Hello(hello)) => hello,
            other => panic!("{line}: {other:?}"),
        };
        let named = vec!["resize".to_owned()];
        assert_eq!(hello(r#"{"hello": 1, "tasks": ["resize"]}"#), Hello { tasks: named.clone(), ahead: 0 });
        assert_eq!(
            hello(r#"{"ahead": 8, "hello": 1, "tasks": ["resize"]}"#),
            Hello { tasks: named, ahead: 8 }
        );
    }

    #[test]
    fn answers_are_read() {
        let result = |line| match news_of(line) {
            News::Answer(Answer::Done { result, then }) => (result.as_str().to_owned(), then.len()),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(
            result(r#"{"id": "a", "result": {"width": 320}, "new": 1}"#),
            (r#"{"width": 320}"#.to_owned(), 0)
        );
        assert_eq!(result(r#"{"id": "a", "result": null}"#), ("null".to_owned(), 0));
        assert_eq!(
            result(r#"{"id": "a", "result": 1, "then": [{"task": "t"}, {"task": "u", "payload": {}}]}"#),
            ("1".to_owned(), 2)
        );
        let failure = |line| match news_of(line) {
            News::Answer(Answer::Retry { error, after }) => (error, after),
            News::Answer(Answer::Bury { error }) => (format!("buried: {error}"), None),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(failure(r#"{"id": "a", "error": "x"}"#), ("x".to_owned(), None));
        assert_eq!(failure(r#"{"id": "a", "error": "x", "then": "retry"}"#), ("x".to_owned(), None));
        assert_eq!(failure(r#"{"id": "a", "error": "x", "then": "bury"}"#), ("buried: x".to_owned(), None));
        assert_eq!(
            failure(r#"{"id": "a", "error": "x", "retry_in_ms": 1500}"#).1,
            Some(Duration::from_millis(1500))
        );
        assert_eq!(
            failure(r#"{"id": "a", "error": "x", "retry_at": 5.5}"#).1,
            Some(Duration::ZERO),
            "long ago"
        );
        let in_an_hour = UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(3600);
        let (_, after) = failure(&format!(
            "{{\"id\": \"a\", \"error\": \"x\", \"retry_at\": {}}}",
            in_an_hour.as_millis()
        ));
        assert!(
            after
                .is_some_and(|after| after <= Duration::from_secs(3600) && after > Duration::from_secs(3000))
        );
    }

    #[test]
    fn what_is_no_answer_is_read() {
        assert!(
            matches!(news_of(r#"{"id": "a", "progress": null}"#), News::Progress(p) if p.as_str() == "null")
        );
        assert!(
            matches!(news_of(r#"{"id": "a", "then": [{"task": "t"}]}"#), News::Then(tasks) if tasks.len() == 1)
        );
        assert!(
            matches!(news_of(r#"{"id": "a", "put": 7, "task": {"task": "t"}}"#), News::Put(put) if put.number == 7)
        );
        let log = read(br#"{"log": "x", "level": "warn", "id": "a"}"#).unwrap();
        assert!(
            matches!(log, Said::Log { level: Level::Warn, text, id: Some(id) } if text == "x" && id == "a")
        );
        let log = read(br#"{"log": "x"}"#).unwrap();
        assert!(matches!(log, Said::Log { level: Level::Info, id: None, .. }));
    }

    #[test]
    fn what_is_no_message_is_said() {
        for (line, why) in [
            ("{", "no JSON object"),
            ("{'a': 1}", "no JSON object"),
            ("{}", "none of \"hello\", \"id\" and \"log\""),
            (r#"{"hello": 2, "tasks": []}"#, "version 2"),
            (r#"{"hello": 1, "tasks": "resize"}"#, "no list of names"),
            (r#"{"hello": 1, "tasks": [], "ahead": 65}"#, "at most 64 tasks"),
            (r#"{"hello": 1, "tasks": [], "ahead": -1}"#, "\"ahead\" is no whole number"),
            (r#"{"id": 7, "result": 1}"#, "\"id\" is no string"),
            (r#"{"id": "a"}"#, "none of \"result\", \"error\""),
            (r#"{"id": "a", "error": {}}"#, "\"error\" is no string"),
            (r#"{"id": "a", "error": "x", "then": "give up"}"#, "\"then\" is \"give up\""),
            (
                r#"{"id": "a", "error": "x", "then": "bury", "retry_in_ms": 1}"#,
                "buried and to be tried again",
            ),
            (r#"{"id": "a", "error": "x", "retry_in_ms": -1}"#, "no number of milliseconds"),
            (r#"{"id": "a", "result": 1, "error": "x"}"#, "a \"result\" and an \"error\""),
            (r#"{"id": "a", "result": 1, "then": "bury"}"#, "no list of tasks"),
            (r#"{"id": "a", "result": 1, "then": [{"name": "t"}]}"#, "unknown field `name`"),
            (r#"{"id": "a", "result": 1} x"#, "no JSON object"),
            (r#"{"id": "a", "put": 1}"#, "has no \"task\""),
            (r#"{"log": 1}"#, "\"log\" is no string"),
            (r#"{"log": "x", "level": "loud"}"#, "there are error, warn, info and debug"),
        ] {
            let error = read(line.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
