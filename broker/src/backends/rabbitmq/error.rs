//! From RabbitMQ's errors to the contract's.

use lapin::ErrorKind as Lapin;

use crate::{Error, ErrorKind};

/// What the server says when something failed in it.
const INTERNAL_ERROR: u16 = 541;

/// Says what an error of RabbitMQ means for the caller.
pub(super) fn rabbitmq(operation: &'static str, error: &lapin::Error) -> Error {
    let code = match error.kind() {
        Lapin::ProtocolError(e) => e.get_id(),
        _ => 0,
    };
    let (kind, message, advice) = match code {
        403 => (
            ErrorKind::Unavailable,
            "RabbitMQ does not let us in",
            "check the user and password of the URL, and its permissions on the virtual host",
        ),
        406 => (
            ErrorKind::Corrupt,
            "a queue or exchange of the namespace is not ours",
            "use another namespace: ?namespace=NAME",
        ),
        INTERNAL_ERROR => (
            ErrorKind::Unavailable,
            "something failed in RabbitMQ",
            "repeat the call; if it goes on, see the server's log",
        ),
        530 => (
            ErrorKind::Unavailable,
            "RabbitMQ has no such virtual host, or not for this user",
            "check the URL: amqp://user:password@host:5672/vhost",
        ),
        _ => (
            ErrorKind::Unavailable,
            "RabbitMQ cannot be reached",
            "check that the server runs and that the URL is right",
        ),
    };
    Error::new(kind, operation, message).because(error.clone()).advise(advice)
}

/// Whether the server failed for a reason that passes: another session is creating the stream that was found.
pub(super) fn is_passing(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<lapin::Error>());
    match source.map(lapin::Error::kind) {
        Some(Lapin::ProtocolError(e)) => {
            e.get_id() == INTERNAL_ERROR || e.get_message().as_str().contains("does not have a replica")
        }
        _ => false,
    }
}

/// The server did not answer in time: whether the call took effect is unknown.
pub(super) fn silent(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        operation,
        "RabbitMQ did not answer in time; whether the call took effect is unknown",
    )
    .advise("repeat the call; if it goes on, see whether the server is out of memory or disk and blocks publishers")
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
    Error::new(ErrorKind::Internal, operation, "an event cannot be written as JSON").because(error)
}
