//! The answer of a command that is one line.

use std::io::{ErrorKind as Io, Write};

use manyhands_broker::{Error, ErrorKind, Result};

/// Writes a line to standard output. A reader that has enough is no error.
///
/// # Errors
/// [`ErrorKind::Internal`], with what `but` says, when the line cannot be written: what was done is done all the same.
pub fn answer(operation: &'static str, line: &str, but: impl FnOnce() -> String) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != Io::BrokenPipe => {
            Err(Error::new(ErrorKind::Internal, operation, but()).because(error))
        }
        _ => Ok(()),
    }
}
