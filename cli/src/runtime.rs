//! The runtime of commands that do one thing.

use manyhands_broker::{Error, ErrorKind, Result};

/// Runs what a command does, on this thread.
///
/// # Errors
/// What the work fails with; [`ErrorKind::Internal`] when no runtime can be started.
pub fn block_on<T>(operation: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let no_runtime = |e| Error::new(ErrorKind::Internal, operation, "no runtime can be started").because(e);
    runtime.map_err(no_runtime)?.block_on(work)
}
