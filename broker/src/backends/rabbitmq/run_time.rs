//! How long a run may take: a server before 3.12 takes a delivery back that is not acknowledged within its `consumer_timeout`, and ends the channel
//! with all that the session holds. A lease is no help against that.

use std::time::Duration;

use super::{greeting::Version, link::Link};

/// The server's `consumer_timeout`, unless it is told otherwise.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How long a run may take on this server. From 3.12 on our queues ask for more than anybody needs.
pub(super) async fn max_run(link: &Link) -> Option<Duration> {
    match link.dialer.version().await {
        Ok(version) => of(&version, link.config.consumer_timeout()),
        Err(error) => {
            tracing::warn!(%error, "RabbitMQ does not tell its version, so it is not known how long a task may run");
            None
        }
    }
}

/// Four fifths of what the server waits: it counts from the delivery, and looks once a minute.
fn of(version: &Version, said: Option<Duration>) -> Option<Duration> {
    let is_bounded = !version.is_at_least(Version::TIMEOUTS);
    is_bounded.then(|| said.unwrap_or(TIMEOUT) * 4 / 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_servers_bound_a_run() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let of = |version, said| of(&Version::parse(version).unwrap(), said);
        assert_eq!(of("3.10.8", None), Some(minutes(24)));
        assert_eq!(of("3.11.28", Some(minutes(60))), Some(minutes(48)));
        assert_eq!(of("3.12.0", Some(minutes(60))), None);
    }
}
