//! One supervised connection: any error or silence tears it down, and the next call builds a new one.

use std::{
    pin::pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{FromRedisValue, RedisResult, Script, aio::MultiplexedConnection};
use tokio::{runtime::Handle, sync::Mutex};

use super::{
    RedisConfig, client,
    dial::Line,
    error::{self, Elsewhere},
    info::Info,
    keys::Keys,
    news::News,
    place::{Place, Places, Way},
    scripts,
    sentinel::Guide,
};
use crate::{Error, ErrorKind, Incarnation, Result};

/// How long an answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// How long an answer may take that has come, until it is read.
const UNREAD: Duration = Duration::from_millis(250);

/// How long a connection may take.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// How often a connection that nobody uses is tried.
const PROBE: Duration = Duration::from_secs(10);

/// The format that this version writes. It takes namespaces of those before over: `lua/open.lua`.
const FORMAT: i64 = 3;

/// How long a call waits for a server that reads its data from its disk; what takes longer is said.
const LOADING: Duration = Duration::from_secs(3);

/// How often such a server is asked, and one of a cluster that does not take a call now.
const AGAIN: Duration = Duration::from_millis(100);

/// For how long a call is made again that a cluster's server did not execute, as the slot of the namespace moves; what takes longer is said.
const MOVING: Duration = Duration::from_secs(5);

/// A connection, and how many there were: who saw one fail must not tear down the next.
#[derive(Default)]
struct Numbered {
    number: u64,
    connection: Option<MultiplexedConnection>,
    /// Whether its other end is known to be gone: then no call needs to fail to find out.
    gone: Arc<AtomicBool>,
    way: Way,
}

impl Numbered {
    /// The connection, unless it is known to be gone.
    fn usable(&self) -> Option<MultiplexedConnection> {
        self.connection.clone().filter(|_| !self.gone.load(Ordering::SeqCst))
    }
}

/// Why a call was not answered.
struct Failed {
    error: Error,
    /// Whether it is certain that nothing was done, as another server of the cluster has the namespace, or will have it.
    elsewhere: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, elsewhere: false }
    }
}

/// What all links of a session share: who it is, what it knows of servers, and who waits for news.
pub(super) struct Shared {
    places: Places,
    /// What the server is to call our connections.
    name: String,
    keys: Keys,
    incarnation: Incarnation,
    allow_eviction: bool,
    news: Arc<News>,
}

impl Shared {
    /// Reads the files of the certificates.
    pub(super) fn new(config: &RedisConfig, keys: Keys, incarnation: Incarnation) -> Result<Self> {
        let allow_eviction = config.allows_eviction();
        let news = Arc::default();
        let places = Places::new(config, keys.namespace(), Arc::clone(&news))?;
        Ok(Self { places, name: client::name(incarnation), keys, incarnation, allow_eviction, news })
    }

    pub(super) fn news(&self) -> &News {
        &self.news
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }
}

/// A connection, and all that is done with it.
pub(super) struct Link {
    shared: Arc<Shared>,
    connection: Mutex<Numbered>,
    /// Whether news is to come over it.
    hears_news: bool,
    home: Home,
}

/// Where connections are made and driven.
#[derive(Clone)]
pub(super) struct Home {
    /// The runtime of those who call.
    pub(super) runtime: Handle,
    /// One that lives as long as the session, where that one has ended, or can make no connections.
    pub(super) thread: Handle,
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
        let answer = link.answer(ping.query_async::<String>(&mut connection)).await;
        if !matches!(answer, Some(Ok(_))) {
            link.tear_down(number).await;
        }
    }
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>, home: Home, hears_news: bool) -> Self {
        Self { shared, connection: Mutex::default(), hears_news, home }
    }

    /// Runs a script. What a cluster's server did not execute is run again, where it belongs by then.
    pub(super) async fn run<T: FromRedisValue>(
        self: &Arc<Self>,
        operation: &'static str,
        script: &Script,
        keys: &[String],
        arguments: &[Vec<u8>],
    ) -> Result<T> {
        let began = Instant::now();
        loop {
            match self.run_once(operation, script, keys, arguments).await {
                Err(failed) if failed.elsewhere && began.elapsed() < MOVING => {
                    tokio::time::sleep(AGAIN).await;
                }
                answer => return answer.map_err(|failed| failed.error),
            }
        }
    }

    async fn run_once<T: FromRedisValue>(
        self: &Arc<Self>,
        operation: &'static str,
        script: &Script,
        keys: &[String],
        arguments: &[Vec<u8>],
    ) -> Result<T, Failed> {
        let (number, mut connection) = self.connected(operation).await?;
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        for argument in arguments {
            invocation.arg(argument);
        }
        match self.answer(invocation.invoke_async(&mut connection)).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(e)) if !e.is_timeout() => {
                let (error, elsewhere) = (error::redis(operation, &e), error::elsewhere(&e));
                // A server that answers is there; all else is torn down, whatever its name.
                if error.kind() == ErrorKind::Unavailable && elsewhere != Some(Elsewhere::Later) {
                    self.tear_down(number).await;
                }
                Err(Failed { error, elsewhere: elsewhere.is_some() })
            }
            _ => {
                self.tear_down(number).await;
                Err(error::silent(operation).into())
            }
        }
    }

    /// Asks the server something that is no script. What it refuses leaves the connection as it is.
    pub(super) async fn ask<T: FromRedisValue>(
        self: &Arc<Self>,
        operation: &'static str,
        command: redis::Cmd,
    ) -> Result<T> {
        let (number, mut connection) = self.connected(operation).await?;
        match self.answer(command.query_async(&mut connection)).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(e)) if !e.is_io_error() => Err(error::redis(operation, &e)),
            _ => {
                self.tear_down(number).await;
                Err(error::silent(operation))
            }
        }
    }

    /// The server's connections, a line each. Empty where we may not ask.
    pub(super) async fn clients(self: &Arc<Self>, operation: &'static str) -> Result<String> {
        let (number, mut connection) = self.connected(operation).await?;
        let list = redis::cmd("CLIENT").arg("LIST").clone();
        match self.answer(list.query_async(&mut connection)).await {
            Some(Ok(clients)) => Ok(clients),
            Some(Err(e)) if e.code() == Some("NOPERM") => {
                tracing::debug!(error = %e, "which processes hold tasks cannot be asked");
                Ok(String::new())
            }
            Some(Err(e)) if !e.is_io_error() => Err(error::redis(operation, &e)),
            _ => {
                self.tear_down(number).await;
                Err(error::silent(operation))
            }
        }
    }

    /// Waits for an answer, as long as one may take. Where the runtime of the connection had no time meanwhile, the answer may be there and not be read:
    /// to throw it away would leave what it says undone, and tasks leased to nobody.
    async fn answer<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let mut call = pin!(call);
        if let Ok(answer) = tokio::time::timeout(ANSWER, &mut call).await {
            return Some(answer);
        }
        // An error says that the runtime has ended, and then nobody will read it.
        let _ = self.home.runtime.spawn(std::future::ready(())).await;
        tokio::time::timeout(UNREAD, call).await.ok()
    }

    /// The connection; a new one if there is none.
    pub(super) async fn connected(
        self: &Arc<Self>,
        operation: &'static str,
    ) -> Result<(u64, MultiplexedConnection)> {
        if let Ok(kept) = self.connection.try_lock()
            && let Some(connection) = kept.usable()
        {
            return Ok((kept.number, connection));
        }
        // Whoever makes a connection has the task that drives it on its own runtime, which need not be the caller's.
        let connect = || {
            let this = Arc::clone(self);
            async move { this.connected_here(operation).await }
        };
        if let Ok(connected) = self.home.runtime.spawn(connect()).await {
            return connected;
        }
        tracing::debug!("the runtime of the session's connection has ended, or has no network");
        self.home.thread.spawn(connect()).await.map_err(|e| {
            Error::new(ErrorKind::Internal, operation, "the connection's thread ended").because(e)
        })?
    }

    async fn connected_here(&self, operation: &'static str) -> Result<(u64, MultiplexedConnection)> {
        // Held while connecting, and waited for within the same bound: whoever comes meanwhile gets the same connection, or
        // fails when the attempt has had its time.
        let connected = async {
            let mut kept = self.connection.lock().await;
            if let Some(connection) = kept.usable() {
                return Ok((kept.number, connection));
            }
            // Also where no new one can be made: the next call must not try the old one again.
            kept.connection = None;
            let Place { line: Line { connection, gone, .. }, way } = self.connect(operation).await?;
            (kept.gone, kept.way) = (gone, way);
            kept.number += 1;
            kept.connection = Some(connection.clone());
            // What happened meanwhile was not heard.
            self.shared.news.wake_all();
            Ok((kept.number, connection))
        };
        tokio::time::timeout(CONNECT, connected).await.map_err(|_| error::unconnected(operation))?
    }

    /// Gives the connection of this number up.
    pub(super) async fn tear_down(&self, number: u64) {
        let mut kept = self.connection.lock().await;
        if kept.number == number {
            kept.connection = None;
            self.shared.news.wake_all();
        }
    }

    /// Tears down whatever connection there is.
    pub(super) async fn tear_down_any(&self) {
        let number = self.connection.lock().await.number;
        self.tear_down(number).await;
    }

    async fn connect(&self, operation: &'static str) -> Result<Place> {
        let failed = |e: redis::RedisError| error::connecting(operation, &e);
        let began = Instant::now();
        let (mut place, generation) = loop {
            let mut place = self.shared.places.find(operation).await?;
            check_server(&place.line.info, self.shared.allow_eviction)?;
            match self.open(&mut place.line, began).await {
                Err(e) if error::elsewhere(&e).is_some() && began.elapsed() < LOADING => {
                    tokio::time::sleep(AGAIN).await;
                }
                opened => break (place, opened.map_err(failed)?),
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
        if self.hears_news {
            let Shared { keys, incarnation, news, .. } = &*self.shared;
            place.line.connection.subscribe(keys.channel()).await.map_err(failed)?;
            news.ahead.listens(place.line.number, Instant::now());
            place.line.connection.subscribe(keys.own_channel(*incarnation)).await.map_err(failed)?;
            // In a cluster a script cannot tell whether somebody hears what it publishes.
            if !matches!(place.way, Way::Cluster(_)) {
                news.ahead.hears();
            }
        }
        Ok(place)
    }

    /// Says who we are, and opens the namespace. Returns its generation, or minus the format that is needed.
    async fn open(&self, line: &mut Line, began: Instant) -> RedisResult<i64> {
        let named = redis::cmd("CLIENT").arg("SETNAME").arg(&self.shared.name).clone();
        match named.query_async::<()>(&mut line.connection).await {
            Err(e) if e.code() != Some("NOPERM") => return Err(e),
            // Nobody needs it but people who look for this process.
            _ => {}
        }
        let mut open = scripts::OPEN.prepare_invoke();
        open.key(self.shared.keys.namespace()).arg(line.info.get("run_id")).arg(FORMAT);
        loop {
            match open.invoke_async(&mut line.connection).await {
                Err(e) if error::is_loading(&e) && began.elapsed() < LOADING => {
                    tokio::time::sleep(AGAIN).await;
                }
                opened => return opened,
            }
        }
    }

    /// What it has in common with the session's other links.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Where servers are looked for.
    pub(super) fn places(&self) -> &Places {
        &self.shared.places
    }

    /// The number of the connection, and how its server was found.
    pub(super) async fn way(&self) -> (u64, Way) {
        let kept = self.connection.lock().await;
        (kept.number, kept.way.clone())
    }

    /// Notes that another Sentinel is asked from now on.
    pub(super) async fn guided(&self, number: u64, guide: Guide) {
        let mut kept = self.connection.lock().await;
        if kept.number == number {
            kept.way = Way::Sentinel(guide);
        }
    }
}

/// Refuses a server that throws keys away when its memory is full, as they would be tasks.
fn check_server(info: &Info, allow_eviction: bool) -> Result<()> {
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
