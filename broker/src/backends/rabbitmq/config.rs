//! What a RabbitMQ broker is told.

use std::{sync::Arc, time::Duration};

use lapin::uri::AMQPUri;

use crate::{
    Error, Namespace, Result, Secret, ServerOptions,
    clock::{Clock, ProcessClock},
    limits,
};

/// How long a silent connection lasts, in seconds, before its other end gives it up and hands its tasks to others.
const HEARTBEAT: u16 = 20;

// A worker gives up what was not confirmed for two thirds of a lease; the server must not give it to others before.
const _: () = assert!(HEARTBEAT as u64 * 3 >= limits::LEASE.as_secs() * 2);

/// Which server, and which namespace of it.
#[derive(Clone, Debug)]
pub struct RabbitMqConfig {
    pub(super) server: AMQPUri,
    pub(super) namespace: Namespace,
    pub(super) clock: Arc<dyn Clock>,
    /// Where the management plugin answers, if it is said.
    pub(super) management: Option<Secret>,
    /// The server's `consumer_timeout`, if it is said.
    pub(super) consumer_timeout: Option<Duration>,
}

impl RabbitMqConfig {
    /// A namespace of the server of a URL: `amqp://[user:password@]host[:port][/vhost]`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when the URL cannot be used. The error does not repeat
    /// it, as it may hold a password.
    pub fn new(url: &str, namespace: Namespace) -> Result<Self> {
        let mut server: AMQPUri = url.parse().map_err(|e: String| {
            Error::invalid("connect", "the RabbitMQ URL cannot be used")
                .because(e)
                .advise("amqp://host:5672, or amqp://user:password@host:5672/vhost")
        })?;
        if server.vhost.is_empty() {
            // `amqp://host/` would be a virtual host without a name, which nobody means.
            server.vhost = "/".to_owned();
        }
        server.query.heartbeat = Some(HEARTBEAT);
        let clock = Arc::new(ProcessClock::default());
        Ok(Self { server, namespace, clock, management: None, consumer_timeout: None })
    }

    /// Takes what the URL says besides.
    #[must_use]
    pub fn with_options(mut self, options: &ServerOptions) -> Self {
        self.management = options.management.clone();
        self.consumer_timeout = options.consumer_timeout;
        self
    }

    /// Measures leases by another clock: for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_alone_is_the_default_virtual_host() {
        for (url, vhost) in
            [("amqp://h", "/"), ("amqp://h/", "/"), ("amqp://h/%2f", "/"), ("amqp://h/a", "a")]
        {
            assert_eq!(RabbitMqConfig::new(url, Namespace::default()).unwrap().server.vhost, vhost, "{url}");
        }
    }

    #[test]
    fn a_bad_url_is_not_repeated() {
        let error = RabbitMqConfig::new("amqp://user:secret@host:port", Namespace::default()).unwrap_err();
        assert!(!error.report().contains("secret"), "{}", error.report());
    }
}
