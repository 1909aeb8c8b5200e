//! One connection to one server, whatever it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ProtocolVersion, PushInfo, PushKind,
    RedisConnectionInfo, RedisError, Value, aio::MultiplexedConnection,
};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{RedisConfig, error, info::Info, link::CONNECT, news::News};
use crate::Result;

/// How long a server gets to say why it lets nobody in.
const GREETING: Duration = Duration::from_millis(500);

/// A connection to a server, and what the server said of itself when it was made.
#[derive(Clone)]
pub(super) struct Line {
    /// No other one of the session has it.
    pub(super) number: u64,
    pub(super) connection: MultiplexedConnection,
    /// Whether its other end is known to be gone: then no call needs to fail to find out.
    pub(super) gone: Arc<AtomicBool>,
    pub(super) info: Info,
    pub(super) server: ConnectionAddr,
}

/// What makes connections.
pub(super) struct Dialer {
    /// How servers are reached, and who we are to them. The address is replaced.
    reach: ConnectionInfo,
    /// Who we are to Sentinels, where that is said: then only they are expected where the URL leads.
    sentinels: Option<RedisConnectionInfo>,
    /// Those who wait for what comes over a connection.
    news: Arc<News>,
    /// How many connections were begun.
    dialled: AtomicU64,
}

impl Dialer {
    /// Reads the files of the certificates.
    pub(super) fn new(config: &RedisConfig, news: Arc<News>) -> Result<Self> {
        Ok(Self {
            reach: config.reach()?,
            sentinels: config.sentinels().cloned(),
            news,
            dialled: AtomicU64::new(0),
        })
    }

    /// The address of a server that another one told, to be reached as that one is.
    pub(super) fn address(&self, told_host: &str, told_port: u16) -> ConnectionAddr {
        match self.reach.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host: told_host.to_owned(),
                port: told_port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(told_host.to_owned(), told_port),
        }
    }

    /// Connects to a server of the URL, of which nothing is known yet.
    pub(super) async fn dial_named(&self, operation: &'static str, server: &ConnectionAddr) -> Result<Line> {
        // Those of the URL were read before their certificates were.
        let server = match server {
            ConnectionAddr::TcpTls { host, port, .. } => self.address(host, *port),
            other => other.clone(),
        };
        if let Some(sentinels) = &self.sentinels {
            return Ok(self.dial_as(operation, &server, sentinels.clone()).await?);
        }
        let us = self.reach.redis_settings();
        match self.dial_as(operation, &server, us.clone()).await {
            // Sentinels have users and passwords of their own, and mostly none.
            Err(refused) if refused.of_us && us.password().is_some() => {
                let nobody = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
                let without = self.dial_as(operation, &server, nobody).await;
                without.ok().filter(|line| line.info.is_sentinel()).ok_or(refused.error)
            }
            dialled => Ok(dialled?),
        }
    }

    /// Connects to a server that another one told.
    pub(super) async fn dial(&self, operation: &'static str, server: &ConnectionAddr) -> Result<Line> {
        Ok(self.dial_as(operation, server, self.reach.redis_settings().clone()).await?)
    }

    async fn dial_as(
        &self,
        operation: &'static str,
        server: &ConnectionAddr,
        who: RedisConnectionInfo,
    ) -> Result<Line, Refused> {
        // Nothing that a server says while the connection is being built is about the call: it is not ready, whatever it says.
        let failed = |e: RedisError| Refused {
            of_us: matches!(e.kind(), redis::ErrorKind::AuthenticationFailed)
                || matches!(e.code(), Some("WRONGPASS" | "NOAUTH"))
                || e.detail().is_some_and(|detail| detail.contains("without any password")),
            error: error::connecting(operation, &e),
        };
        let gone = Arc::new(AtomicBool::new(false));
        let number = self.dialled.fetch_add(1, Ordering::Relaxed) + 1;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            // Who asks knows better how long to wait.
            .set_response_timeout(None)
            .set_push_sender(self.hearing(number, Arc::clone(&gone)));
        let client = Client::open(self.reach.clone().set_addr(server.clone()).set_redis_settings(who));
        let client = client.map_err(failed)?;
        let dropped = |e: &RedisError| e.is_connection_dropped() && !e.is_connection_refusal();
        let mut connected = client.get_multiplexed_async_connection_with_config(&config).await;
        if connected.as_ref().is_err_and(dropped) {
            // It may have been cut by chance.
            connected = client.get_multiplexed_async_connection_with_config(&config).await;
        }
        let mut connection = match connected {
            Ok(connection) => connection,
            // It was reset, perhaps before what the server said was read.
            Err(e) if dropped(&e) => {
                let said = greeting(server).await;
                return Err(
                    said.map_or_else(|| failed(e), |said| error::turned_away(operation, &said).into())
                );
            }
            Err(e) => return Err(failed(e)),
        };
        let info: String = redis::cmd("INFO").query_async(&mut connection).await.map_err(failed)?;
        Ok(Line { number, connection, gone, info: Info::new(info), server: server.clone() })
    }

    /// What is done with news that comes over a connection, and with the news of its end.
    fn hearing(
        &self,
        number: u64,
        gone: Arc<AtomicBool>,
    ) -> impl Fn(PushInfo) -> Result<(), std::convert::Infallible> + Send + Sync + 'static {
        let news = Arc::clone(&self.news);
        move |push: PushInfo| {
            // A lost connection is news too: whoever waits should ask, and so build a new one.
            if push.kind == PushKind::Disconnection {
                gone.store(true, Ordering::SeqCst);
            }
            match (push.kind, push.data.last()) {
                (PushKind::Message, Some(Value::BulkString(message))) => news.heard(number, message),
                (PushKind::Message | PushKind::Disconnection, _) => news.wake_all(),
                _ => {}
            }
            Ok(())
        }
    }
}

/// Why there is no connection.
struct Refused {
    error: crate::Error,
    /// Whether it is because of who we are, or said to be.
    of_us: bool,
}

impl From<crate::Error> for Refused {
    fn from(error: crate::Error) -> Self {
        Self { error, of_us: false }
    }
}

impl From<Refused> for crate::Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// What a server says to somebody who says nothing, if anything: why it lets nobody in.
async fn greeting(address: &ConnectionAddr) -> Option<String> {
    let said = async {
        match address {
            ConnectionAddr::Tcp(host, port) => {
                first_line(tokio::net::TcpStream::connect((host.as_str(), *port)).await.ok()?).await
            }
            ConnectionAddr::Unix(path) => first_line(tokio::net::UnixStream::connect(path).await.ok()?).await,
            _ => None,
        }
    };
    tokio::time::timeout(GREETING, said).await.ok().flatten()
}

async fn first_line(mut stream: impl AsyncRead + Unpin) -> Option<String> {
    let mut bytes = [0; 512];
    let read = stream.read(&mut bytes).await.ok()?;
    let said = String::from_utf8_lossy(&bytes[..read]);
    said.lines().next().filter(|line| line.starts_with('-')).map(str::to_owned)
}
