//! What no broker accepts.

use std::time::{Duration, SystemTime};

use crate::{
    Error, Hold, Lease, NewTask, Payload, QueueName, QueueOptions, Result, Settlement, Start, Unique,
    WorkerReport, limits,
};

pub(super) fn check_options(
    operation: &'static str,
    queue: &QueueName,
    options: &QueueOptions,
) -> Result<()> {
    // What is stored is a signed 64-bit number, and one that JSON carries exactly.
    const MOST: u64 = 1 << 53;
    if options.capacity == 0 || options.capacity > MOST {
        let message = format!("queue \"{queue}\": the capacity is 1 to 2^53 tasks, not {}", options.capacity);
        return Err(Error::invalid(operation, message));
    }
    if options.remember_ids > limits::MAX_DELAY {
        return Err(Error::invalid(
            operation,
            format!("queue \"{queue}\": ids are remembered for ten years at most"),
        ));
    }
    if options.key_limit.is_some_and(|limit| limit == 0 || limit > limits::MAX_KEY_LIMIT) {
        let message = format!("queue \"{queue}\": the key_limit is 1 to 2^31 - 1 tasks");
        return Err(Error::invalid(operation, message));
    }
    if options.key_interval > limits::MAX_KEY_INTERVAL {
        let message = format!("queue \"{queue}\": the key_interval is a day at most");
        return Err(Error::invalid(operation, message));
    }
    Ok(())
}

/// Checks how many a list is to have.
pub(super) fn check_page(operation: &'static str, max: usize) -> Result<()> {
    if max > 0 && max <= limits::MAX_BATCH {
        return Ok(());
    }
    let message = format!("a list has 1 to {} entries, not {max}", limits::MAX_BATCH);
    Err(Error::invalid(operation, message))
}

/// Checks the text that says who pauses a queue.
pub(super) fn check_by(by: &str) -> Result<()> {
    if (1..=limits::MAX_BY).contains(&by.len()) {
        return Ok(());
    }
    let message = format!("who pauses a queue is told in 1 to {} bytes, not {}", limits::MAX_BY, by.len());
    Err(Error::invalid("pause", message))
}

/// Checks what a worker tells of itself.
pub(super) fn check_report(report: &WorkerReport) -> Result<()> {
    let bytes = report.to_json().len();
    if bytes <= limits::MAX_REPORT {
        return Ok(());
    }
    let message = format!("a worker tells of itself in at most {} bytes, not {bytes}", limits::MAX_REPORT);
    Err(Error::invalid("report", message).advise("leave out what is long: queues, handlers, running tasks"))
}

pub(super) fn check_batch(operation: &'static str, len: usize) -> Result<()> {
    if len <= limits::MAX_BATCH {
        return Ok(());
    }
    let message = format!("a call takes at most {} tasks, not {len}", limits::MAX_BATCH);
    Err(Error::invalid(operation, message).advise("split it into several calls"))
}

/// Checks tasks that come in one call with so many other bytes.
pub(super) fn check_tasks<'a>(
    operation: &'static str,
    tasks: impl Iterator<Item = &'a NewTask>,
    mut bytes: usize,
) -> Result<()> {
    let mut count = 0;
    for task in tasks {
        check_task(operation, task)?;
        bytes += task.payload.len();
        count += 1;
    }
    check_batch(operation, count)?;
    if bytes > limits::MAX_BATCH_BYTES {
        let message = format!(
            "a call takes at most {} bytes of payloads and results, not {bytes}",
            limits::MAX_BATCH_BYTES
        );
        return Err(Error::invalid(operation, message).advise("split it into several calls"));
    }
    Ok(())
}

fn check_task(operation: &'static str, task: &NewTask) -> Result<()> {
    let NewTask { queue, id, payload, .. } = task;
    if payload.len() > limits::MAX_PAYLOAD {
        let (len, most) = (payload.len(), limits::MAX_PAYLOAD);
        let message = format!(
            "task {id} for queue \"{queue}\": the payload has {len} bytes, at most {most} are allowed"
        );
        let advice = "store it elsewhere and send a reference";
        return Err(Error::invalid(operation, message).advise(advice));
    }
    if payload.is_empty() {
        return Err(Error::invalid(
            operation,
            format!("task {id} for queue \"{queue}\": the payload is empty"),
        ));
    }
    if task.max_attempts == 0 || task.max_crashes == 0 {
        let message = format!("task {id} for queue \"{queue}\": max_attempts and max_crashes are at least 1");
        return Err(Error::invalid(operation, message));
    }
    if task.run_limit.is_some_and(|limit| limit < Duration::from_millis(1)) {
        let message = format!("task {id} for queue \"{queue}\": a run_limit is at least 1 ms");
        return Err(Error::invalid(operation, message));
    }
    if task.priority.is_some_and(|priority| priority.unsigned_abs() > limits::MAX_PRIORITY.unsigned_abs()) {
        let message = format!("task {id} for queue \"{queue}\": a priority is within ±2^53");
        return Err(Error::invalid(operation, message));
    }
    let hold = match &task.unique {
        Some(Unique { hold: Hold::For(time), .. }) => Some(*time),
        Some(Unique { hold: Hold::Batch, key }) if task.batch.is_none() => {
            let message = format!(
                "task {id} for queue \"{queue}\" holds its unique key {key} for the life of its batch, and is in none"
            );
            return Err(Error::invalid(operation, message).advise("put the task into a batch"));
        }
        Some(_) | None => None,
    };
    let delay = match task.start {
        Start::Now => None,
        Start::After(delay) => Some(delay),
        Start::At(time) => time.duration_since(SystemTime::now()).ok(),
    };
    let times = [
        ("is put off by", delay),
        ("expires after", task.expires),
        ("may run for", task.run_limit),
        ("holds its unique key for", hold),
        ("has its result kept for", task.result.kept()),
    ];
    if let Some((what, _)) = times.iter().find(|(_, time)| time.is_some_and(|time| time > limits::MAX_DELAY))
    {
        let message = format!("task {id} for queue \"{queue}\" {what} more than ten years");
        return Err(Error::invalid(operation, message));
    }
    Ok(())
}

/// Checks the results of settlements, and tells how many bytes they have.
pub(super) fn check_results<'a>(
    results: impl Iterator<Item = (&'a Settlement, &'a Payload)>,
) -> Result<usize> {
    let mut bytes = 0;
    for (Settlement { lease, .. }, result) in results {
        let (len, most) = (result.len(), limits::MAX_PAYLOAD);
        if len > most {
            let Lease { id, queue, .. } = lease;
            let message = format!(
                "task {id} of queue \"{queue}\": the result has {len} bytes, at most {most} are allowed"
            );
            return Err(Error::invalid("settle", message).advise("store it elsewhere and return a reference"));
        }
        bytes += len;
    }
    Ok(bytes)
}
