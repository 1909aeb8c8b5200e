//! Functions with their types erased: calls in, replies out.

use std::{
    any::Any,
    cell::RefCell,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use manyhands_broker::Payload;
use serde::{Serialize, de::DeserializeOwned};

use super::{Crew, Function, reply::Writer};
use crate::{
    Context,
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

/// Runs functions on the threads of a crew.
pub(crate) struct FunctionHandler {
    calls: Arc<dyn Calls>,
    crew: Arc<Crew>,
}

impl FunctionHandler {
    pub(crate) fn new(calls: Arc<dyn Calls>, crew: Arc<Crew>) -> Self {
        Self { calls, crew }
    }
}

impl Handler for FunctionHandler {
    fn mode(&self) -> Mode {
        Mode::Function
    }

    fn reserve(&self) {
        self.crew.reserve();
    }

    fn run(&self, payload: &Payload, context: Context) -> Run {
        Box::pin(Arc::clone(&self.crew).run(Arc::clone(&self.calls), payload.clone(), context))
    }
}
