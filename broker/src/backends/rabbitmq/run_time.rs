//! How long a run may take: a server before 3.12 takes a delivery back that is not acknowledged within its `consumer_timeout`, and ends the channel
//! with all that the session holds. A lease is no help against that. So a task that asks for more is refused where it is sent.

use std::{io, time::Duration};

use tokio::sync::OnceCell;

use super::{greeting::Version, link::Link, live::Live};
use crate::{Error, ErrorKind, NewTask, Result, write_duration};

/// The server's `consumer_timeout`, unless it is told otherwise.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Whether the server bounds runs, once it was asked: a server of the next connections may be a newer one.
#[derive(Debug, Default)]
pub(super) struct Bounds(OnceCell<bool>);

/// How long a run may take on this server. From 3.12 on our queues ask for more than anybody needs.
pub(super) async fn max_run(link: &Link) -> Option<Duration> {
    match is_bounded(link).await {
        Ok(is_bounded) => is_bounded.then(|| longest(link.config.consumer_timeout())),
        Err(error) => {
            unknown(&error);
            None
        }
    }
}

async fn is_bounded(link: &Link) -> io::Result<bool> {
    Ok(bounds(&link.dialer.version().await?))
}

fn bounds(version: &Version) -> bool {
    !version.is_at_least(Version::TIMEOUTS)
}

/// Four fifths of what the server waits: it counts from the delivery, and looks once a minute.
fn longest(said: Option<Duration>) -> Duration {
    said.unwrap_or(TIMEOUT) * 4 / 5
}

impl Live {
    /// Refuses tasks that ask for longer runs than the server allows: workers would cut them short. Only who asks for more than an old
    /// server allows makes this one tell its version.
    pub(super) async fn check_run_limits(
        &self,
        link: &Link,
        operation: &'static str,
        tasks: impl IntoIterator<Item = &NewTask>,
    ) -> Result<()> {
        let longest = longest(link.config.consumer_timeout());
        let too_long = |task: &&NewTask| task.run_limit.is_some_and(|limit| limit > longest);
        let Some(task) = tasks.into_iter().find(too_long) else { return Ok(()) };
        match self.bounds.0.get_or_try_init(|| is_bounded(link)).await {
            Ok(true) => Err(refused(operation, task, longest)),
            Ok(false) => Ok(()),
            // Then no worker knows of a bound, either; and what hands it on could never be settled.
            Err(error) => {
                unknown(&error);
                Ok(())
            }
        }
    }
}

fn refused(operation: &'static str, task: &NewTask, longest: Duration) -> Error {
    let NewTask { id, queue, run_limit, .. } = task;
    let (limit, longest) = (write_duration(run_limit.unwrap_or_default()), write_duration(longest));
    let wish = format!("task {id} for queue \"{queue}\" has a run_limit of {limit}");
    let message = format!("{wish}, and a run of {longest} is the longest that rabbitmq allows");
    Error::new(ErrorKind::Unsupported, operation, message).advise(format!(
        "a run_limit of {longest} at most; or raise consumer_timeout of the server, and say so in the URL: ?consumer_timeout=12h"
    ))
}

fn unknown(error: &io::Error) {
    tracing::warn!(%error, "RabbitMQ does not tell its version, so it is not known how long a task may run");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_servers_bound_a_run() {
        let bounds = |version| bounds(&Version::parse(version).unwrap());
        assert!(bounds("3.10.8") && bounds("3.11.28"));
        assert!(!bounds("3.12.0") && !bounds("4.0.0"));
    }

    #[test]
    fn there_is_time_to_settle() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        assert_eq!(longest(None), minutes(24));
        assert_eq!(longest(Some(minutes(60))), minutes(48));
    }
}
