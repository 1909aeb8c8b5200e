//! Functions with their types erased: calls in, replies out.

use std::{
    any::Any,
    cell::RefCell,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use manyhands_broker::{Payload, limits};
use serde::{Serialize, de::DeserializeOwned};

use super::{Function, reply::Writer};
use crate::{
    Context, TaskError,
    handler::{Handler, Mode, Run},
    runner::panic_message,
};

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Lets panics be told in replies, with their place, instead of being written to standard error: for a process that only
/// answers calls.
pub fn tell_panics_in_replies() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        // A thread that is ending has nobody to tell it to.
        let _ = PLACE.try_with(|last| last.replace(place));
    }));
}

/// What is said of a panic.
fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic_message(panic);
    match PLACE.take() {
        Some(place) => format!("{words} ({place})"),
        None => words,
    }
}

/// What can be called.
pub(crate) trait Calls: Send + Sync {
    /// Does all calls of a JSON text, and writes what they came to. A panic ends its call only.
    ///
    /// # Errors
    /// When the text does not have the arguments of this function: then nothing was called.
    fn call_all(&self, calls: &[u8], out: &mut Vec<u8>) -> Result<(), String>;
}

/// A function, with the types of its arguments.
pub(crate) struct Plain<F, A> {
    function: F,
    args: PhantomData<fn(A)>,
}

impl<F, A> Plain<F, A> {
    pub(crate) fn new(function: F) -> Self {
        Self { function, args: PhantomData }
    }
}

impl<A, F> Calls for Plain<F, A>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    F: Function<A>,
{
    fn call_all(&self, calls: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let calls: Vec<A> = serde_json::from_slice(calls)
            .map_err(|e| format!("the arguments are not the function's: {e}"))?;
        let mut writer = Writer::new(out);
        for args in calls {
            let result = catch_unwind(AssertUnwindSafe(|| self.function.call(args)));
            match &result {
                Ok(result) => writer.add(Ok(result)),
                Err(panic) => writer.add(Err::<&F::Output, _>(words_of(&**panic))),
            }
        }
        writer.end();
        Ok(())
    }
}

/// Runs functions as a blocking handler does: on a thread, as they compute.
pub(crate) struct FunctionHandler(Arc<dyn Calls>);

impl FunctionHandler {
    pub(crate) fn new(calls: Arc<dyn Calls>) -> Self {
        Self(calls)
    }
}

impl Handler for FunctionHandler {
    fn mode(&self) -> Mode {
        Mode::Blocking
    }

    fn run(&self, payload: &Payload, _context: Context) -> Run {
        let (calls, payload) = (Arc::clone(&self.0), payload.clone());
        let run = move || {
            let mut out = Vec::new();
            calls.call_all(payload.as_str().as_bytes(), &mut out).map_err(TaskError::bury)?;
            if out.len() > limits::MAX_PAYLOAD {
                let message =
                    format!("it ran, but its result of {} bytes cannot be kept: at most 1 MiB", out.len());
                return Err(TaskError::bury(message));
            }
            let text = String::from_utf8(out).map_err(|e| TaskError::bury(e.to_string()))?;
            Ok(Some(Payload::from_stored(text)))
        };
        Box::pin(async move {
            match tokio::task::spawn_blocking(run).await {
                Ok(result) => result,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(error) => {
                        Err(TaskError::retry(format!("the function's thread did not run: {error}")))
                    }
                },
            }
        })
    }
}
