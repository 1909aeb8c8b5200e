//! From Redis's errors to the contract's.

use redis::{RedisError, ServerErrorKind};

use crate::{Error, ErrorKind, QueueName};

/// Says what an error of Redis means for the caller.
pub(super) fn redis(operation: &'static str, error: &RedisError) -> Error {
    let code = error.code().unwrap_or_default();
    let (kind, message, advice) = match (error.kind(), code) {
        (_, "OOM") => (
            ErrorKind::Full,
            "redis is out of memory; nothing was changed",
            "raise maxmemory, or let workers catch up",
        ),
        (_, "NOAUTH" | "WRONGPASS" | "NOPERM") => (
            ErrorKind::Unavailable,
            "redis does not let us in",
            "check the user and password of the URL, and its permissions",
        ),
        // The session opens the namespace again when it is built anew, which this kind of error makes it do.
        (_, "UNOPENED") => (
            ErrorKind::Unavailable,
            "the namespace was removed from redis while it was in use",
            "repeat the call",
        ),
        (_, "WRONGTYPE") => (
            ErrorKind::Corrupt,
            "a key of the namespace is not ours",
            "use another namespace: ?namespace=NAME",
        ),
        (redis::ErrorKind::Server(ServerErrorKind::ResponseError), _) => {
            (ErrorKind::Internal, "a script failed", "report this as a defect")
        }
        (redis::ErrorKind::Server(_), _) => {
            (ErrorKind::Unavailable, "redis is not ready", "wait, or check the server's log")
        }
        (redis::ErrorKind::UnexpectedReturnType | redis::ErrorKind::Parse, _) => (
            ErrorKind::Corrupt,
            "redis answered something else than was asked",
            "use another namespace: ?namespace=NAME",
        ),
        _ => (
            ErrorKind::Unavailable,
            "redis cannot be reached",
            "check that the server runs and that the URL is right",
        ),
    };
    Error::new(kind, operation, message).because(error.to_string()).advise(advice)
}

/// Says what an error means that came while connecting: the call was not made.
pub(super) fn connecting(operation: &'static str, error: &RedisError) -> Error {
    let known = redis(operation, error);
    match known.kind() {
        ErrorKind::Internal | ErrorKind::Corrupt => {
            Error::new(ErrorKind::Unavailable, operation, "redis does not take the connection")
                .because(error.to_string())
                .advise("check the server's log, and its maxclients")
        }
        _ => known,
    }
}

/// The server did not answer in time: whether the call took effect is unknown.
pub(super) fn silent(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        operation,
        "redis did not answer in time; whether the call took effect is unknown",
    )
    .advise("repeat the call")
}

/// Names the queues that had no room, where a server without memory refused their tasks.
pub(super) fn of_queues(error: Error, queues: &[&QueueName]) -> Error {
    if error.kind() != ErrorKind::Full {
        return error;
    }
    let names: Vec<_> = queues.iter().map(|name| format!("\"{name}\"")).collect();
    let message = format!(
        "redis is out of memory; nothing was put on queue{} {}",
        if names.len() == 1 { "" } else { "s" },
        names.join(", ")
    );
    let advice = error.advice().unwrap_or_default();
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    Error::new(ErrorKind::Full, error.operation(), message).because(source).advise(advice)
}
