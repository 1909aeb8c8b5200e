//! Why a task is not running, in a sentence and in JSON.

use std::time::{Duration, SystemTime};

use manyhands::{Ahead, Failure, Pause, QueueName, TaskId, Why};
use manyhands_broker::limits;
use serde_json::{Value, json};

use super::{holders::Holders, print, task::json_text};

/// The reason in a sentence; further lines say what led to it, or what to do.
pub(super) fn sentences(queue: &QueueName, id: &TaskId, why: &Why, holders: &Holders) -> Vec<String> {
    let one = |line: String| vec![line];
    match why {
        Why::Due { left, .. } if left.is_zero() => {
            one("it is due now: the next claim of its queue makes it ready".to_owned())
        }
        Why::Due { at, left } => one(format!("it is due in {}, at {}", print::left(*left), print::time(*at))),
        Why::Parked { since, next, left } => {
            let (dies, dies_in) = end_of_parking(*since, *next, *left);
            one(format!(
                "no worker that claimed it knows its name: it is parked since {}, and can be claimed again in {}; \
                 if none knows it until {}, in {}, it is dead",
                print::time(*since),
                print::left(*left),
                print::time(dies),
                print::left(dies_in)
            ))
        }
        Why::Expired { at } => one(format!(
            "it expired at {}, before anybody claimed it: the next claim buries it",
            print::time(*at)
        )),
        Why::Paused { pause, ahead } => vec![
            match pause {
                Some(Pause { by, at }) => {
                    format!("its queue was paused by {by} at {}; it is {}", print::time(*at), behind(*ahead))
                }
                None => format!("its queue is paused; it is {}", behind(*ahead)),
            },
            format!("to let it go on: manyhands queues resume {queue}"),
        ],
        Why::Behind { ahead: Ahead { tasks: 0, more: false } } => {
            one("it is ready, and the next one: no worker of its queue has had a free slot for it yet"
                .to_owned())
        }
        Why::Behind { ahead } => one(format!("it is ready, {}", behind(*ahead))),
        Why::Alone { ahead } => one(format!(
            "its processes died twice in a row, or one died that ran nothing else, so that only one where nothing else runs gets it; of such tasks it is {}",
            behind(*ahead)
        )),
        Why::Held { key, permits, limit, opens, ahead } => {
            let mut reasons = vec![match limit {
                Some(limit) => format!("{permits} of {limit} permits are taken"),
                None => format!("{permits} of its tasks are ready or running"),
            }];
            reasons.extend(opens.map(|opens| format!("its interval is over in {}", print::left(opens))));
            one(format!("it waits for its key \"{key}\": {}; it is {}", reasons.join(", "), behind(*ahead)))
        }
        Why::Leased { by, left, cancelled, progress } => {
            let told = if *cancelled { "; it is cancelled, which its holder is told" } else { "" };
            let lease = if left.is_zero() {
                "whose lease has run out: the next claim of its queue takes it back".to_owned()
            } else {
                format!("{} left unless it renews the lease", print::left(*left))
            };
            let mut lines = one(format!("it is leased by {}, {lease}{told}", holders.words(*by)));
            lines.extend(progress.as_ref().map(|progress| format!("progress: {}", progress.as_str())));
            lines
        }
        Why::Dead { error, died, history } => {
            let mut lines = one(format!("it is dead since {}: {error}", print::time(*died)));
            let failures = history.iter().map(|f| format!("{} {}", print::time(f.at), f.error));
            lines.extend(failures);
            lines.push(format!("to run it again: manyhands dead revive {id} --queue {queue}"));
            lines
        }
        Why::Done => one("it completed; its result is kept".to_owned()),
        Why::Cancelled => one("it was cancelled".to_owned()),
        Why::Settled => one("it is settled; its id is remembered, and nothing else".to_owned()),
        _ => one("nothing is known of it".to_owned()),
    }
}

fn behind(Ahead { tasks, more }: Ahead) -> String {
    match (tasks, more) {
        (0, false) => "the next one".to_owned(),
        (1, false) => "behind 1 task".to_owned(),
        (some, false) => format!("behind {some} tasks"),
        (some, true) => format!("behind at least {some} tasks"),
    }
}

/// When a parked task is given up, and how long that is from now.
fn end_of_parking(since: SystemTime, next: SystemTime, left: Duration) -> (SystemTime, Duration) {
    let dies = since + limits::MAX_PARKED;
    (dies, dies.duration_since(next - left).unwrap_or_default())
}

/// The reason as an object. Each has the fields that belong to it.
pub(super) fn object(queue: &QueueName, id: &TaskId, why: &Why, holders: &Holders) -> Value {
    let (reason, mut more) = fields(why);
    if let Value::Object(fields) = &mut more {
        if let Why::Leased { by, .. } = why {
            holders.tell(Some(*by), fields);
        }
        fields.insert("queue".to_owned(), json!(queue));
        fields.insert("id".to_owned(), json!(id));
        fields.insert("why".to_owned(), json!(reason));
    }
    more
}

fn fields(why: &Why) -> (&'static str, Value) {
    let place = |Ahead { tasks, more }: &Ahead| json!({ "ahead": tasks, "ahead_or_more": more });
    match why {
        Why::Due { at, left } => ("due", json!({ "due": print::time(*at), "due_in_ms": print::ms(*left) })),
        Why::Parked { since, next, left } => {
            let (dies, dies_in) = end_of_parking(*since, *next, *left);
            let parked = json!({
                "parked_since": print::time(*since),
                "due": print::time(*next),
                "due_in_ms": print::ms(*left),
                "dies": print::time(dies),
                "dies_in_ms": print::ms(dies_in),
            });
            ("parked", parked)
        }
        Why::Expired { at } => ("expired", json!({ "expires": print::time(*at) })),
        Why::Paused { pause, ahead } => (
            "paused",
            json!({
                "paused_by": pause.as_ref().map(|pause| &pause.by),
                "paused_at": pause.as_ref().map(|pause| print::time(pause.at)),
                "ahead": ahead.tasks,
                "ahead_or_more": ahead.more,
            }),
        ),
        Why::Behind { ahead } => ("behind", place(ahead)),
        Why::Alone { ahead } => ("alone", place(ahead)),
        Why::Held { key, permits, limit, opens, ahead } => (
            "held",
            json!({
                "key": key.as_str(),
                "permits": permits,
                "key_limit": limit,
                "opens_in_ms": opens.map(print::ms),
                "ahead": ahead.tasks,
                "ahead_or_more": ahead.more,
            }),
        ),
        Why::Leased { left, cancelled, progress, .. } => (
            "leased",
            json!({
                "lease_left_ms": print::ms(*left),
                "cancelled": cancelled,
                "progress": progress.as_ref().map_or(Value::Null, json_text),
            }),
        ),
        Why::Dead { error, died, history: failures } => {
            ("dead", json!({ "error": error, "died": print::time(*died), "history": history(failures) }))
        }
        Why::Done => ("done", json!({})),
        Why::Cancelled => ("cancelled", json!({})),
        Why::Settled => ("settled", json!({})),
        _ => ("unknown", json!({})),
    }
}

/// What went wrong, the oldest first.
pub(super) fn history(history: &[Failure]) -> Value {
    history
        .iter()
        .map(|failure| json!({ "at": print::time(failure.at), "error": failure.error }))
        .collect::<Vec<_>>()
        .into()
}
