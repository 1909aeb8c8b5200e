//! Handlers, with their types erased: a payload in, an ending out.

use std::{future::Future, marker::PhantomData, pin::Pin, time::Duration};

use manyhands_broker::{Payload, Task, limits};

use crate::{Context, TaskError};

/// How a handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As a future: it waits, and can be dropped.
    Async,
    /// On a thread: it computes or blocks, and can only be told.
    Blocking,
    /// As a plain function, on the threads of a crew: it can only be told, and waits for them itself.
    Function,
    /// In a process of its own, which is killed when it must stop. The run sees to that, and ends when the process has.
    Process,
}

/// A run of a handler: its result, if somebody wants it. Dropping it stops an async one at its next await, and leaves a blocking one running; one in a process is not to be dropped.
pub(crate) type Run = Pin<Box<dyn Future<Output = Result<Option<Payload>, TaskError>> + Send>>;

/// A handler of one kind of task.
pub(crate) trait Handler: Send + Sync {
    fn mode(&self) -> Mode;
    fn run(&self, payload: &Payload, context: Context) -> Run;

    /// How many more tasks it can start now; `None` if only slots bound it.
    fn room(&self) -> Option<usize> {
        None
    }

    /// Takes room for a task that is about to run, so that nobody else is promised it.
    fn reserve(&self) {}

    /// How long one run may take, by its own configuration.
    fn run_limit(&self) -> Option<Duration> {
        None
    }

    /// How many processes it has.
    fn processes(&self) -> usize {
        0
    }

    /// How many tasks these may have at a time.
    fn slots(&self) -> usize {
        self.processes()
    }
}

pub(crate) struct AsyncHandler<T, F> {
    function: F,
    task: PhantomData<fn(T)>,
}

impl<T, F> AsyncHandler<T, F> {
    pub(crate) fn new(function: F) -> Self {
        Self { function, task: PhantomData }
    }
}

impl<T, F, R> Handler for AsyncHandler<T, F>
where
    T: Task,
    F: Fn(T, Context) -> R + Send + Sync,
    R: Future<Output = Result<T::Output, TaskError>> + Send + 'static,
{
    fn mode(&self) -> Mode {
        Mode::Async
    }

    fn run(&self, payload: &Payload, context: Context) -> Run {
        match decode::<T>(payload) {
            Ok(task) => {
                let wanted = context.result_wanted();
                let run = (self.function)(task, context);
                Box::pin(async move { encode::<T>(run.await?, wanted) })
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

pub(crate) struct BlockingHandler<T, F> {
    function: std::sync::Arc<F>,
    task: PhantomData<fn(T)>,
}

impl<T, F> BlockingHandler<T, F> {
    pub(crate) fn new(function: F) -> Self {
        Self { function: std::sync::Arc::new(function), task: PhantomData }
    }
}

impl<T, F> Handler for BlockingHandler<T, F>
where
    T: Task,
    F: Fn(T, &Context) -> Result<T::Output, TaskError> + Send + Sync + 'static,
{
    fn mode(&self) -> Mode {
        Mode::Blocking
    }

    fn run(&self, payload: &Payload, context: Context) -> Run {
        let (function, payload) = (self.function.clone(), payload.clone());
        let run = move || {
            let result = function(decode::<T>(&payload)?, &context)?;
            encode::<T>(result, context.result_wanted())
        };
        Box::pin(async move {
            match tokio::task::spawn_blocking(run).await {
                Ok(result) => result,
                // Only a panic ends a blocking thread early; it goes on where async handlers' panics are caught too.
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(error) => Err(TaskError::retry(format!("the handler's thread did not run: {error}"))),
                },
            }
        })
    }
}

/// A payload that is not what the handler expects never will be: the task is buried.
fn decode<T: Task>(payload: &Payload) -> Result<T, TaskError> {
    payload.decode().map_err(|e| TaskError::bury(e.report()))
}

/// A result that cannot be kept never can be: the task is buried, and says so, instead of being run again.
fn encode<T: Task>(result: T::Output, wanted: bool) -> Result<Option<Payload>, TaskError> {
    if !wanted {
        return Ok(None);
    }
    let result = Payload::encode(&result)
        .map_err(|e| TaskError::bury(format!("it ran, but its result cannot be kept: {}", e.report())))?;
    if result.len() > limits::MAX_PAYLOAD {
        let message = format!(
            "it ran, but its result of {} bytes cannot be kept: at most 1 MiB; store it elsewhere and return a reference",
            result.len()
        );
        return Err(TaskError::bury(message));
    }
    Ok(Some(result))
}
