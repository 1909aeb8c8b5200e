//! One run of one task.

use std::{
    any::Any,
    hash::{DefaultHasher, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use manyhands_broker::{
    ClaimedTask, End, Payload,
    crash::{Point, at},
    limits,
};
use tokio::sync::mpsc;

use crate::{
    Context, Ending, Observer, Running, TaskError, app::Registered, backoff, context::Around, handler::Mode,
    leases::Held, settler::Ended, slots::Slot, task_error::Verdict,
};

/// Runs a claimed task to its end and hands the ending to the settler.
pub(crate) async fn run(
    around: Around,
    task: ClaimedTask,
    registered: Option<Registered>,
    held: Held,
    mut slot: Slot,
    observer: Arc<dyn Observer>,
    settler: mpsc::UnboundedSender<Ended>,
) {
    let began = Instant::now();
    let context = Context::new(around, &task, &held);
    let result = match registered {
        Some(registered) => {
            observer.started(&Running { task: &task });
            Some(run_handler(&registered, &task, context.clone(), &mut slot).await)
        }
        None => None,
    };
    at(Point::HandlerEnded);
    slot.handler_ended();
    let (ending, end) = match judge(result, &task, &context) {
        _ if held.is_lost() => (Ending::Lost, None),
        // The broker knows that it was cancelled, and lets it go.
        (Ending::Released, end) if held.is_cancelled() => (Ending::Cancelled, end),
        judged => judged,
    };
    log(&ending, &task);
    observer.ended(&Running { task: &task }, &ending, began.elapsed());
    if let Some(end) = end {
        // The settler outlives the runs; if it is gone, the process is ending and the lease runs out.
        let _ = settler.send(Ended { task, end, held, slot, ran: true });
        at(Point::HandlerHanded);
    }
}

/// What a handler's run came to: a result, a panic, or that it was stopped.
enum Stopped {
    Result(Result<Option<Payload>, TaskError>),
    Panicked(String),
    Dropped,
    /// It ran for longer than it may.
    Over(Duration),
}

/// Completes when the time is over, if there is a limit.
pub(crate) async fn expired(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            tokio::time::sleep(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}

async fn run_handler(
    registered: &Registered,
    task: &ClaimedTask,
    context: Context,
    slot: &mut Slot,
) -> Stopped {
    let cancel = context.clone();
    let handler = &registered.handler;
    // A handler may panic before it returns its future, too.
    let run = match catch_unwind(AssertUnwindSafe(|| handler.run(&task.payload, context))) {
        Ok(run) => run,
        Err(panic) => return Stopped::Panicked(panic_message(&*panic)),
    };
    let mut run = AssertUnwindSafe(run).catch_unwind();
    let ended = match handler.mode() {
        // Dropped at its next await when it must stop.
        Mode::Async => {
            tokio::select! {
                biased;
                ended = &mut run => ended,
                limit = expired(cancel.limit(None)) => {
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(run)));
                    return Stopped::Over(limit);
                }
                () = cancel.stopped() => {
                    // What it holds may panic when it is dropped, and the task is to be given back all the same.
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(run)));
                    return Stopped::Dropped;
                }
            }
        }
        // Told by the context only: until it returns, its slot stays taken.
        Mode::Blocking => {
            tokio::select! {
                biased;
                () = slot.take_thread() => {}
                () = cancel.stopped() => return Stopped::Dropped,
            }
            tokio::select! {
                biased;
                ended = &mut run => ended,
                limit = expired(cancel.limit(None)) => {
                    cancel.stop();
                    match run.await {
                        Ok(Err(error)) if matches!(error.verdict, Verdict::Retry(_)) => return Stopped::Over(limit),
                        // It is done all the same, or can never be.
                        ended => ended,
                    }
                }
            }
        }
        // It kills its process when it is told, and returns when that is dead: nobody else runs the task before.
        Mode::Process => run.await,
        // It gives back what no thread has begun.
        Mode::Function => {
            tokio::select! {
                biased;
                ended = &mut run => ended,
                limit = expired(cancel.limit(None)) => {
                    cancel.stop();
                    match run.await {
                        Ok(Err(error)) if matches!(error.verdict, Verdict::Retry(_) | Verdict::Release) => {
                            return Stopped::Over(limit);
                        }
                        ended => ended,
                    }
                }
            }
        }
    };
    match ended {
        Ok(result) => Stopped::Result(result),
        Err(panic) => Stopped::Panicked(panic_message(&*panic)),
    }
}

/// What is told of a run, and what is settled.
fn judge(result: Option<Stopped>, task: &ClaimedTask, context: &Context) -> (Ending, Option<End>) {
    match result {
        None => (Ending::Parked, Some(End::Park)),
        Some(Stopped::Over(limit)) => {
            retry(format!("it ran for longer than its limit of {limit:?}"), None, task)
        }
        Some(Stopped::Dropped) => (Ending::Released, Some(End::Release)),
        Some(Stopped::Result(Ok(result))) => {
            (Ending::Completed, Some(End::Complete { children: context.take_children(), result }))
        }
        Some(Stopped::Result(Err(error))) => match error.verdict {
            // A thread or a process that was told to stop, and did: that is no failure of the task.
            Verdict::Retry(_) if context.cancelled() => (Ending::Released, Some(End::Release)),
            Verdict::Release => (Ending::Released, Some(End::Release)),
            Verdict::Crash => crash(cut(error.message()), task),
            Verdict::Retry(after) => retry(cut(error.message()), after, task),
            Verdict::Bury => {
                let error = cut(error.message());
                (Ending::Buried(error.clone()), Some(End::Bury { error }))
            }
        },
        Some(Stopped::Panicked(message)) => {
            retry(cut(&format!("the handler panicked: {message}")), None, task)
        }
    }
}

/// The broker counts the attempts and buries the last; here it is only told what will come of it.
fn retry(error: String, after: Option<Duration>, task: &ClaimedTask) -> (Ending, Option<End>) {
    let failures = task.attempts + 1;
    let delay = after.unwrap_or_else(|| backoff::delay(failures, seed(task))).min(limits::MAX_DELAY);
    let last = failures >= task.max_attempts;
    let ending = if last { Ending::Buried(error.clone()) } else { Ending::Retried(error.clone(), delay) };
    (ending, Some(End::Retry { error, delay }))
}

/// As [`retry`], for a task whose process died of it.
fn crash(error: String, task: &ClaimedTask) -> (Ending, Option<End>) {
    let delay = backoff::delay(task.crashes + 1, seed(task)).min(limits::MAX_DELAY);
    (Ending::Crashed(error.clone(), delay), Some(End::Crash { error, delay }))
}

fn log(ending: &Ending, task: &ClaimedTask) {
    let (id, queue) = (&task.lease.id, &task.lease.queue);
    match ending {
        Ending::Completed | Ending::Released => {}
        Ending::Cancelled => tracing::info!(task = %id, %queue, "the task was cancelled, and stopped"),
        Ending::Retried(error, delay) => {
            tracing::info!(task = %id, %queue, %error, ?delay, "the task failed and is tried again");
        }
        Ending::Crashed(error, delay) => {
            tracing::warn!(task = %id, %queue, %error, ?delay, "the task's process crashed: it is tried again alone, unless it crashed too often");
        }
        Ending::Buried(error) => tracing::warn!(task = %id, %queue, %error, "the task is dead"),
        Ending::Parked => {
            tracing::warn!(task = %id, %queue, name = %task.name, "no handler; the task is parked");
        }
        Ending::Lost => tracing::warn!(task = %id, %queue, "the lease was lost while the task ran"),
    }
}

/// The part of an error that is kept with the task: what a handler says has no bound.
fn cut(error: &str) -> String {
    error[..error.floor_char_boundary(limits::MAX_ERROR)].to_owned()
}

/// What spreads the back-off of tasks that failed together.
fn seed(task: &ClaimedTask) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&task.lease.id, task.lease.epoch).hash(&mut hasher);
    hasher.finish()
}

pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
