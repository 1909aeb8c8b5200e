//! A session: who it is, and over which connection its calls are made.

use std::{fmt, sync::Arc};

use redis::{FromRedisValue, Script};
use tokio::runtime::{self, Handle, RuntimeFlavor};

use super::{
    RedisConfig,
    give_back::give_back_what_lies,
    keys::Keys,
    link::{Home, Link, Shared, probe},
    news::News,
    place::Way,
    sentinel::follow,
};
use crate::{Capabilities, Incarnation, Result, backends::thread::SessionThread, capabilities::Redelivery};

/// A session with a namespace of a Redis server.
pub struct RedisBroker {
    pub(super) incarnation: Incarnation,
    pub(super) keys: Keys,
    pub(super) config: RedisConfig,
    shared: Arc<Shared>,
    /// Over which news comes.
    link: Arc<Link>,
    beside: Option<Beside>,
    thread: SessionThread,
}

/// Where the session's connection is driven by the runtime that opened it, so that a call from there wakes no other thread: the one for calls from
/// elsewhere, as beats, which are not to depend on that runtime being free.
struct Beside {
    home: runtime::Id,
    link: Arc<Link>,
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBroker")
            .field("incarnation", &self.incarnation)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl RedisBroker {
    /// What a Redis server has.
    pub const CAPABILITIES: Capabilities =
        Capabilities { redelivery: Redelivery::AfterLease, ..Capabilities::FULL };

    /// Opens a session.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the server cannot be reached, lets nobody in, is a replica or reads its
    /// data; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when it evicts keys and that was not allowed;
    /// [`ErrorKind::Incompatible`](crate::ErrorKind::Incompatible) when a newer version wrote the namespace;
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when a certificate, a key or the number of the database cannot be used.
    ///
    /// # Cancel safety
    /// Cancel safe: a session that nobody gets is closed.
    pub async fn open(config: RedisConfig) -> Result<Self> {
        let keys = Keys::new(&config.namespace);
        let incarnation = Incarnation::generate();
        let thread = SessionThread::start("mh-redis")?;
        let shared = Arc::new(Shared::new(&config, keys.clone(), incarnation)?);
        let link = |runtime: &Handle, hears_news| {
            let home = Home { runtime: runtime.clone(), thread: thread.runtime().clone() };
            Arc::new(Link::new(Arc::clone(&shared), home, hears_news))
        };
        let caller = Handle::current();
        let (link, beside) = match caller.runtime_flavor() {
            // It only does something while somebody waits for it.
            RuntimeFlavor::CurrentThread => (link(thread.runtime(), true), None),
            _ => {
                let beside = Beside { home: caller.id(), link: link(thread.runtime(), false) };
                (link(&caller, true), Some(beside))
            }
        };
        link.connected("connect").await?;
        for link in std::iter::once(&link).chain(beside.as_ref().map(|beside| &beside.link)) {
            thread.spawn(probe(Arc::downgrade(link)));
            thread.spawn(follow(Arc::downgrade(link)));
        }
        let calls = beside.as_ref().map_or(&link, |beside| &beside.link);
        thread.spawn(give_back_what_lies(Arc::downgrade(calls)));
        Ok(Self { incarnation, keys, config, shared, link, beside, thread })
    }

    /// Makes a call over the connection that is nearest: from the runtime that drives one over that, else over the one of the session's thread.
    async fn over<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        operation: &'static str,
        call: impl FnOnce(Arc<Link>) -> F,
    ) -> Result<T> {
        match &self.beside {
            Some(Beside { home, .. }) if Handle::try_current().is_ok_and(|here| here.id() == *home) => {
                call(Arc::clone(&self.link)).await
            }
            Some(Beside { link, .. }) => self.thread.run(operation, call(Arc::clone(link))).await,
            None => self.thread.run(operation, call(Arc::clone(&self.link))).await,
        }
    }

    /// Runs a script with these keys and arguments.
    pub(super) async fn call<T: FromRedisValue + Send + 'static>(
        &self,
        operation: &'static str,
        script: &'static Script,
        keys: Vec<String>,
        arguments: Vec<Vec<u8>>,
    ) -> Result<T> {
        let call = |link: Arc<Link>| async move { link.run(operation, script, &keys, &arguments).await };
        self.over(operation, call).await
    }

    /// The server's connections, a line each. Empty where we may not ask.
    pub(super) async fn clients(&self) -> Result<String> {
        self.over("holders", |link| async move { link.clients("holders").await }).await
    }

    /// Asks the server something that is no script.
    pub(super) async fn ask<T: FromRedisValue + Send + 'static>(
        &self,
        operation: &'static str,
        command: redis::Cmd,
    ) -> Result<T> {
        self.over(operation, |link| async move { link.ask(operation, command).await }).await
    }

    /// How the server was found.
    pub(super) async fn way(&self) -> Way {
        self.link.way().await.1
    }

    /// The connection over which news comes.
    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Gives the connections up.
    pub(super) async fn tear_down(&self) {
        self.link.tear_down_any().await;
        if let Some(Beside { link, .. }) = &self.beside {
            link.tear_down_any().await;
        }
    }

    pub(super) fn news(&self) -> &News {
        self.shared.news()
    }
}
