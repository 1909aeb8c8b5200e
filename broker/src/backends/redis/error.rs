//! From Redis's errors to the contract's.

use redis::{ConnectionAddr, RedisError};

use crate::{Error, ErrorKind, QueueName};

/// Says what an error of Redis means for the caller.
pub(super) fn redis(operation: &'static str, error: &RedisError) -> Error {
    let (kind, message, advice) = match error.kind() {
        redis::ErrorKind::UnexpectedReturnType | redis::ErrorKind::Parse => (
            ErrorKind::Corrupt,
            "redis answered something else than was asked",
            "use another namespace: ?namespace=NAME",
        ),
        redis::ErrorKind::AuthenticationFailed => of_code("WRONGPASS"),
        redis::ErrorKind::RESP3NotSupported => of_code("NOPROTO"),
        redis::ErrorKind::Server(_) | redis::ErrorKind::Extension => of_code(code(error)),
        _ => of_connection(error),
    };
    Error::new(kind, operation, message).because(error.to_string()).advise(advice)
}

/// The code of an error that the server told. Before 7.0 it is in the middle of the text where a script met it.
fn code(error: &RedisError) -> &str {
    let code = error.code().unwrap_or_default();
    let detail = error.detail().unwrap_or_default();
    if code != "ERR" || !detail.starts_with("Error running script") {
        return code;
    }
    let named = |word: &str| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    let within = detail.split_whitespace().find_map(|word| word.strip_prefix('-').filter(|word| named(word)));
    within.unwrap_or(code)
}

type Meaning = (ErrorKind, &'static str, &'static str);

/// What it means that the server refused a call. Whatever is `Unavailable` here makes the session build its connection anew.
fn of_code(code: &str) -> Meaning {
    use ErrorKind::{Corrupt, Full, Internal, Unavailable};
    match code {
        "OOM" => {
            (Full, "redis is out of memory; nothing was changed", "raise maxmemory, or let workers catch up")
        }
        "NOAUTH" => {
            (Unavailable, "redis wants a password", "redis://user:password@host, or redis://:password@host")
        }
        "WRONGPASS" => (
            Unavailable,
            "redis does not let us in: the user or the password is wrong, or the user is off",
            "check the user and the password of the URL; redis-cli acl list says which users there are",
        ),
        "NOPERM" => (
            Unavailable,
            "redis does not allow this user what a queue needs",
            "redis-cli acl setuser USER '~mh:*' resetchannels '&mh:*' +@all -@dangerous +info",
        ),
        "LOADING" => (
            Unavailable,
            "redis reads its data from its disk, and takes no calls yet; nothing was done",
            "wait; redis-cli info persistence says how far it is",
        ),
        "READONLY" | "MASTERDOWN" => (
            Unavailable,
            "this redis is a replica, or was made one, and takes no writes; nothing was done",
            "a URL that leads to the primary; programs that run follow it by themselves when its name or address moves",
        ),
        "MISCONF" => (
            Unavailable,
            "redis takes no writes, as it cannot save them to its disk; nothing was done",
            "make room on the server's disk; its log says what is wrong",
        ),
        "NOREPLICAS" => (
            Unavailable,
            "redis takes no writes while too few replicas follow it (min-replicas-to-write); nothing was done",
            "start its replicas, or lower min-replicas-to-write",
        ),
        "BUSY" => (
            Unavailable,
            "redis runs a long script, and answers nobody meanwhile; nothing was done",
            "wait, or: redis-cli script kill",
        ),
        "MOVED" => (
            Unavailable,
            "the servers of the redis cluster do not agree yet on who has the namespace; nothing was done",
            "wait, or: redis-cli --cluster check HOST:PORT",
        ),
        "ASK" | "TRYAGAIN" => (
            Unavailable,
            "the namespace's slot is being moved to another server of the redis cluster; nothing was done",
            "wait; redis-cli --cluster check HOST:PORT tells a move that was left unfinished",
        ),
        "CLUSTERDOWN" => (
            Unavailable,
            "the redis cluster takes no calls: it lost servers, or some of its slots have none; nothing was done",
            "redis-cli cluster info, and redis-cli --cluster check HOST:PORT, say what is missing",
        ),
        "DENIED" => (
            Unavailable,
            "redis lets in only who is on its own host (protected mode)",
            "set a password, or bind it to the network that is meant; its log says how",
        ),
        "NOPROTO" => (Unavailable, "redis is older than 6.2", "upgrade the server"),
        // The session opens the namespace again when it is built anew.
        "UNOPENED" => {
            (Unavailable, "the namespace was removed from redis while it was in use", "repeat the call")
        }
        "WRONGTYPE" => {
            (Corrupt, "a key of the namespace is not ours", "use another namespace: ?namespace=NAME")
        }
        "ERR" => (Internal, "a script failed", "report this as a defect"),
        _ => (Unavailable, "redis is not ready", "wait, or check the server's log"),
    }
}

/// A call that a server of a cluster did not execute, as it is, or will be, another one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// Another one has the slot.
    Moved,
    /// The slot is on its way, or the cluster is not ready: the same server may take the call later.
    Later,
}

/// Whether a call was refused like that. These are the server's own words: what a script met in its middle is told otherwise.
pub(super) fn elsewhere(error: &RedisError) -> Option<Elsewhere> {
    match error.code()? {
        "MOVED" => Some(Elsewhere::Moved),
        "ASK" | "TRYAGAIN" | "CLUSTERDOWN" => Some(Elsewhere::Later),
        _ => None,
    }
}

/// What it means that there is no connection, or no more.
fn of_connection(error: &RedisError) -> Meaning {
    let unreachable = "redis cannot be reached";
    let text = error.to_string().to_lowercase();
    let (message, advice) = if ["certificate", "unknownca"].iter().any(|part| text.contains(part)) {
        (
            "redis and this program do not accept each other's certificates",
            "rediss://NAME with a name that is in the server's certificate, and ?ca=FILE with the certificate of whoever signed it; where the server asks for one, also &cert=FILE&key=FILE",
        )
    } else if error.is_connection_refusal() {
        (unreachable, "check that the server runs and that the URL is right")
    } else if error.is_connection_dropped() {
        (
            "redis, or somebody on the way, closed the connection",
            "check the server's log; redis-cli info clients says whether there are as many as maxclients",
        )
    } else {
        (unreachable, "check that the URL is right, that the server runs, and that the network leads to it")
    };
    (ErrorKind::Unavailable, message, advice)
}

/// Says what an error means that came while connecting: the call was not made.
pub(super) fn connecting(operation: &'static str, error: &RedisError) -> Error {
    let said = error.detail().unwrap_or_default();
    if said.contains("DB index is out of range") || said.contains("SELECT is not allowed in cluster mode") {
        return Error::invalid(operation, "redis has no database of the number in the URL")
            .because(error.to_string())
            .advise("redis-cli config get databases says how many there are; a cluster has only number 0");
    }
    if error.is_timeout() {
        return unconnected(operation);
    }
    if said.contains("max number of clients") {
        return turned_away(operation, said);
    }
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

/// The URL has a number of a database, and leads to a cluster.
pub(super) fn no_database(operation: &'static str) -> Error {
    Error::invalid(operation, "a redis cluster has no database but number 0")
        .advise("the URL without /N; ?namespace=NAME for a set of queues of its own")
}

/// The URL says what only Sentinels need, and leads to a server that is none.
pub(super) fn no_sentinel(operation: &'static str, server: &ConnectionAddr) -> Error {
    let message = format!("{server} is no sentinel, and the URL has a name or a password for sentinels");
    Error::invalid(operation, message)
        .advise("the addresses of the sentinels, or the URL without master and sentinel_password")
}

/// No server of a cluster has the slot of the namespace.
pub(super) fn no_owner(operation: &'static str, asked: &ConnectionAddr, slot: u16) -> Error {
    let (kind, _, advice) = of_code("CLUSTERDOWN");
    let message = format!(
        "no server of the redis cluster of {asked} has the slot {slot} of the namespace; nothing was done"
    );
    Error::new(kind, operation, message).advise(advice)
}

/// What happened at a server to which somebody else pointed.
pub(super) fn within(said: &str, error: Error) -> Error {
    let message = format!("{said}: {error}");
    let source = std::error::Error::source(&error).map(ToString::to_string);
    let advice = error.advice().map(str::to_owned);
    let mut outer = Error::new(error.kind(), error.operation(), message);
    if let Some(source) = source {
        outer = outer.because(source);
    }
    match advice {
        Some(advice) => outer.advise(advice),
        None => outer,
    }
}

/// The server says of itself that it is a replica.
pub(super) fn replica(operation: &'static str) -> Error {
    let (kind, message, advice) = of_code("READONLY");
    Error::new(kind, operation, message).advise(advice)
}

/// Whether the server will take calls when it has read its data.
pub(super) fn is_loading(error: &RedisError) -> bool {
    code(error) == "LOADING"
}

/// What a server said to somebody who only connected: why it lets nobody in.
pub(super) fn turned_away(operation: &'static str, said: &str) -> Error {
    let text = said.trim_start_matches('-').trim();
    let (kind, message, advice) = if text.contains("max number of clients") {
        (
            ErrorKind::Unavailable,
            "redis has as many clients as it takes (maxclients)",
            "redis-cli client list says whose they are; redis-cli config set maxclients N allows more",
        )
    } else {
        of_code(text.split_whitespace().next().unwrap_or_default())
    };
    Error::new(kind, operation, message).because(text.to_owned()).advise(advice)
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

/// No connection came about in time: the call was not made.
pub(super) fn unconnected(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        operation,
        "redis cannot be reached: it did not answer in time; nothing was done",
    )
    .advise("check that the server runs, that the network leads to it, and that the URL is right: rediss:// needs the port that encrypts")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Error {
        let value = redis::parse_redis_value(format!("{line}\r\n").as_bytes()).unwrap();
        redis("claim", &value.extract_error().unwrap_err())
    }

    /// A script of 6.2 passes on what a command in it was refused with.
    #[test]
    fn what_a_script_met_is_known_on_older_servers_too() {
        let script = "-ERR Error running script (call to f_0a1b): @user_script:12: @user_script: 12: ";
        let full = told(&format!("{script}-OOM command not allowed when used memory > 'maxmemory'."));
        assert_eq!(full.kind(), ErrorKind::Full, "{}", full.report());
        let replica = told(&format!("{script}-READONLY You can't write against a read only replica."));
        assert!(replica.to_string().contains("replica"), "{}", replica.report());
        let defect = told(&format!("{script}attempt to index a nil value"));
        assert_eq!(defect.kind(), ErrorKind::Internal, "{}", defect.report());
    }

    /// Only what a server says before it begins is certain not to have been done.
    #[test]
    fn what_was_not_executed_is_known() {
        let said = |line: &str| {
            let value = redis::parse_redis_value(format!("{line}\r\n").as_bytes()).unwrap();
            elsewhere(&value.extract_error().unwrap_err())
        };
        assert_eq!(said("-MOVED 866 127.0.0.1:7001"), Some(Elsewhere::Moved));
        for later in
            ["-ASK 866 127.0.0.1:7001", "-TRYAGAIN Multiple keys request", "-CLUSTERDOWN The cluster is down"]
        {
            assert_eq!(said(later), Some(Elsewhere::Later), "{later}");
        }
        let within = "-ERR Error running script (call to f_0a1b): @user_script:1: -MOVED 866 127.0.0.1:7001";
        for done in [within, "-READONLY You can't write against a read only replica.", "-CROSSSLOT Keys"] {
            assert_eq!(said(done), None, "{done}");
        }
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        for (line, part) in [
            ("-LOADING Redis is loading the dataset in memory", "reads its data"),
            ("-MISCONF Errors writing to the AOF file: No space left on device", "its disk"),
            ("-NOREPLICAS Not enough good replicas to write.", "too few replicas"),
            ("-BUSY Redis is busy running a script.", "long script"),
            ("-MOVED 866 127.0.0.1:7001", "do not agree yet"),
            ("-TRYAGAIN Multiple keys request during rehashing of slot", "is being moved"),
            ("-CLUSTERDOWN The cluster is down", "takes no calls"),
            ("-SURPRISE never seen before", "not ready"),
        ] {
            let error = told(line);
            assert_eq!((error.kind(), error.advice().is_some()), (ErrorKind::Unavailable, true), "{line}");
            assert!(error.to_string().contains(part), "{line}: {}", error.report());
        }
    }
}
