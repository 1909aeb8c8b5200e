//! Connections to one of the servers of the URL.

use std::{
    io,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{AsyncRead, AsyncWrite};
use lapin::{
    Connection, ConnectionProperties,
    tcp::{AMQPUriTcpExt, AsyncTcpStream},
    uri::{AMQPScheme, AMQPUri},
};

use super::{
    RabbitMqConfig, error,
    greeting::{self, Version},
    link::CONNECT,
    tls::Tls,
};
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
        let patience = self.patience();
        let both = async {
            let dial = || self.dial_once(server, name, patience);
            // Both to their end, though one failure is enough: each is on a thread of the client's that uses this runtime, and panics
            // where that is gone, as it is soon after an error.
            tokio::join!(dial(), dial())
        };
        match tokio::time::timeout(patience, both).await {
            Ok((Ok(publishes), Ok(consumes))) => Ok((publishes, consumes)),
            Ok((Err(e), _) | (_, Err(e))) => Err(error::connecting(operation, server, &e)),
            Err(_) => Err(error::unconnected(operation, server)),
        }
    }

    /// Makes one connection, for somebody who only looks, to the first server that can be used.
    pub(super) async fn dial_to_look(&self, operation: &'static str, name: &str) -> Result<Connection> {
        let mut failures = Vec::new();
        for server in self.turn() {
            let patience = self.patience();
            match tokio::time::timeout(patience, self.dial_once(server, name, patience)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(e)) => failures.push(error::connecting(operation, server, &e)),
                Err(_) => failures.push(error::unconnected(operation, server)),
            }
        }
        Err(all_failed(operation, failures))
    }

    /// Asks the first server that answers for its version.
    ///
    /// # Errors
    /// What the last one said, or did not.
    pub(super) async fn version(&self) -> io::Result<Version> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for server in self.turn() {
            let runtime = lapin::runtime::default_runtime().map_err(io::Error::other)?;
            let greeted = async {
                let stream = plain(server).connect_async(&runtime).await?;
                greeting::version(encrypted(stream, server, self.tls.as_ref()).await?).await
            };
            let late = || io::Error::from(io::ErrorKind::TimedOut);
            match tokio::time::timeout(self.patience(), greeted).await.unwrap_or_else(|_| Err(late())) {
                Ok(version) => return Ok(version),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// How long one server may take, so that there is time for all of them.
    fn patience(&self) -> Duration {
        CONNECT * 9 / 10 / u32::try_from(self.servers.len()).unwrap_or(u32::MAX)
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
                    let stream = plain(&server).connect_async(&runtime).await?;
                    if let AsyncTcpStream::Plain(stream) = &stream {
                        let _ = socket.set(stream.get_ref().as_fd().try_clone_to_owned()?.into());
                    }
                    encrypted(stream, &server, tls.as_ref()).await
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

/// A server without encryption, which is added when there is a stream to it.
fn plain(server: &AMQPUri) -> AMQPUri {
    AMQPUri { scheme: AMQPScheme::AMQP, ..server.clone() }
}

/// The same stream to a server, encrypted where that is wanted.
async fn encrypted<S: AsyncRead + AsyncWrite + Send + Unpin>(
    stream: AsyncTcpStream<S>,
    server: &AMQPUri,
    tls: Option<&Tls>,
) -> io::Result<AsyncTcpStream<S>> {
    #[cfg(feature = "tls")]
    if let Some(tls) = tls {
        return stream.into_rustls(&tls.connector, &server.authority.host).await;
    }
    // Without the feature, there is no such configuration.
    debug_assert!(tls.is_none(), "{}", server.authority.host);
    Ok(stream)
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
