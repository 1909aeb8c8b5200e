//! What a Redis broker is told.

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo,
    io::tcp::TcpSettings,
};

use super::{error, tls};
use crate::{Error, Namespace, Result, ServerOptions};

/// Which server, and which namespace of it.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// How servers are reached, and who we are to them. Its address is that of the first; its database is 0, whatever [`Self::database`] is,
    /// as neither Sentinels nor the servers of a cluster have others.
    server: ConnectionInfo,
    /// The servers of the URL.
    pub(super) servers: Vec<ConnectionAddr>,
    pub(super) database: i64,
    /// Who we are to Sentinels, where that is said.
    sentinels: Option<RedisConnectionInfo>,
    pub(super) namespace: Namespace,
    options: ServerOptions,
}

impl RedisConfig {
    /// A namespace of the server of a URL: `redis://[user:password@]host[:port][,host[:port]…][/database]`, the same with `rediss://` for one that
    /// encrypts, or `unix://[user:password@]/path` for the socket of one on this box. Several hosts are tried in turn; each may be the
    /// server itself, a Sentinel that knows it, or a server of a cluster.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when the URL cannot be used. The error does not repeat
    /// it, as it may hold a password.
    pub fn new(url: &str, namespace: Namespace) -> Result<Self> {
        let mut servers = connection_infos(url).map_err(|e| {
            Error::invalid("connect", "the redis URL cannot be used").because(e.to_string()).advise(
                "redis://host:6379, redis://user:password@host:6379/0, or several: redis://host:26379,host:26379",
            )
        })?;
        let server = servers.remove(0);
        let database = server.redis_settings().db();
        let servers = std::iter::once(&server).chain(&servers).map(|server| server.addr().clone()).collect();
        // Small requests are what there is: waiting to fill a packet would delay every one of them. The third version of
        // the protocol brings the news of a subscription over the same connection.
        let settings = server.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_db(0);
        let server =
            server.set_tcp_settings(TcpSettings::default().set_nodelay(true)).set_redis_settings(settings);
        let options = ServerOptions::default();
        Ok(Self { server, servers, database, sentinels: None, namespace, options })
    }

    /// Sets what is said of the server besides.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when the user or the password of the Sentinels cannot be used.
    pub fn with_options(mut self, options: &ServerOptions) -> Result<Self> {
        if let Some(database) = options.database {
            self.database = database.into();
        }
        self.sentinels = match &options.sentinel_password {
            Some(password) => {
                let user = options.sentinel_user.as_deref().unwrap_or_default();
                Some(credentials(user, password.expose())?)
            }
            None => None,
        };
        self.options = options.clone();
        Ok(self)
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

    /// The name of the master for which Sentinels are asked, where it is said.
    pub(super) fn master(&self) -> Option<&str> {
        self.options.master.as_deref()
    }

    /// Who we are to Sentinels, where that is said.
    pub(super) fn sentinels(&self) -> Option<&RedisConnectionInfo> {
        self.sentinels.as_ref()
    }

    /// How servers are reached. Reads the files of the certificates.
    pub(super) fn reach(&self) -> Result<ConnectionInfo> {
        let server = self.server.clone();
        let client = match server.addr() {
            ConnectionAddr::TcpTls { .. } => tls::client(server, &self.options)?,
            _ => Client::open(server).map_err(|e| error::connecting("connect", &e))?,
        };
        Ok(client.get_connection_info().clone())
    }
}

/// Reads a URL, into a server each host. The first has the user, the password and the database.
fn connection_infos(url: &str) -> redis::RedisResult<Vec<ConnectionInfo>> {
    let Some((scheme @ ("redis" | "rediss"), rest)) = url.split_once("://") else {
        return Ok(vec![connection_info(url)?]);
    };
    let at = rest.rfind('@').map_or(0, |at| at + 1);
    let (user, rest) = rest.split_at(at);
    let (hosts, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut hosts = hosts.split(',');
    let first = hosts.next().unwrap_or_default();
    let first = connection_info(&format!("{scheme}://{user}{first}{path}"))?;
    let others = hosts.map(|host| connection_info(&format!("{scheme}://{host}")));
    std::iter::once(Ok(first)).chain(others).collect()
}

/// Reads a URL with one host. That of a socket has the user and the password where that of a host has them, which the client's own form has not.
fn connection_info(url: &str) -> redis::RedisResult<ConnectionInfo> {
    let Some(rest) = url.strip_prefix("redis+unix://").or_else(|| url.strip_prefix("unix://")) else {
        return url.into_connection_info();
    };
    let (user, path) = rest.rsplit_once('@').map_or(("", rest), |(user, path)| (user, path));
    let at = if user.is_empty() { "" } else { "@" };
    let info = format!("redis://{user}{at}localhost").into_connection_info()?;
    Ok(info.set_addr(ConnectionAddr::Unix(path.into())))
}

/// A user and a password, written as they are in a URL.
fn credentials(user: &str, password: &str) -> Result<RedisConnectionInfo> {
    // What ends a password in a URL, and cannot be meant to here.
    let password = password.replace('@', "%40").replace('/', "%2F").replace('?', "%3F").replace('#', "%23");
    let info = format!("redis://{user}:{password}@localhost").into_connection_info().map_err(|e| {
        Error::invalid("connect", "sentinel_user or sentinel_password cannot be used")
            .because(e.to_string())
            .advise("write what has a meaning in a URL as % and two digits: %26 is an &")
    })?;
    Ok(info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_several_servers() {
        let config = RedisConfig::new("redis://me:p%40ss@a:1,b,[::1]:3/2", Namespace::default()).unwrap();
        let named: Vec<_> = config.servers.iter().map(ToString::to_string).collect();
        assert_eq!(named, ["a:1", "b:6379", "::1:3"]);
        let settings = config.server.redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("me"), Some("p@ss")));
        assert_eq!(
            (config.database, settings.db()),
            (2, 0),
            "servers are told when it is known what they are"
        );
        assert!(!format!("{config:?}").contains("p@ss"));
        let encrypted = RedisConfig::new("rediss://a,b", Namespace::default()).unwrap();
        assert!(encrypted.servers.iter().all(|server| matches!(server, ConnectionAddr::TcpTls { .. })));
        for wrong in ["redis://a:b,c", "redis://a,0.0.0.0", "redis://a,b:70000", "redis://a,b/x"] {
            assert!(RedisConfig::new(wrong, Namespace::default()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_sentinels_may_have_a_password_of_their_own() {
        let config = RedisConfig::new("redis://me:one@a,b", Namespace::default()).unwrap();
        let options =
            |query: &str| match format!("redis://a,b?{query}").parse::<crate::BrokerUrl>().unwrap().place {
                crate::Place::Redis(url) => url.options().clone(),
                other => panic!("{other:?}"),
            };
        let with =
            config.clone().with_options(&options("sentinel_user=s&sentinel_password=t%26w@o/")).unwrap();
        let sentinels = with.sentinels().unwrap();
        assert_eq!((sentinels.username(), sentinels.password()), (Some("s"), Some("t&w@o/")));
        assert!(!format!("{with:?}").contains("w@o"));
        assert!(config.with_options(&options("master=films")).unwrap().sentinels().is_none());
    }
}
