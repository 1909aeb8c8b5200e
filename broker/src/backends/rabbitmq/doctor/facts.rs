//! What follows from the server's version, and from what the user says of it.

use std::time::Duration;

use crate::{Check, backends::rabbitmq::greeting::Version, write_duration};

pub(super) fn version(version: Result<&Version, &std::io::Error>) -> Check {
    let what = "version";
    match version {
        Err(error) => {
            Check::warn(what, format!("the server does not tell it: {error}"), "rabbitmqctl version")
        }
        Ok(old) if !old.is_at_least(Version::OLDEST) => {
            Check::bad(what, format!("{old}, and 3.10 is needed"), "upgrade the server")
        }
        Ok(young) if !young.is_at_least(Version::TIMEOUTS) => {
            let found = format!(
                "{young}; 3.10 is needed, and from 3.12 on a task of ours may run for longer than the server's consumer_timeout"
            );
            Check::ok(what, found)
        }
        Ok(version) => {
            Check::ok(what, format!("{version}; 3.10 is needed, and nothing newer than 3.12 is used"))
        }
    }
}

/// How long a task may run until the server takes it away.
pub(super) fn timeout(version: Option<&Version>, said: Option<Duration>) -> Check {
    let what = "timeout";
    if version.is_some_and(|version| version.is_at_least(Version::TIMEOUTS)) {
        return Check::ok(what, "the server waits 24 days for a task of a queue that this version made");
    }
    match said {
        Some(timeout) => {
            let found = format!("consumer_timeout is {}, as the URL says", write_duration(timeout));
            Check::ok(what, found)
        }
        None => {
            let found = "the server tells nobody its consumer_timeout, 30 min unless it is set: a task that runs for longer is taken away, with all that its session holds";
            let advice = "rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).' tells it in ms; say it in the URL, ?consumer_timeout=30m, or set it in rabbitmq.conf";
            Check::warn(what, found, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict::{Bad, Ok as Fine, Warn};

    #[test]
    fn versions() {
        for (text, verdict) in [("3.9.29", Bad), ("3.10.8", Fine), ("3.12.0", Fine), ("4.2.1", Fine)] {
            let parsed = Version::parse(text).unwrap();
            assert_eq!(version(Ok(&parsed)).verdict, verdict, "{text}");
        }
        assert_eq!(version(Err(&std::io::ErrorKind::TimedOut.into())).verdict, Warn);
    }

    #[test]
    fn how_long_a_task_may_run() {
        let of =
            |text, said: Option<u64>| timeout(Version::parse(text).as_ref(), said.map(Duration::from_secs));
        assert_eq!(of("3.10.8", None).verdict, Warn);
        assert_eq!(of("3.12.0", None).verdict, Fine);
        let said = of("3.10.8", Some(2700));
        assert_eq!((said.verdict, said.found.as_str()), (Fine, "consumer_timeout is 45m, as the URL says"));
    }
}
