//! What a Redis broker is told.

use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion, io::tcp::TcpSettings};

use crate::{Error, Namespace, Result};

/// Which server, and which namespace of it.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    pub(super) server: ConnectionInfo,
    pub(super) namespace: Namespace,
}

impl RedisConfig {
    /// A namespace of the server of a URL: `redis://[user:password@]host[:port][/database]`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when the URL cannot be used. The error does not repeat
    /// it, as it may hold a password.
    pub fn new(url: &str, namespace: Namespace) -> Result<Self> {
        let server = url.into_connection_info().map_err(|e| {
            Error::invalid("connect", "the redis URL cannot be used")
                .because(e.to_string())
                .advise("redis://host:6379, or redis://user:password@host:6379/0")
        })?;
        // Small requests are what there is: waiting to fill a packet would delay every one of them. The third version of
        // the protocol brings the news of a subscription over the same connection.
        let settings = server.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let server =
            server.set_tcp_settings(TcpSettings::default().set_nodelay(true)).set_redis_settings(settings);
        Ok(Self { server, namespace })
    }
}
