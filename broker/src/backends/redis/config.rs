//! What a Redis broker is told.

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, io::tcp::TcpSettings,
};

use super::{error, tls};
use crate::{Error, Namespace, Result, ServerOptions};

/// Which server, and which namespace of it.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    server: ConnectionInfo,
    pub(super) namespace: Namespace,
    options: ServerOptions,
}

impl RedisConfig {
    /// A namespace of the server of a URL: `redis://[user:password@]host[:port][/database]`, the same with `rediss://` for a server that
    /// encrypts, or `unix://[user:password@]/path` for the socket of one on this box.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when the URL cannot be used. The error does not repeat
    /// it, as it may hold a password.
    pub fn new(url: &str, namespace: Namespace) -> Result<Self> {
        let server = connection_info(url).map_err(|e| {
            Error::invalid("connect", "the redis URL cannot be used")
                .because(e.to_string())
                .advise("redis://host:6379, or redis://user:password@host:6379/0")
        })?;
        // Small requests are what there is: waiting to fill a packet would delay every one of them. The third version of
        // the protocol brings the news of a subscription over the same connection.
        let settings = server.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let server =
            server.set_tcp_settings(TcpSettings::default().set_nodelay(true)).set_redis_settings(settings);
        Ok(Self { server, namespace, options: ServerOptions::default() })
    }

    /// Sets what is said of the server besides.
    #[must_use]
    pub fn with_options(mut self, options: &ServerOptions) -> Self {
        if let Some(database) = options.database {
            let settings = self.server.redis_settings().clone().set_db(database.into());
            self.server = self.server.set_redis_settings(settings);
        }
        self.options = options.clone();
        self
    }

    /// The same server, another namespace.
    pub(super) fn with_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Whether a server may be used that throws keys away when its memory is full.
    pub(super) fn allows_eviction(&self) -> bool {
        self.options.allow_eviction
    }

    /// What makes connections. Reads the files of the certificates.
    pub(super) fn client(self) -> Result<Client> {
        match self.server.addr() {
            ConnectionAddr::TcpTls { .. } => tls::client(self.server, &self.options),
            _ => Client::open(self.server).map_err(|e| error::connecting("connect", &e)),
        }
    }
}

/// Reads a URL. That of a socket has the user and the password where that of a host has them, which the client's own form has not.
fn connection_info(url: &str) -> redis::RedisResult<ConnectionInfo> {
    let Some(rest) = url.strip_prefix("redis+unix://").or_else(|| url.strip_prefix("unix://")) else {
        return url.into_connection_info();
    };
    let (user, path) = rest.rsplit_once('@').map_or(("", rest), |(user, path)| (user, path));
    let at = if user.is_empty() { "" } else { "@" };
    let info = format!("redis://{user}{at}localhost").into_connection_info()?;
    Ok(info.set_addr(ConnectionAddr::Unix(path.into())))
}
