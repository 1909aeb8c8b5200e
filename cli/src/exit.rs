//! How programs end: one form of error, and exit codes that scripts can tell apart.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use manyhands_broker::{BrokerUrl, Error, ErrorKind};

/// Wrong usage or configuration.
const USAGE: u8 = 2;

/// Something was refused: a queue is full, a line is wrong, the broker cannot do it.
pub const REFUSED: u8 = 4;

/// Ended by a signal before everything was done.
pub const INTERRUPTED: u8 = 130;

/// The exit code of an error: 1 the answer is no, 2 wrong usage, 3 the broker could not be reached, 4 refused, 5 time
/// ran out.
#[must_use]
pub fn code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Invalid => USAGE,
        ErrorKind::Unavailable | ErrorKind::Corrupt | ErrorKind::Incompatible => 3,
        ErrorKind::Unsupported
        | ErrorKind::Conflict
        | ErrorKind::Full
        | ErrorKind::Closed
        | ErrorKind::Duplicate => REFUSED,
        ErrorKind::Timeout => 5,
        _ => 1,
    }
}

/// The exit code of success.
#[must_use]
pub fn success() -> ExitCode {
    ExitCode::SUCCESS
}

/// Writes an error to standard error, with the broker it came from, if one was given, and what to do about it; returns
/// its exit code.
#[must_use]
pub fn report(error: &Error, broker: Option<&str>) -> ExitCode {
    let mut text = format!("error: {}\n", error.report());
    if let Some(broker) = broker {
        text.push_str(&format!("  broker  {}\n", BrokerUrl::without_password(broker)));
    }
    if let Some(advice) = error.advice() {
        text.push_str(&format!("  try     {advice}\n"));
    }
    say(&text);
    ExitCode::from(code(error))
}

/// Writes a line to standard error.
pub fn note(line: &str) {
    say(&format!("{line}\n"));
}

/// Writes what clap has to say: help to standard output, errors to standard error. Returns the exit code.
#[must_use]
pub fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe is no reason to fail.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
}

/// One write, so that lines of several processes do not mix. A closed pipe is no reason to fail.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Whether standard error is a terminal.
#[must_use]
pub fn on_terminal() -> bool {
    std::io::stderr().is_terminal()
}
