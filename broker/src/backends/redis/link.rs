//! One supervised connection: any error or silence tears it down, and the next call builds a new one.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, FromRedisValue, PushInfo, PushKind, Script, Value,
    aio::MultiplexedConnection,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::Mutex,
};

use super::{RedisConfig, error, info::Info, keys::Keys, news::News, scripts};
use crate::{Error, ErrorKind, Result};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How often a connection that nobody uses is tried.
const PROBE: Duration = Duration::from_secs(10);

/// The format that this version writes. It takes namespaces of those before over: `lua/open.lua`.
const FORMAT: i64 = 3;

/// How long a call waits for a server that reads its data from its disk; what takes longer is said.
const LOADING: Duration = Duration::from_secs(3);

/// How often such a server is asked.
const AGAIN: Duration = Duration::from_millis(100);

/// How long a server gets to say why it lets nobody in.
const GREETING: Duration = Duration::from_millis(500);

/// A connection, and how many there were: who saw one fail must not tear down the next.
#[derive(Default)]
struct Numbered {
    number: u64,
    connection: Option<MultiplexedConnection>,
    /// Whether its other end is known to be gone: then no call needs to fail to find out.
    gone: Arc<AtomicBool>,
}

/// What the calls share.
pub(super) struct Link {
    client: Client,
    /// What the server is to call our connections.
    name: String,
    keys: Keys,
    allow_eviction: bool,
    connection: Mutex<Numbered>,
    news: Arc<News>,
}

/// Tries a connection now and then that may be silent because nobody is at its other end.
pub(super) async fn probe(link: Weak<Link>) {
    loop {
        tokio::time::sleep(PROBE).await;
        let Some(link) = link.upgrade() else { return };
        let (number, Some(mut connection)) = ({
            let kept = link.connection.lock().await;
            (kept.number, kept.connection.clone())
        }) else {
            continue;
        };
        let ping = redis::cmd("PING");
        let answer = tokio::time::timeout(ANSWER, ping.query_async::<String>(&mut connection)).await;
        if !matches!(answer, Ok(Ok(_))) {
            link.tear_down(number).await;
        }
    }
}

impl Link {
    pub(super) fn new(config: RedisConfig, keys: Keys, name: String) -> Result<Self> {
        let allow_eviction = config.allows_eviction();
        let client = config.client()?;
        let news = Arc::default();
        Ok(Self { client, name, keys, allow_eviction, connection: Mutex::default(), news })
    }

    pub(super) fn news(&self) -> &News {
        &self.news
    }

    /// Runs a script.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &Script,
        keys: &[String],
        arguments: &[Vec<u8>],
    ) -> Result<T> {
        let (number, mut connection) = self.connected(operation).await?;
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        for argument in arguments {
            invocation.arg(argument);
        }
        match tokio::time::timeout(ANSWER, invocation.invoke_async(&mut connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            // The client's own time-out is as long, and either may be the first.
            Ok(Err(e)) if !e.is_timeout() => {
                let error = error::redis(operation, &e);
                // A server that answers is there; all else is torn down, whatever its name.
                if error.kind() == ErrorKind::Unavailable {
                    self.tear_down(number).await;
                }
                Err(error)
            }
            _ => {
                self.tear_down(number).await;
                Err(error::silent(operation))
            }
        }
    }

    /// Asks the server something that is no script. What it refuses leaves the connection as it is.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: redis::Cmd,
    ) -> Result<T> {
        let (number, mut connection) = self.connected(operation).await?;
        match tokio::time::timeout(ANSWER, command.query_async(&mut connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(e)) if !e.is_io_error() => Err(error::redis(operation, &e)),
            _ => {
                self.tear_down(number).await;
                Err(error::silent(operation))
            }
        }
    }

    /// The server's connections, a line each. Empty where we may not ask.
    pub(super) async fn clients(&self, operation: &'static str) -> Result<String> {
        let (number, mut connection) = self.connected(operation).await?;
        let list = redis::cmd("CLIENT").arg("LIST").clone();
        match tokio::time::timeout(ANSWER, list.query_async(&mut connection)).await {
            Ok(Ok(clients)) => Ok(clients),
            Ok(Err(e)) if e.code() == Some("NOPERM") => {
                tracing::debug!(error = %e, "which processes hold tasks cannot be asked");
                Ok(String::new())
            }
            Ok(Err(e)) if !e.is_io_error() => Err(error::redis(operation, &e)),
            _ => {
                self.tear_down(number).await;
                Err(error::silent(operation))
            }
        }
    }

    /// The connection; a new one if there is none.
    pub(super) async fn connected(&self, operation: &'static str) -> Result<(u64, MultiplexedConnection)> {
        // Held while connecting, and waited for within the same bound: whoever comes meanwhile gets the same connection, or
        // fails when the attempt has had its time.
        let connected = async {
            let mut kept = self.connection.lock().await;
            if let Some(connection) = kept.connection.as_ref().filter(|_| !kept.gone.load(Ordering::SeqCst)) {
                return Ok((kept.number, connection.clone()));
            }
            // Also where no new one can be made: the next call must not try the old one again.
            kept.connection = None;
            kept.gone = Arc::default();
            let connection = self.connect(operation, Arc::clone(&kept.gone)).await?;
            kept.number += 1;
            kept.connection = Some(connection.clone());
            // What happened meanwhile was not heard.
            self.news.wake_all();
            Ok((kept.number, connection))
        };
        tokio::time::timeout(CONNECT, connected).await.map_err(|_| error::unconnected(operation))?
    }

    async fn tear_down(&self, number: u64) {
        let mut kept = self.connection.lock().await;
        if kept.number == number {
            kept.connection = None;
            self.news.wake_all();
        }
    }

    /// Tears down whatever connection there is.
    pub(super) async fn tear_down_any(&self) {
        let number = self.connection.lock().await.number;
        self.tear_down(number).await;
    }

    async fn connect(&self, operation: &'static str, gone: Arc<AtomicBool>) -> Result<MultiplexedConnection> {
        // Nothing that a server says while the connection is being built is about the call: it is not ready, whatever it says.
        let failed = |e: redis::RedisError| error::connecting(operation, &e);
        let news = Arc::clone(&self.news);
        let heard = move |push: PushInfo| {
            // A lost connection is news too: whoever waits should ask, and so build a new one.
            if push.kind == PushKind::Disconnection {
                gone.store(true, Ordering::SeqCst);
            }
            match (push.kind, push.data.last()) {
                (PushKind::Message, Some(Value::BulkString(message))) => news.heard(message),
                (PushKind::Message | PushKind::Disconnection, _) => news.wake_all(),
                _ => {}
            }
            Ok::<_, std::convert::Infallible>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(heard);
        let dropped = |e: &redis::RedisError| e.is_connection_dropped() && !e.is_connection_refusal();
        let mut connected = self.client.get_multiplexed_async_connection_with_config(&config).await;
        if connected.as_ref().is_err_and(dropped) {
            // It may have been cut by chance.
            connected = self.client.get_multiplexed_async_connection_with_config(&config).await;
        }
        let mut connection = match connected {
            Ok(connection) => connection,
            // It was reset, perhaps before what the server said was read.
            Err(e) if dropped(&e) => {
                let said = greeting(self.client.get_connection_info().addr()).await;
                return Err(said.map_or_else(|| failed(e), |said| error::turned_away(operation, &said)));
            }
            Err(e) => return Err(failed(e)),
        };
        let info: String = redis::cmd("INFO").query_async(&mut connection).await.map_err(failed)?;
        let info = Info::new(info);
        check_server(&info, self.allow_eviction)?;
        let named = redis::cmd("CLIENT").arg("SETNAME").arg(&self.name).clone();
        match named.query_async::<()>(&mut connection).await {
            Err(e) if e.code() != Some("NOPERM") => return Err(failed(e)),
            // Nobody needs it but people who look for this process.
            _ => {}
        }
        let mut open = scripts::OPEN.prepare_invoke();
        open.key(self.keys.namespace()).arg(info.get("run_id")).arg(FORMAT);
        let began = Instant::now();
        let generation: i64 = loop {
            match open.invoke_async(&mut connection).await {
                Err(e) if error::is_loading(&e) && began.elapsed() < LOADING => {
                    tokio::time::sleep(AGAIN).await;
                }
                opened => break opened.map_err(failed)?,
            }
        };
        if generation < 0 {
            let message = format!(
                "the namespace needs a version that knows format {}; this one knows {FORMAT}",
                -generation
            );
            return Err(
                Error::new(ErrorKind::Incompatible, "connect", message).advise("upgrade this program")
            );
        }
        connection.subscribe(self.keys.channel()).await.map_err(failed)?;
        Ok(connection)
    }
}

/// Refuses a server that throws keys away when its memory is full, as they would be tasks, and one that takes no writes.
fn check_server(info: &Info, allow_eviction: bool) -> Result<()> {
    if info.get("role") == "slave" {
        return Err(error::replica("connect"));
    }
    match info.get("maxmemory_policy") {
        "noeviction" | "" => Ok(()),
        _ if allow_eviction => Ok(()),
        policy => {
            let message = format!(
                "redis throws keys away when its memory is full (maxmemory-policy {policy}): they would be tasks"
            );
            Err(Error::new(ErrorKind::Unsupported, "connect", message).advise(
                "redis-cli config set maxmemory-policy noeviction; or, to lose tasks, ?allow_eviction=true",
            ))
        }
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
