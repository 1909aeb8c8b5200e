//! What a worker and a warm child say to each other: one JSON object a line. `docs/handler-protocol.md` is written for who
//! writes the other side.

use std::collections::BTreeMap;

use manyhands_broker::{Payload, TaskName, limits};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::Context;

/// The version of the protocol.
const VERSION: u32 = 1;

/// The longest line of an answer: a result of the largest size, with what is around it.
pub(super) const LONGEST: usize = limits::MAX_PAYLOAD + 64 * 1024;

/// A task, for the child.
#[derive(Serialize)]
struct Wanted<'a> {
    id: String,
    task: &'a str,
    queue: &'a str,
    attempt: u32,
    fence: u64,
    payload: &'a RawValue,
}

/// What a child says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is ready for tasks of these names.
    Hello { tasks: Vec<String> },
    /// It has done what it was given.
    Answer { id: String, answer: Answer },
}

/// How a task ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done(Payload),
    Retry(String),
    Bury(String),
}

/// Writes a task as one line.
pub(super) fn task(
    name: &TaskName,
    payload: &Payload,
    context: &Context,
) -> Result<Vec<u8>, serde_json::Error> {
    // Line ends stand only between the parts of a JSON text, where a space is the same.
    let flat = payload.as_str().replace(['\n', '\r'], " ");
    let payload: &RawValue = serde_json::from_str(&flat)?;
    let mut line = serde_json::to_vec(&Wanted {
        id: context.id().to_string(),
        task: name.as_str(),
        queue: context.queue().as_str(),
        attempt: context.attempt(),
        fence: context.fence(),
        payload,
    })?;
    line.push(b'\n');
    Ok(line)
}

/// Reads what a child says.
///
/// # Errors
/// Why it is no message.
pub(super) fn read(line: &[u8]) -> Result<Said, String> {
    let parts: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(line).map_err(|e| format!("it is no JSON object: {e}"))?;
    let text = |key: &str| -> Result<Option<String>, String> {
        let read = |value: &RawValue| {
            serde_json::from_str(value.get()).map_err(|_| format!("its \"{key}\" is no string"))
        };
        parts.get(key).map(|value| read(value)).transpose()
    };
    if let Some(version) = parts.get("hello") {
        let version = version.get();
        if version != VERSION.to_string() {
            return Err(format!("it speaks version {version} of the protocol, and this worker {VERSION}"));
        }
        let tasks = parts.get("tasks").map_or("[]", |tasks| tasks.get());
        let tasks =
            serde_json::from_str(tasks).map_err(|_| "its \"tasks\" are no list of names".to_owned())?;
        return Ok(Said::Hello { tasks });
    }
    let Some(id) = text("id")? else {
        return Err("it has neither \"hello\" nor \"id\"".to_owned());
    };
    let answer = match (parts.get("result"), text("error")?, text("then")?.as_deref()) {
        (Some(result), None, None) => Answer::Done(Payload::from_stored(result.get().to_owned())),
        (None, Some(error), None | Some("retry")) => Answer::Retry(error),
        (None, Some(error), Some("bury")) => Answer::Bury(error),
        (None, Some(_), Some(then)) => {
            return Err(format!("its \"then\" is {then:?}, and there are \"retry\" and \"bury\""));
        }
        (None, None, _) => return Err("it has neither \"result\" nor \"error\"".to_owned()),
        (Some(_), ..) => return Err("it has a \"result\" and an \"error\" or a \"then\"".to_owned()),
    };
    Ok(Said::Answer { id, answer })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str) -> Answer {
        match read(line.as_bytes()) {
            Ok(Said::Answer { id, answer }) if id == "a" => answer,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn messages_are_read() {
        let hello = Said::Hello { tasks: vec!["resize".to_owned()] };
        assert_eq!(read(br#"{"hello": 1, "tasks": ["resize"]}"#), Ok(hello));
        let done = |text: &str| Answer::Done(Payload::from_stored(text.to_owned()));
        assert_eq!(answer(r#"{"id": "a", "result": {"width": 320}, "new": 1}"#), done(r#"{"width": 320}"#));
        assert_eq!(answer(r#"{"id": "a", "result": null}"#), done("null"));
        assert_eq!(answer(r#"{"id": "a", "error": "x"}"#), Answer::Retry("x".to_owned()));
        assert_eq!(answer(r#"{"id": "a", "error": "x", "then": "bury"}"#), Answer::Bury("x".to_owned()));
    }

    #[test]
    fn what_is_no_message_is_said() {
        for (line, why) in [
            ("{", "no JSON object"),
            ("{'a': 1}", "no JSON object"),
            ("{}", "neither \"hello\" nor \"id\""),
            (r#"{"hello": 2, "tasks": []}"#, "version 2"),
            (r#"{"hello": 1, "tasks": "resize"}"#, "no list of names"),
            (r#"{"id": 7, "result": 1}"#, "\"id\" is no string"),
            (r#"{"id": "a"}"#, "neither \"result\" nor \"error\""),
            (r#"{"id": "a", "error": {}}"#, "\"error\" is no string"),
            (r#"{"id": "a", "error": "x", "then": "give up"}"#, "\"then\" is \"give up\""),
            (r#"{"id": "a", "result": 1, "error": "x"}"#, "a \"result\" and an \"error\""),
            (r#"{"id": "a", "result": 1} x"#, "no JSON object"),
        ] {
            let error = read(line.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
