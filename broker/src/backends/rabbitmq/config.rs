//! What a RabbitMQ broker is told.

use std::{fmt, sync::Arc, time::Duration};

use lapin::uri::{AMQPScheme, AMQPUri};

use super::tls::Tls;
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
#[derive(Clone)]
pub struct RabbitMqConfig {
    /// The servers of the URL, each with who we are to it.
    pub(super) servers: Vec<AMQPUri>,
    pub(super) namespace: Namespace,
    pub(super) clock: Arc<dyn Clock>,
    options: ServerOptions,
}

impl fmt::Debug for RabbitMqConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self.servers.iter().map(address).collect();
        f.debug_struct("RabbitMqConfig")
            .field("servers", &servers)
            .field("namespace", &self.namespace)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl RabbitMqConfig {
    /// The first server of the URL: who we are, and which virtual host, are the same for all.
    pub(super) fn first(&self) -> Option<&AMQPUri> {
        self.servers.first()
    }

    /// Where the management plugin answers, if it is said.
    pub(super) fn management(&self) -> Option<&Secret> {
        self.options.management.as_ref()
    }

    /// The server's `consumer_timeout`, if it is said.
    pub(super) fn consumer_timeout(&self) -> Option<Duration> {
        self.options.consumer_timeout
    }

    /// A namespace of the server of a URL: `amqp://[user:password@]host[:port][,host[:port]…][/vhost]`, the same with `amqps://` for one that
    /// encrypts. Several hosts are nodes of one cluster, and are tried in turn.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when the URL cannot be used. The error does not repeat
    /// it, as it may hold a password.
    pub fn new(url: &str, namespace: Namespace) -> Result<Self> {
        let servers = servers(url).map_err(|why| {
            Error::invalid("connect", "the RabbitMQ URL cannot be used").because(why).advise(
                "amqp://host:5672, amqp://user:password@host:5672/vhost, or several nodes of a cluster: amqp://host,host",
            )
        })?;
        let options = ServerOptions::default();
        Ok(Self { servers, namespace, clock: Arc::new(ProcessClock::default()), options })
    }

    /// Sets what is said of the server besides.
    #[must_use]
    pub fn with_options(mut self, options: &ServerOptions) -> Self {
        self.options = options.clone();
        self
    }

    /// Measures leases by another clock: for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How connections are encrypted, if they are. Reads the files of the certificates.
    pub(super) fn tls(&self) -> Result<Option<Tls>> {
        let encrypts = self.servers.iter().any(|server| server.scheme == AMQPScheme::AMQPS);
        encrypts.then(|| Tls::new(&self.options)).transpose()
    }
}

/// A server, as it is shown.
pub(super) fn address(server: &AMQPUri) -> String {
    let (host, port) = (&server.authority.host, server.authority.port);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Reads a URL, into a server each host.
fn servers(url: &str) -> Result<Vec<AMQPUri>, String> {
    let (scheme, rest) = url.split_once("://").ok_or("it has no ://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if rest.contains('#') {
        // What is behind it would be left out without a word.
        return Err("in a URL, a # is written %23".to_owned());
    }
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    hosts.split(',').map(|host| server(&format!("{scheme}://{user}{host}{path}"), host)).collect()
}

/// Reads a URL with one host.
fn server(url: &str, host: &str) -> Result<AMQPUri, String> {
    let mut server: AMQPUri = url.parse()?;
    if let Some((address, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        // What reads URLs for the client takes no address of this kind, and would connect to this host instead.
        server.authority.host = address.to_owned();
    }
    if server.vhost.is_empty() {
        // `amqp://host/` would be a virtual host without a name, which nobody means.
        server.vhost = "/".to_owned();
    }
    server.query.heartbeat = Some(HEARTBEAT);
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> RabbitMqConfig {
        RabbitMqConfig::new(url, Namespace::default()).unwrap()
    }

    #[test]
    fn a_slash_alone_is_the_default_virtual_host() {
        for (url, vhost) in [
            ("amqp://h", "/"),
            ("amqp://h/", "/"),
            ("amqp://h/%2f", "/"),
            ("amqp://h/a", "a"),
            ("amqp://h,i/a%2Fb%20%C3%BC%23", "a/b ü#"),
        ] {
            assert!(config(url).servers.iter().all(|server| server.vhost == vhost), "{url}");
        }
    }

    #[test]
    fn a_url_names_several_servers() {
        let config = config("amqps://me:p%40ss@a:1,b,[::1]:3,192.0.2.1,[2001:db8::1]/films");
        let named: Vec<_> = config.servers.iter().map(address).collect();
        assert_eq!(named, ["a:1", "b:5671", "[::1]:3", "192.0.2.1:5671", "[2001:db8::1]:5671"]);
        for server in &config.servers {
            let user = &server.authority.userinfo;
            assert_eq!((user.username.as_str(), user.password.as_str()), ("me", "p@ss"));
            assert_eq!((&server.scheme, server.vhost.as_str()), (&AMQPScheme::AMQPS, "films"));
        }
        assert!(!format!("{config:?}").contains("p@ss"), "{config:?}");
    }

    #[test]
    fn a_bad_url_is_not_repeated() {
        for url in [
            "amqp://user:secret@host:port",
            "amqp://user:secret@host,host:port",
            "amqp://user:secret@host,,host",
            "amqp://user:secret@host/a#secret",
            "amqp://user:sec#ret@host",
            "amqp://user:secret@[::1",
            "http://user:secret@host",
        ] {
            let error = RabbitMqConfig::new(url, Namespace::default()).unwrap_err();
            assert!(!error.report().contains("secret"), "{}", error.report());
        }
    }
}
