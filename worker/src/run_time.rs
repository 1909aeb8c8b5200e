//! What is refused because a run of it would take longer than the broker allows.

use std::time::Duration;

use manyhands_broker::{Error, ErrorKind, Result, write_duration};

/// Refuses a limit that is longer than what the broker lets a task run.
pub(crate) fn fits(
    operation: &'static str,
    what: impl FnOnce() -> String,
    limit: Option<Duration>,
    longest: Duration,
    backend: &str,
) -> Result<()> {
    let Some(limit) = limit.filter(|limit| *limit > longest) else { return Ok(()) };
    let (what, limit, longest) = (what(), write_duration(limit), write_duration(longest));
    let message = format!(
        "{what} has a run_limit of {limit}, and a run of {longest} is the longest that {backend} allows"
    );
    Err(Error::new(ErrorKind::Unsupported, operation, message).advise(format!(
        "a run_limit of {longest} at most; or raise consumer_timeout of the server, and say so in the URL: ?consumer_timeout=12h"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_the_broker_does_not_keep_is_refused() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let fits = |limit| fits("run", || "task \"resize\"".to_owned(), limit, minutes(24), "rabbitmq");
        assert!(fits(None).is_ok() && fits(Some(minutes(24))).is_ok());
        let error = fits(Some(minutes(60))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.report().contains("run_limit of 1h, and a run of 24m is the longest"), "{error:?}");
    }
}
