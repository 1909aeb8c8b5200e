//! How one task is shown: as a row, line by line, and as an object.

use manyhands::{Payload, QueueName, Standing, TaskDetail, TaskInfo, Wanted};
use serde_json::{Map, Value, json};

use super::{
    holders::Holders,
    print::{self, Cell},
};

pub(super) fn row(task: &TaskInfo) -> Vec<Cell> {
    let dead = matches!(task.standing, Standing::Dead { .. });
    vec![
        Cell::text(task.id.to_string()),
        Cell::text(task.name.as_str()),
        Cell::text(task.standing.state().to_string()).bad_if(dead),
        Cell::text(when(task)),
        Cell::text(format!("{}/{}", task.attempts, task.max_attempts)),
    ]
}

/// What there is to say of the time or the place of a task, in few words.
fn when(task: &TaskInfo) -> String {
    match &task.standing {
        Standing::Ready { alone: true } => "alone".to_owned(),
        Standing::Scheduled { left, .. } if task.parked_since.is_some() => {
            format!("parked, in {}", print::left(*left))
        }
        Standing::Scheduled { left, .. } => format!("in {}", print::left(*left)),
        Standing::Held => task.key.as_ref().map_or(String::new(), |key| format!("for {key}")),
        Standing::Leased { left, cancelled, .. } => {
            let told = if *cancelled { ", cancelled" } else { "" };
            format!("{} left{told}", print::left(*left))
        }
        Standing::Dead { died } => print::time(*died),
        _ => String::new(),
    }
}

/// What is said of a task in JSON. Fields that do not apply are null.
pub(super) fn object(queue: &QueueName, task: &TaskInfo, holders: &Holders) -> Map<String, Value> {
    let (mut due, mut due_in, mut holder, mut lease, mut cancelled, mut died) =
        (None, None, None, None, false, None);
    let mut alone = false;
    match &task.standing {
        Standing::Ready { alone: so } => alone = *so,
        Standing::Scheduled { due: at, left } => {
            (due, due_in) = (Some(print::time(*at)), Some(print::ms(*left)));
        }
        Standing::Leased { by, left, cancelled: so } => {
            (holder, lease, cancelled) = (Some(*by), Some(print::ms(*left)), *so);
        }
        Standing::Dead { died: at } => died = Some(print::time(*at)),
        _ => {}
    }
    let kept = match task.result {
        Wanted::Keep(time) => Some(print::ms(time)),
        _ => None,
    };
    let value = json!({
        "queue": queue,
        "id": task.id,
        "name": task.name,
        "state": task.standing.state().to_string(),
        "priority": task.priority,
        "alone": alone,
        "due": due,
        "due_in_ms": due_in,
        "parked_since": task.parked_since.map(print::time),
        "expires": task.expires.map(print::time),
        "lease_left_ms": lease,
        "cancelled": cancelled,
        "died": died,
        "attempts": task.attempts,
        "max_attempts": task.max_attempts,
        "crashes": task.crashes,
        "max_crashes": task.max_crashes,
        "epoch": task.epoch,
        "unique": task.unique.as_ref().map(|unique| unique.key.as_str()),
        "key": task.key.as_ref().map(|key| key.as_str()),
        "batch": task.batch,
        "keep_result_ms": kept,
        "run_limit_ms": task.run_limit.map(print::ms),
        "error": task.error,
        "payload_bytes": task.payload_bytes,
    });
    match value {
        Value::Object(mut object) => {
            holders.tell(holder, &mut object);
            object
        }
        _ => Map::new(),
    }
}

/// A payload as JSON; one that is none, as a text.
pub(super) fn json_text(payload: &Payload) -> Value {
    serde_json::from_str(payload.as_str()).unwrap_or_else(|_| Value::from(payload.as_str()))
}

pub(super) fn lines(
    queue: &QueueName,
    TaskDetail { info, payload, progress, history, .. }: &TaskDetail,
    holders: &Holders,
) -> Vec<(&'static str, Cell)> {
    let mut lines = vec![
        ("id", Cell::text(info.id.to_string())),
        ("name", Cell::text(info.name.as_str())),
        ("queue", Cell::text(queue.as_str())),
        ("state", Cell::text(format!("{} {}", info.standing.state(), when(info)).trim_end())),
    ];
    let mut add = |name, text: Option<String>| lines.extend(text.map(|text| (name, Cell::text(text))));
    match &info.standing {
        Standing::Scheduled { due, .. } => add("due", Some(print::time(*due))),
        Standing::Leased { by, .. } => add("holder", Some(holders.words(*by))),
        _ => {}
    }
    add("parked", info.parked_since.map(|since| format!("since {}", print::time(since))));
    add("expires", info.expires.map(print::time));
    add("priority", info.priority.map(|priority| priority.to_string()));
    add("attempts", Some(format!("{} of {}", info.attempts, info.max_attempts)));
    add("crashes", Some(format!("{} of {}", info.crashes, info.max_crashes)));
    add("run limit", info.run_limit.map(print::duration));
    add("key", info.key.as_ref().map(ToString::to_string));
    add("unique", info.unique.as_ref().map(|unique| unique.key.to_string()));
    add("batch", info.batch.as_ref().map(ToString::to_string));
    add("error", info.error.clone());
    add("progress", progress.as_ref().map(|progress| progress.as_str().to_owned()));
    add("payload", Some(payload.as_str().to_owned()));
    for failure in history {
        add("failed", Some(format!("{} {}", print::time(failure.at), failure.error)));
    }
    lines
}
