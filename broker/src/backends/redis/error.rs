//! From Redis's errors to the contract's.

use redis::{RedisError, ServerErrorKind};

use crate::{Error, ErrorKind};

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

/// The server did not answer in time: whether the call took effect is unknown.
pub(super) fn silent(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        operation,
        "redis did not answer in time; whether the call took effect is unknown",
    )
    .advise("repeat the call")
}
