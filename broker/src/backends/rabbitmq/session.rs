//! One supervised session: any error or silence ends its connections, and the next call builds new ones.
//!
//! The connections live on a thread of their own. Calls come from any runtime, beats from the worker's own thread among
//! them, and none of them depends on another runtime being free.

use std::{fmt, sync::Arc};

use tokio::sync::oneshot;

use super::{RabbitMqConfig, link::Link};
use crate::{Error, ErrorKind, Incarnation, QueueName, Result, Waiter};

/// A session with a namespace of a RabbitMQ server.
pub struct RabbitMqBroker {
    pub(super) incarnation: Incarnation,
    link: Arc<Link>,
    runtime: tokio::runtime::Handle,
    /// Dropping it ends the thread, and with it the connections.
    _stop: oneshot::Sender<()>,
}

impl fmt::Debug for RabbitMqBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMqBroker").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

impl RabbitMqBroker {
    /// Opens a session.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the server cannot be reached, [`ErrorKind::Incompatible`] when a newer version wrote
    /// the namespace, [`ErrorKind::Corrupt`] when what has its names is not ours.
    ///
    /// # Cancel safety
    /// Cancel safe: a session that nobody gets is closed.
    pub async fn open(config: RabbitMqConfig) -> Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = start_thread(stopped).map_err(|e| {
            Error::new(ErrorKind::Unavailable, "connect", "no thread can be started for the connections")
                .because(e)
        })?;
        let incarnation = Incarnation::generate();
        let this = Self { incarnation, link: Arc::new(Link::new(config, incarnation)), runtime, _stop: stop };
        this.on_thread("connect", |link| async move { link.live("connect").await.map(drop) }).await?;
        this.runtime.spawn(super::link::keep(Arc::downgrade(&this.link)));
        Ok(this)
    }

    /// Runs a call on the connections' thread.
    pub(super) async fn on_thread<T, F>(
        &self,
        operation: &'static str,
        work: impl FnOnce(Arc<Link>) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.runtime.spawn(work(Arc::clone(&self.link))).await.map_err(|e| {
            Error::new(ErrorKind::Internal, operation, "the connections' thread ended").because(e)
        })?
    }

    /// Registers interest in queues: while it lasts, their tasks are sent to this session as fast as they come.
    pub(super) fn interest(&self, queues: &[QueueName]) -> Waiter {
        let interest = self.link.interests.register(queues);
        // Subscribed now, not when the future is first polled: changes from here on count.
        let mut changes = self.link.changes.subscribe();
        Box::pin(async move {
            // An error means that the session is gone, which is worth waking up for too.
            let _ = changes.changed().await;
            drop(interest);
        })
    }
}

/// Starts the thread that drives the connections until `stopped`.
fn start_thread(stopped: oneshot::Receiver<()>) -> std::io::Result<tokio::runtime::Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let run = move || {
        // Dropping the other end is the order to stop, so the error is what is waited for.
        let _ = runtime.block_on(stopped);
    };
    std::thread::Builder::new().name("mh-rabbitmq".to_owned()).spawn(run)?;
    Ok(handle)
}
