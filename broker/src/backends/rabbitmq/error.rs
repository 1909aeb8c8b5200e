//! From RabbitMQ's errors to the contract's.

use std::fmt;

use lapin::ErrorKind as Lapin;

use crate::{Error, ErrorKind};

/// What lapin said: once, as its errors repeat in their text what is behind them.
#[derive(Debug)]
pub(super) struct Cause(pub(super) lapin::Error);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Cause {}

/// The number that the server gave an error; 0 if it is not the server's.
pub(super) fn code(error: &lapin::Error) -> u16 {
    match error.kind() {
        Lapin::ProtocolError(e) => e.get_id(),
        _ => 0,
    }
}

/// The number of the error that something belongs to another connection.
pub(super) const LOCKED: u16 = 405;

/// Whether a queue that was not found is there, and only out of reach: its node is starting, or has no leader yet.
pub(super) fn is_down(error: &lapin::Error) -> bool {
    let text = error.to_string();
    ["down or inaccessible", "stopped by supervisor", "has no leader"].iter().any(|part| text.contains(part))
}

/// Whether the server failed for a reason that passes: a queue that was found is being created, or its node is starting.
pub(super) fn is_passing(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Cause>());
    source.is_some_and(|Cause(source)| code(source) == 541 || is_down(source))
}

/// Says what an error of RabbitMQ means for the caller.
pub(super) fn rabbitmq(operation: &'static str, error: &lapin::Error) -> Error {
    let (message, advice) = match code(error) {
        403 => (
            "RabbitMQ does not let us in",
            "check the user and password of the URL, and its permissions on the virtual host",
        ),
        404 => ("RabbitMQ has a queue that is out of reach", "wait, or check the server's log"),
        406 => (
            "RabbitMQ ended a channel",
            "repeat the call; if a task runs for longer than the server's consumer_timeout, 30 min unless told otherwise, raise that",
        ),
        530 => (
            "RabbitMQ has no such virtual host, or not for this user",
            "check the URL: amqp://user:password@host:5672/vhost",
        ),
        541 => ("something failed in RabbitMQ", "repeat the call; if it goes on, see the server's log"),
        _ => ("RabbitMQ cannot be reached", "check that the server runs and that the URL is right"),
    };
    Error::new(ErrorKind::Unavailable, operation, message).because(Cause(error.clone())).advise(advice)
}

/// The server did not answer in time: whether the call took effect is unknown.
pub(super) fn silent(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        operation,
        "RabbitMQ did not answer in time; whether the call took effect is unknown",
    )
    .advise("repeat the call")
}

/// There is no connection in time.
pub(super) fn unconnected(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "RabbitMQ did not let us connect in time")
        .advise("check that the URL is that of a RabbitMQ server, and that the server is not overloaded")
}

/// The server takes no messages for the time being.
pub(super) fn blocked(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        operation,
        "RabbitMQ takes nothing for the time being: its memory or disk is full",
    )
    .advise("make room on the server; what is held here is kept meanwhile")
}

/// The session ended before the call did.
pub(super) fn lost(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        operation,
        "the connection to RabbitMQ was lost; whether the call took effect is unknown",
    )
    .advise("repeat the call")
}

/// A defect of this program: what it made cannot be written.
pub(super) fn internal(operation: &'static str, error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, operation, "what is to be stored cannot be written as JSON")
        .because(error)
}
