//! From RabbitMQ's errors to the contract's.

use std::fmt;

use lapin::{
    ErrorKind as Lapin,
    uri::{AMQPScheme, AMQPUri},
};

use super::config;
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

/// Whether a server said it, and not only nobody answered.
pub(super) fn is_told(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Cause>());
    source.is_none_or(|Cause(source)| code(source) != 0)
}

/// Says what an error of RabbitMQ means for the caller.
pub(super) fn rabbitmq(operation: &'static str, error: &lapin::Error) -> Error {
    refused(operation, Doing::Using, error)
}

/// The same of a call that does this.
pub(super) fn refused(operation: &'static str, doing: Doing, error: &lapin::Error) -> Error {
    let (message, advice) = match code(error) {
        403 => (
            lacking(doing, &error.to_string()),
            "rabbitmqctl set_permissions -p VHOST USER '^mh:' '^(mh:|amq\\.default$)' '^mh:' grants configure, write and read",
        ),
        404 => ("RabbitMQ has a queue that is out of reach", "wait, or check the server's log"),
        406 => (
            "RabbitMQ ended a channel",
            "repeat the call; if a task runs for longer than the server's consumer_timeout, 30 min unless told otherwise, raise that",
        ),
        541 if ["nodedown", "noproc"].iter().any(|part| error.to_string().contains(part)) => (
            "RabbitMQ has a queue that has no leader: too few of its nodes run, or reach each other",
            "start the nodes of the cluster that are down; what they have stored is kept",
        ),
        320 => ("RabbitMQ ended the connection", "repeat the call; see the server's log if it goes on"),
        541 => ("something failed in RabbitMQ", "repeat the call; if it goes on, see the server's log"),
        _ => ("the connection to RabbitMQ ended", "repeat the call; check that the server runs"),
    };
    Error::new(ErrorKind::Unavailable, operation, message).because(Cause(error.clone())).advise(advice)
}

/// What a call does with what it names: the server says only that it is refused, and not for want of which right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Creates it, or makes sure that it is there.
    Declaring,
    /// Lets an exchange find a queue, or another exchange.
    Binding,
    /// Publishes, or takes messages.
    Using,
}

/// What it means that this user may not do something.
fn lacking(doing: Doing, text: &str) -> &'static str {
    match (doing, text.contains("access to exchange")) {
        // A queue may only be created by whoever may write to where it gives up messages.
        (Doing::Declaring, _) if !text.contains("amq.default") => {
            "RabbitMQ does not give this user the right to configure what belongs to a queue"
        }
        (Doing::Binding, true) | (Doing::Using, false) => {
            "RabbitMQ does not give this user the right to read what belongs to a queue"
        }
        _ => "RabbitMQ does not give this user the right to write to what belongs to a queue",
    }
}

/// Says what an error means that came while connecting to a server: the call was not made.
pub(super) fn connecting(operation: &'static str, server: &AMQPUri, error: &lapin::Error) -> Error {
    let at = config::address(server);
    let text = error.to_string();
    let lower = text.to_lowercase();
    let (message, advice) = match code(error) {
        403 => (
            format!("RabbitMQ at {at} does not let us in: the user or the password is wrong"),
            "check the user and the password of the URL; rabbitmqctl list_users says which users there are, and guest is let in only from the server's own host",
        ),
        530 if text.contains("not found") => (
            format!("RabbitMQ at {at} has no virtual host \"{}\"", server.vhost),
            "rabbitmqctl list_vhosts says which there are; in a URL, a / in a name is %2F: amqp://user:password@host/VHOST",
        ),
        530 if text.contains("refused for user") => (
            format!("RabbitMQ at {at} does not let this user into the virtual host \"{}\"", server.vhost),
            "rabbitmqctl set_permissions -p VHOST USER '^mh:' '^(mh:|amq\\.default$)' '^mh:'",
        ),
        0 if ["certificate", "unknownca"].iter().any(|part| lower.contains(part)) => (
            format!("RabbitMQ at {at} and this program do not accept each other's certificates"),
            "amqps://NAME with a name that is in the server's certificate, and ?ca=FILE with the certificate of whoever signed it; where the server asks for one, also &cert=FILE&key=FILE",
        ),
        // The server says why and closes at once, and what it said may be lost with what it did not read.
        0 if server.scheme == AMQPScheme::AMQPS && lower.contains("reset by peer") => (
            format!(
                "RabbitMQ at {at} ended the connection at once: it and this program may not accept each other's certificates"
            ),
            "see the server's log; where it asks for a certificate, ?cert=FILE&key=FILE, and ?ca=FILE with the certificate of whoever signed the server's",
        ),
        0 if lower.contains("corrupt message") => (
            format!("what answers at {at} does not encrypt"),
            "amqps:// with the port that encrypts, which is 5671 unless the server says otherwise (listeners.ssl)",
        ),
        0 => (
            format!("RabbitMQ at {at} cannot be reached"),
            "check that the server runs, that the network leads to it, and that the URL is right: a port that encrypts needs amqps://",
        ),
        _ => (format!("RabbitMQ at {at} does not take the connection"), "check the server's log"),
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

/// A server did not let us connect in time: the call was not made.
pub(super) fn unconnected(operation: &'static str, server: &AMQPUri) -> Error {
    let message = format!("RabbitMQ at {} did not let us connect in time", config::address(server));
    Error::new(ErrorKind::Unavailable, operation, message)
        .advise("check that the URL is that of a RabbitMQ server, that amqps:// has the port that encrypts, and that the server is not overloaded")
}

/// The namespace could not be opened in time.
pub(super) fn unopened(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "RabbitMQ did not let us open the namespace in time")
        .advise("repeat the call; if it goes on, see the server's log")
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

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use super::*;

    #[test]
    fn a_connection_that_is_reset_at_once_is_blamed_on_certificates_only_where_there_are_some() {
        let reset = io::Error::from_raw_os_error(104);
        let reset: lapin::Error = Lapin::IOError(Arc::new(reset)).into();
        let said = |url: &str| connecting("connect", &url.parse().unwrap(), &reset).report();
        assert!(said("amqps://localhost").contains("may not accept each other's certificates"));
        assert!(said("amqp://localhost").contains("cannot be reached"));
    }
}
