//! A session: who it is, and the thread on which its calls are made.

use std::{fmt, sync::Arc};

use redis::{FromRedisValue, Script};

use super::{
    RedisConfig, client,
    keys::Keys,
    link::{Link, probe},
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
        let link = Arc::new(Link::new(&config, keys.clone(), client::name(incarnation))?);
        let thread = SessionThread::start("mh-redis")?;
        let this = Self { incarnation, keys, config, link, thread };
        let link = Arc::clone(&this.link);
        this.thread.run("connect", async move { link.connected("connect").await.map(drop) }).await?;
        this.thread.spawn(probe(Arc::downgrade(&this.link)));
        this.thread.spawn(follow(Arc::downgrade(&this.link)));
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

    /// Asks the server something that is no script.
    pub(super) async fn ask<T: FromRedisValue + Send + 'static>(
        &self,
        operation: &'static str,
        command: redis::Cmd,
    ) -> Result<T> {
        let link = Arc::clone(&self.link);
        self.thread.run(operation, async move { link.ask(operation, command).await }).await
    }

    /// How the server was found.
    pub(super) async fn way(&self) -> Way {
        self.link.way().await.1
    }

    /// Gives the connection up.
    pub(super) async fn tear_down(&self) {
        self.link.tear_down_any().await;
    }

    pub(super) fn news(&self) -> &News {
        self.link.news()
    }
}
