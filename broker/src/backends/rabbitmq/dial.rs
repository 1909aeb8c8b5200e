//! Connections to one of the servers of the URL.

use std::{
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lapin::{
    Connection, ConnectionProperties,
    tcp::{AMQPUriTcpExt, AsyncTcpStream},
    uri::{AMQPScheme, AMQPUri},
};

use super::{RabbitMqConfig, error, link::CONNECT, tls::Tls};
use crate::{Error, ErrorKind, Result};

/// What makes connections.
pub(super) struct Dialer {
    servers: Vec<AMQPUri>,
    tls: Option<Tls>,
    /// Counts the tries: each is with the next server, as the last one may take connections and do nothing with them.
    tries: AtomicUsize,
}

impl Dialer {
    /// Reads the files of the certificates.
    pub(super) fn new(config: &RabbitMqConfig) -> Result<Self> {
        Ok(Self { servers: config.servers.clone(), tls: config.tls()?, tries: AtomicUsize::new(0) })
    }

    /// The servers, the one first whose turn it is; each is to be tried in turn.
    pub(super) fn turn(&self) -> impl Iterator<Item = &AMQPUri> {
        self.servers.iter().map(|_| {
            let turn = self.tries.fetch_add(1, Ordering::Relaxed) % self.servers.len();
            &self.servers[turn]
        })
    }

    /// Makes two connections to a server, to publish and to consume.
    pub(super) async fn dial(
        &self,
        operation: &'static str,
        server: &AMQPUri,
        name: &str,
    ) -> Result<(Connection, Connection)> {
        let patience = CONNECT * 9 / 10 / u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        let both = async {
            let dial = || self.dial_once(server, name, patience);
            tokio::try_join!(dial(), dial())
        };
        match tokio::time::timeout(patience, both).await {
            Ok(connected) => connected.map_err(|e| error::connecting(operation, server, &e)),
            Err(_) => Err(error::unconnected(operation, server)),
        }
    }

    async fn dial_once(&self, server: &AMQPUri, name: &str, patience: Duration) -> lapin::Result<Connection> {
        let guard = Socket::default();
        let (socket, tls) = (Arc::clone(&guard.0), self.tls.clone());
        let options = ConnectionProperties::default().with_connection_name(name.into());
        let connecting = Connection::connector(
            server.clone(),
            lapin::runtime::default_runtime()?,
            async move |server, runtime| {
                let connect = async {
                    let plain = AMQPUri { scheme: AMQPScheme::AMQP, ..server.clone() };
                    let stream = plain.connect_async(&runtime).await?;
                    if let AsyncTcpStream::Plain(stream) = &stream {
                        let _ = socket.set(stream.get_ref().as_fd().try_clone_to_owned()?.into());
                    }
                    #[cfg(feature = "tls")]
                    if let Some(tls) = &tls {
                        return stream.into_rustls(&tls.connector, &server.authority.host).await;
                    }
                    // Without the feature, there is no such configuration.
                    debug_assert!(tls.is_none());
                    Ok::<_, std::io::Error>(stream)
                };
                // The client's own thread waits for it, and nobody else could end that.
                let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
                Ok(tokio::time::timeout(patience, connect).await.map_err(|_| late())??)
            },
            options,
        );
        let connected = connecting.await;
        if connected.is_ok() {
            guard.keep();
        }
        connected
    }
}

/// The socket of a connection that is being made. Dropped before it is made, the socket is shut, as otherwise the client's thread would wait
/// for ever for a server that says nothing.
#[derive(Default)]
struct Socket(Arc<OnceLock<TcpStream>>, bool);

impl Socket {
    fn keep(mut self) {
        self.1 = true;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(socket) = self.0.get().filter(|_| !self.1) {
            // It may be shut already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// What to say when none of several servers could be used: what one said that could be reached, before all else.
pub(super) fn all_failed(operation: &'static str, mut failures: Vec<Error>) -> Error {
    let telling = failures.iter().position(error::is_told).unwrap_or(0);
    if failures.is_empty() {
        return Error::new(ErrorKind::Internal, operation, "the RabbitMQ URL has no server");
    }
    let first = failures.remove(telling);
    if failures.is_empty() {
        return first;
    }
    let source = std::error::Error::source(&first).map(ToString::to_string);
    let said: Vec<_> = source.into_iter().chain(failures.iter().map(Error::report)).collect();
    let advice = first.advice().unwrap_or_default().to_owned();
    Error::new(first.kind(), operation, first.to_string()).because(said.join("; ")).advise(advice)
}
