//! Which server has the namespace: the one that the URL names, the master that Sentinels know, or one of a Cluster.
//!
//! The URL does not say which of these it is. Each server says of itself what it is, and who else has the namespace.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::ConnectionAddr;

use super::{
    RedisConfig,
    cluster::Slot,
    dial::{Dialer, Line},
    error,
    link::CONNECT,
    news::News,
    sentinel::Guide,
};
use crate::{Error, Result};

/// How many servers are asked of those that only a cluster named: the ones of the URL may all be gone.
const MEMBERS: usize = 4;

/// How often a server is asked again that named one which is not, or not yet, what was asked for; and how soon.
pub(super) const TRIES: usize = 3;
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// How the server was found.
#[derive(Clone, Default)]
pub(super) enum Way {
    /// The URL names it.
    #[default]
    Named,
    /// A Sentinel said that it is the master.
    Sentinel(Guide),
    /// It has the namespace's slot of a cluster.
    Cluster(Slot),
}

/// A server that has the namespace, and how it was found.
pub(super) struct Place {
    pub(super) line: Line,
    pub(super) way: Way,
}

/// Where to look for the server.
pub(super) struct Places {
    pub(super) dialer: Dialer,
    /// Those of the URL.
    servers: Vec<ConnectionAddr>,
    pub(super) database: i64,
    /// The name of the master for which Sentinels are asked: said, or the only one when they were asked first.
    pub(super) master: OnceLock<String>,
    /// Whether only Sentinels are expected where the URL leads, by what else it says.
    sentinels: bool,
    /// The namespace's key: its slot is that of all others.
    pub(super) namespace: String,
    /// The newest configuration of which a Sentinel told.
    pub(super) configuration: AtomicU64,
    /// Who is asked first: whoever knew it last, or the one after those that did not.
    first: AtomicUsize,
    /// The servers of a cluster, as one of them named them last.
    members: Mutex<Vec<ConnectionAddr>>,
}

/// Why a server of the URL did not lead to the one that has the namespace.
struct Failure {
    server: String,
    error: Error,
    /// Whether it said something, and this is about that.
    told: bool,
}

impl Places {
    /// Reads the files of the certificates.
    pub(super) fn new(config: &RedisConfig, namespace: String, news: Arc<News>) -> Result<Self> {
        Ok(Self {
            dialer: Dialer::new(config, news)?,
            servers: config.servers.clone(),
            database: config.database,
            master: config.master().map(str::to_owned).map_or_else(OnceLock::new, OnceLock::from),
            sentinels: config.master().is_some() || config.sentinels().is_some(),
            namespace,
            configuration: AtomicU64::new(0),
            first: AtomicUsize::new(0),
            members: Mutex::default(),
        })
    }

    /// Looks for the server: asks those that are known in turn, within the time that a connection may take.
    pub(super) async fn find(&self, operation: &'static str) -> Result<Place> {
        let candidates = self.candidates();
        let each = patience(candidates.len());
        let mut failures = Vec::new();
        for server in candidates {
            let found = tokio::time::timeout(each, self.through(operation, &server, each)).await;
            let silent =
                || Failure { server: server.to_string(), error: error::unconnected(operation), told: false };
            match found.unwrap_or_else(|_| Err(silent())) {
                Ok(place) => return Ok(place),
                Err(failure) => {
                    failures.push(failure);
                    // The next attempt may have no time left for those that come last here.
                    self.next();
                }
            }
        }
        Err(all_failed(operation, failures))
    }

    /// A connection to a Sentinel, of those that are known.
    pub(super) async fn sentinel(&self, operation: &'static str) -> Option<Line> {
        let candidates = self.candidates();
        let each = patience(candidates.len());
        for server in candidates {
            let dialled = tokio::time::timeout(each, self.dialer.dial_named(operation, &server)).await;
            match dialled {
                Ok(Ok(line)) if line.info.is_sentinel() => return Some(line),
                _ => self.next(),
            }
        }
        None
    }

    /// Begins with another one the next time.
    pub(super) fn next(&self) {
        self.first.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes which servers a cluster has.
    pub(super) fn learn(&self, members: Vec<ConnectionAddr>) {
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = members;
    }

    /// The servers to be asked, in order: those of the URL, and then some that a cluster named.
    fn candidates(&self) -> Vec<ConnectionAddr> {
        let mut servers = self.servers.clone();
        let first = self.first.load(Ordering::Relaxed) % servers.len();
        servers.rotate_left(first);
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let others: Vec<_> = members.iter().filter(|member| !servers.contains(member)).cloned().collect();
        servers.extend(others.into_iter().take(MEMBERS));
        servers
    }

    /// Looks for the server by asking this one, which may be the server itself.
    async fn through(
        &self,
        operation: &'static str,
        server: &ConnectionAddr,
        patience: Duration,
    ) -> Result<Place, Failure> {
        let failure = |told| move |error| Failure { server: server.to_string(), error, told };
        let line = self.dialer.dial_named(operation, server).await.map_err(failure(false))?;
        // Whom it names may be silent, and that is to be told within the same time.
        let patience = patience * 3 / 4;
        let found = if line.info.is_sentinel() {
            self.by_sentinel(operation, line, patience).await
        } else if self.sentinels {
            Err(error::no_sentinel(operation, server))
        } else if line.info.is_of_cluster() {
            self.by_cluster(operation, line, patience).await
        } else {
            let line = self.primary(operation, line).await;
            line.map(|line| Place { line, way: Way::Named })
        };
        found.map_err(failure(true))
    }

    /// Connects to a server that another one named.
    pub(super) async fn reach(
        &self,
        operation: &'static str,
        server: &ConnectionAddr,
        patience: Duration,
    ) -> Result<Line> {
        let dialled = tokio::time::timeout(patience, self.dialer.dial(operation, server)).await;
        dialled.unwrap_or_else(|_| Err(error::unconnected(operation)))
    }

    /// The same server, if it takes writes, with the database that is meant.
    pub(super) async fn primary(&self, operation: &'static str, mut line: Line) -> Result<Line> {
        if line.info.is_replica() {
            return Err(error::replica(operation));
        }
        if self.database != 0 {
            let select = redis::cmd("SELECT").arg(self.database).clone();
            let selected = select.query_async::<()>(&mut line.connection).await;
            selected.map_err(|e| error::connecting(operation, &e))?;
        }
        Ok(line)
    }
}

/// How long one of these many servers may take, so that all have their turn within the time that a connection may take.
fn patience(servers: usize) -> Duration {
    CONNECT * 9 / 10 / u32::try_from(servers).unwrap_or(u32::MAX)
}

/// What to say when none of several servers led to the one: what one said that could be reached, before all else.
fn all_failed(operation: &'static str, mut failures: Vec<Failure>) -> Error {
    let telling = failures.iter().position(|failure| failure.told).unwrap_or(0);
    if failures.is_empty() {
        return error::unconnected(operation);
    }
    let Failure { error, .. } = failures.remove(telling);
    if failures.is_empty() {
        return error;
    }
    let source = std::error::Error::source(&error).map(ToString::to_string);
    let others = failures.iter().map(|Failure { server, error, .. }| format!("{server}: {}", error.report()));
    let said: Vec<_> = source.into_iter().chain(others).collect();
    let advice = error.advice().unwrap_or_default().to_owned();
    Error::new(error.kind(), operation, error.to_string()).because(said.join("; ")).advise(advice)
}
