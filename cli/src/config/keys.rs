//! The keys that there are.

use super::Entry;

/// What stands at the top of the file.
const TOP: &[&str] = &["broker", "queues", "tasks", "worker"];

/// What a worker is told.
const WORKER: &[&str] = &["queues", "strict", "concurrency", "processes", "autoscale", "lease", "grace"];

/// What a queue is told, in `[queues.NAME]`.
const QUEUE: &[&str] = &["order", "capacity", "key_limit", "key_interval", "remember_ids"];

/// What a kind of task is told, in `[tasks.NAME]`.
const TASK: &[&str] = &[
    "queue",
    "command",
    "process",
    "processes",
    "run_limit",
    "memory_limit",
    "address_space_limit",
    "cpu_limit",
    "open_files_limit",
    "file_size_limit",
    "max_tasks_per_child",
    "max_age_per_child",
    "max_memory_per_child",
    "max_attempts",
    "max_crashes",
];

/// What a key can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It holds a value.
    Value,
    /// It holds further keys, of this kind.
    Table,
    /// There is no such key; these are the ones of its table.
    Unknown(&'static [&'static str]),
}

/// Says what a key can be.
pub(super) fn place(path: &[String]) -> Place {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let known = |keys: &'static [&'static str], key: &str, place| {
        if keys.contains(&key) { place } else { Place::Unknown(keys) }
    };
    match parts.as_slice() {
        [] | ["queues" | "tasks" | "worker"] | ["queues" | "tasks", _] => Place::Table,
        ["broker"] => Place::Value,
        ["worker", key] => known(WORKER, key, Place::Value),
        ["queues", _, key] => known(QUEUE, key, Place::Value),
        ["tasks", _, key] => known(TASK, key, Place::Value),
        [_] => Place::Unknown(TOP),
        _ => Place::Unknown(&[]),
    }
}

/// What is said of a key that nobody knows.
pub(super) fn unknown(path: &[String], known: &[&str]) -> String {
    let key = path.last().map_or("", String::as_str);
    let near = known.iter().map(|name| (strsim::damerau_levenshtein(key, name), name)).min();
    match near {
        Some((distance, name)) if distance <= 1 + name.len() / 3 => format!("did you mean \"{name}\"?"),
        Some(_) => format!("there are: {}", known.join(", ")),
        None => "there is nothing below this key".to_owned(),
    }
}

/// Writes a key as the file has it.
pub(super) fn join(path: &[String]) -> String {
    let part = |part: &String| {
        let bare =
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if bare { part.clone() } else { format!("{part:?}") }
    };
    path.iter().map(part).collect::<Vec<_>>().join(".")
}

/// Finds a value.
pub(super) fn find<'e>(entries: &'e [Entry], path: &[&str]) -> Option<&'e Entry> {
    entries.iter().find(|entry| entry.path.iter().map(String::as_str).eq(path.iter().copied()))
}
