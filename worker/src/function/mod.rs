//! Plain functions as handlers: what a pool of processes calls, here or on another host.
//!
//! A function is known by its path (`pool_map::square` is the task `pool_map.square`), so that the caller and the process
//! that runs it agree where both are built from the same sources. A task of such a name carries calls, each the JSON
//! array of the arguments: `[[1],[2]]` is two calls of one argument. Its result is a [`Reply`].

mod calls;
mod crew;
mod pace;
mod reply;

use std::{collections::BTreeMap, fmt, sync::Arc};

use manyhands_broker::{Error, Result, TaskName};
use serde::{Serialize, de::DeserializeOwned};

pub use self::{
    calls::tell_panics_in_replies,
    pace::Pace,
    reply::{Reply, read_reply},
};
pub(crate) use self::{
    calls::{Calls, FunctionHandler, Plain},
    crew::{Crew, SLOTS},
};
use crate::App;

/// The queue of functions.
pub const QUEUE: &str = "pool";

/// A function that can be called in another process: it captures nothing, and its arguments and its result can be written
/// as JSON. Every `fn` of up to six such arguments is one.
///
/// A result of type `Result` is a value as any other; what fails a call is a panic.
pub trait Function<Args>: Copy + Send + Sync + 'static {
    /// What it returns.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Calls it.
    fn call(self, args: Args) -> Self::Output;
}

macro_rules! function {
    ($($arg:ident),*) => {
        impl<F, R, $($arg),*> Function<($($arg,)*)> for F
        where
            F: Fn($($arg),*) -> R + Copy + Send + Sync + 'static,
            R: Serialize + DeserializeOwned + Send + 'static,
        {
            type Output = R;

            #[allow(non_snake_case, reason = "the names of the types are those of the arguments")]
            #[allow(clippy::unused_unit, reason = "where there are no arguments")]
            fn call(self, ($($arg,)*): ($($arg,)*)) -> R {
                self($($arg),*)
            }
        }
    };
}

function!();
function!(A);
function!(A, B);
function!(A, B, C);
function!(A, B, C, D);
function!(A, B, C, D, E);
function!(A, B, C, D, E, G);

/// A type whose values can be run in another process: what a class with a method `run` is to Python's `Process`.
pub trait Run: Serialize + DeserializeOwned + Send + 'static {
    /// What the process does. It ends when this returns, or with exit code 1 when it panics.
    fn run(self);
}

/// The name of the tasks of a function.
///
/// # Errors
/// [`ErrorKind::Invalid`](manyhands_broker::ErrorKind::Invalid) when it has no path of its own: a closure, a pointer to
/// a function, or a generic function.
pub fn name_of<F>(_: &F) -> Result<TaskName> {
    let path = std::any::type_name::<F>();
    if size_of::<F>() != 0 || path.contains("{{") || path.contains('<') || path.starts_with("fn(") {
        return Err(Error::invalid(
            "register",
            format!("{path} cannot be called in another process: it has no path of its own"),
        )
        .advise("write it as a function, fn name(…), that is neither generic nor a closure"));
    }
    path_of(path)
}

/// The name of the tasks of a type that can be run.
///
/// # Errors
/// As [`name_of`], for a generic type.
pub fn name_of_run<T: Run>() -> Result<TaskName> {
    let path = std::any::type_name::<T>();
    if path.contains('<') {
        return Err(Error::invalid(
            "register",
            format!("{path} cannot be run in another process: it has no path of its own"),
        )
        .advise("use a type that is not generic"));
    }
    path_of(path)
}

fn path_of(path: &str) -> Result<TaskName> {
    TaskName::new(&path.replace("::", "."))
}

/// The functions of a program, by the names of their tasks.
#[derive(Clone, Default)]
pub struct Functions(pub(crate) BTreeMap<TaskName, Arc<dyn Calls>>);

impl Functions {
    /// Those that were added to an app.
    ///
    /// # Errors
    /// What was wrong with the app: two of one name, or a function without a path of its own.
    pub fn of(app: App) -> Result<Self> {
        app.into_functions()
    }

    /// Whether there is one of this name.
    #[must_use]
    pub fn has(&self, name: &TaskName) -> bool {
        self.0.contains_key(name)
    }

    /// Does calls of a JSON text, `[[1],[2]]`, and appends what they came to: see [`read_reply`]. A panic ends its call only.
    ///
    /// # Errors
    /// When there is no such function, or the text does not have its arguments: then nothing was called.
    pub fn call_all(&self, name: &str, calls: &[u8], out: &mut Vec<u8>) -> std::result::Result<(), String> {
        let function = TaskName::new(name).ok().and_then(|name| self.0.get(&name));
        function.ok_or_else(|| format!("there is no function {name} in this program"))?.call_all(calls, out)
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Functions").field(&self.0.keys().collect::<Vec<_>>()).finish()
    }
}

/// Runs a value: what is called for a type that can be run.
pub(crate) fn run_value<T: Run>(value: T) {
    value.run();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(n: u64) -> u64 {
        n * n
    }

    fn same<T>(value: T) -> T {
        value
    }

    #[test]
    fn a_function_is_known_by_its_path() {
        assert_eq!(name_of(&square).unwrap().as_str(), "manyhands_worker.function.tests.square");
        let base = 3;
        let pointer: fn(u64) -> u64 = square;
        for refused in [
            name_of(&(|n: u64| n + 1)),
            name_of(&(move |n: u64| n + base)),
            name_of(&pointer),
            name_of(&same::<u64>),
        ] {
            let error = refused.unwrap_err();
            assert!(error.report().contains("no path of its own"), "{}", error.report());
        }
    }
}
