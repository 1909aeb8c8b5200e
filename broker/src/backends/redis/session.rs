//! One supervised session: any error or silence tears the connection down, and the next call builds a new one.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, PushInfo, PushKind, Script, aio::MultiplexedConnection,
};
use tokio::sync::{Mutex, watch};

use super::{RedisConfig, client, error, keys::Keys, scripts};
use crate::{
    Capabilities, Error, ErrorKind, Incarnation, Result, backends::thread::SessionThread,
    capabilities::Redelivery,
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How often a connection that nobody uses is tried.
const PROBE: Duration = Duration::from_secs(10);

/// The format that this version writes. It takes namespaces of the one before over: `lua/open.lua`.
const FORMAT: i64 = 2;

/// A session with a namespace of a Redis server.
pub struct RedisBroker {
    pub(super) incarnation: Incarnation,
    pub(super) keys: Keys,
    link: Arc<Link>,
    thread: SessionThread,
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBroker")
            .field("incarnation", &self.incarnation)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// A connection, and how many there were: who saw one fail must not tear down the next.
#[derive(Default)]
struct Numbered {
    number: u64,
    connection: Option<MultiplexedConnection>,
    /// Whether its other end is known to be gone: then no call needs to fail to find out.
    gone: Arc<AtomicBool>,
}

/// What the calls share.
struct Link {
    client: Client,
    /// What the server is to call our connections.
    name: String,
    keys: Keys,
    connection: Mutex<Numbered>,
    /// Counts what may concern somebody who waits.
    changes: watch::Sender<u64>,
}

impl RedisBroker {
    /// What a Redis server has.
    pub const CAPABILITIES: Capabilities =
        Capabilities { redelivery: Redelivery::AfterLease, ..Capabilities::FULL };

    /// Opens a session.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the server cannot be reached, [`ErrorKind::Unsupported`] when it evicts keys,
    /// [`ErrorKind::Incompatible`] when a newer version wrote the namespace.
    ///
    /// # Cancel safety
    /// Cancel safe: a session that nobody gets is closed.
    pub async fn open(config: RedisConfig) -> Result<Self> {
        let keys = Keys::new(&config.namespace);
        let client = Client::open(config.server).map_err(|e| error::redis("connect", &e))?;
        let thread = SessionThread::start("mh-redis")?;
        let incarnation = Incarnation::generate();
        let link = Arc::new(Link {
            client,
            name: client::name(incarnation),
            keys: keys.clone(),
            connection: Mutex::new(Numbered::default()),
            changes: watch::Sender::new(0),
        });
        let this = Self { incarnation, keys, link, thread };
        let link = Arc::clone(&this.link);
        this.thread.run("connect", async move { link.connected("connect").await.map(drop) }).await?;
        this.thread.spawn(probe(Arc::downgrade(&this.link)));
        Ok(this)
    }

    /// Runs a script with these keys and arguments.
    pub(super) async fn call<T: FromRedisValue + Send + 'static>(
        &self,
        operation: &'static str,
        script: &'static Script,
        keys: Vec<String>,
        arguments: Vec<Vec<u8>>,
    ) -> Result<T> {
        let link = Arc::clone(&self.link);
        self.thread.run(operation, async move { link.run(operation, script, &keys, &arguments).await }).await
    }

    /// The server's connections, a line each. Empty where we may not ask.
    pub(super) async fn clients(&self) -> Result<String> {
        let link = Arc::clone(&self.link);
        self.thread.run("holders", async move { link.clients("holders").await }).await
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.link.changes.subscribe()
    }
}

/// Tries a connection now and then that may be silent because nobody is at its other end.
async fn probe(link: std::sync::Weak<Link>) {
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
    async fn run<T: FromRedisValue>(
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
        let answer = tokio::time::timeout(ANSWER, invocation.invoke_async(&mut connection)).await;
        self.heard(operation, number, answer).await
    }

    async fn clients(&self, operation: &'static str) -> Result<String> {
        let (number, mut connection) = self.connected(operation).await?;
        let list = redis::cmd("CLIENT").arg("LIST").clone();
        match tokio::time::timeout(ANSWER, list.query_async(&mut connection)).await {
            Ok(Err(e)) if e.code() == Some("NOPERM") => {
                tracing::debug!(error = %e, "which processes hold tasks cannot be asked");
                Ok(String::new())
            }
            answer => self.heard(operation, number, answer).await,
        }
    }

    /// Takes an answer, or its absence, and tears the connection down where it is of no more use.
    async fn heard<T>(
        &self,
        operation: &'static str,
        number: u64,
        answer: std::result::Result<redis::RedisResult<T>, tokio::time::error::Elapsed>,
    ) -> Result<T> {
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(e)) => {
                let error = error::redis(operation, &e);
                // A server that answers is there; all else is torn down, whatever its name.
                if error.kind() == ErrorKind::Unavailable {
                    self.tear_down(number).await;
                }
                Err(error)
            }
            Err(_) => {
                self.tear_down(number).await;
                Err(error::silent(operation))
            }
        }
    }

    /// The connection; a new one if there is none.
    async fn connected(&self, operation: &'static str) -> Result<(u64, MultiplexedConnection)> {
        // Held while connecting, and waited for within the same bound: whoever comes meanwhile gets the same connection, or
        // fails when the attempt has had its time.
        let connected = async {
            let mut kept = self.connection.lock().await;
            if let Some(connection) = kept.connection.as_ref().filter(|_| !kept.gone.load(Ordering::SeqCst)) {
                return Ok((kept.number, connection.clone()));
            }
            kept.gone = Arc::default();
            let connection = self.connect(operation, Arc::clone(&kept.gone)).await?;
            kept.number += 1;
            kept.connection = Some(connection.clone());
            // What happened meanwhile was not heard.
            self.changes.send_modify(|changes| *changes += 1);
            Ok((kept.number, connection))
        };
        tokio::time::timeout(CONNECT, connected).await.map_err(|_| error::silent(operation))?
    }

    async fn tear_down(&self, number: u64) {
        let mut kept = self.connection.lock().await;
        if kept.number == number {
            kept.connection = None;
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    async fn connect(&self, operation: &'static str, gone: Arc<AtomicBool>) -> Result<MultiplexedConnection> {
        // Nothing that a server says while the connection is being built is about the call: it is not ready, whatever it says.
        let failed = |e: redis::RedisError| error::connecting(operation, &e);
        let changes = self.changes.clone();
        let heard = move |push: PushInfo| {
            // A lost connection is news too: whoever waits should ask, and so build a new one.
            if push.kind == PushKind::Disconnection {
                gone.store(true, Ordering::SeqCst);
            }
            if matches!(push.kind, PushKind::Message | PushKind::Disconnection) {
                changes.send_modify(|changes| *changes += 1);
            }
            Ok::<_, std::convert::Infallible>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(heard);
        let mut connection =
            self.client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
        refuse_eviction(&mut connection).await?;
        let named = redis::cmd("CLIENT").arg("SETNAME").arg(&self.name).clone();
        match named.query_async::<()>(&mut connection).await {
            Err(e) if e.code() != Some("NOPERM") => return Err(failed(e)),
            // Nobody needs it but people who look for this process.
            _ => {}
        }
        let info: String =
            redis::cmd("INFO").arg("server").query_async(&mut connection).await.map_err(failed)?;
        let server =
            info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().trim().to_owned();
        let mut open = scripts::OPEN.prepare_invoke();
        open.key(self.keys.namespace()).arg(server).arg(FORMAT);
        let generation: i64 = open.invoke_async(&mut connection).await.map_err(failed)?;
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

/// Refuses a server that throws keys away when its memory is full: they would be tasks.
async fn refuse_eviction(connection: &mut MultiplexedConnection) -> Result<()> {
    let policy = redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy").clone();
    let policy: redis::RedisResult<std::collections::HashMap<String, String>> =
        policy.query_async(connection).await;
    match policy {
        Ok(policy) => match policy.get("maxmemory-policy").map(String::as_str) {
            Some("noeviction") | None => Ok(()),
            Some(policy) => {
                let message = format!(
                    "redis throws keys away when its memory is full (maxmemory-policy {policy}): they would be tasks"
                );
                Err(Error::new(ErrorKind::Unsupported, "connect", message)
                    .advise("redis-cli config set maxmemory-policy noeviction"))
            }
        },
        Err(e) if e.is_io_error() || e.is_timeout() => Err(error::redis("connect", &e)),
        Err(e) => {
            tracing::warn!(error = %e, "whether redis throws keys away cannot be asked");
            Ok(())
        }
    }
}
