//! The main function of programs that call functions in processes.

use std::{error::Error as StdError, process::ExitCode};

use manyhands_broker::Error;
use manyhands_worker::{
    App,
    function::Functions,
    processes::{Role, begin},
};

use crate::{
    CallError,
    home::{self, Here},
    serve,
};

/// Runs a program whose processes and pools run it again: Python's `if __name__ == '__main__'`.
///
/// In the process that a user starts, `run` is called, and what it returns becomes the exit code: 0, or 1 and a line on standard error.
/// Processes that were started by it are waited for then, and daemons are killed. In every process that it starts, `run` is not called:
/// it does what it is told. So this is to be called before anything else is done.
///
/// `register` adds what may be called: [`App::function`], [`App::runs`].
///
/// ```no_run
/// use std::process::ExitCode;
/// use manyhands_multiprocessing::{CallError, Pool};
///
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// fn run() -> Result<(), CallError> {
///     let pool = Pool::new(2)?;
///     assert_eq!(pool.map(square, 0..4)?, [0, 1, 4, 9]);
///     Ok(())
/// }
///
/// fn main() -> ExitCode {
///     manyhands_multiprocessing::main(|app| app.function(square), run)
/// }
/// ```
pub fn main<E>(register: impl FnOnce(App) -> App, run: impl FnOnce() -> Result<(), E>) -> ExitCode
where
    E: Into<Box<dyn StdError>>,
{
    let role = begin();
    let functions = match role {
        Some(Role::Over(code)) => return code,
        Some(Role::Own(own)) => {
            return own.serve(register(App::new())).unwrap_or_else(failed);
        }
        _ => match Functions::of(register(App::new())) {
            Ok(functions) => functions,
            Err(error) => return failed(error),
        },
    };
    if role.is_some() {
        return serve::serve(functions).unwrap_or_else(failed);
    }
    let here = Here { functions, name: "MainProcess".to_owned(), daemon: false, parent: None };
    if let Err(error) = home::settle(here) {
        return failed(error);
    }
    let result = run();
    home::finish();
    result.map_or_else(failed, |()| ExitCode::SUCCESS)
}

fn failed(error: impl Into<Box<dyn StdError>>) -> ExitCode {
    let error = error.into();
    let known = error.downcast_ref::<Error>().or(match error.downcast_ref::<CallError>() {
        Some(CallError::Failed(error)) => Some(&**error),
        _ => None,
    });
    if let Some(known) = known {
        return manyhands_cli::report(known, None);
    }
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    manyhands_cli::note(&text);
    ExitCode::FAILURE
}
