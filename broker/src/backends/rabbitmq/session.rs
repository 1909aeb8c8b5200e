//! One supervised session: any error or silence ends its connections, and the next call builds new ones.

use std::{fmt, sync::Arc};

use super::{RabbitMqConfig, link::Link};
use crate::{
    Capabilities, Incarnation, Interest, QueueName, Result, Waiter,
    backends::thread::SessionThread,
    capabilities::{
        Arrivals, Capacity, Children, Control, Crashes, Delay, Fences, Ids, Join, Operators, Orders,
        Redelivery, Results, Returns,
    },
};

/// A session with a namespace of a RabbitMQ server.
pub struct RabbitMqBroker {
    pub(super) incarnation: Incarnation,
    pub(super) link: Arc<Link>,
    thread: SessionThread,
}

impl fmt::Debug for RabbitMqBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMqBroker").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

impl RabbitMqBroker {
    /// What a RabbitMQ server has by itself, without anything that could look a task up.
    pub const CAPABILITIES: Capabilities = Capabilities {
        delay: Delay::Ladder,
        orders: Orders::Classes,
        control: Control::None,
        results: Results::ToSender,
        operators: Operators::DeadOneByOne,
        arrivals: Arrivals::NotCounted,
        returns: Returns::AsTheyCome,
        capacity: Capacity::ReadyOnly,
        join: Join::Asked,
        ids: Ids::Unknown,
        children: Children::AfterConfirm,
        fences: Fences::Advisory,
        crashes: Crashes::PerDelivery,
        redelivery: Redelivery::OnDisconnect,
    };

    /// Opens a session.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the server cannot be reached, [`ErrorKind::Incompatible`](crate::ErrorKind::Incompatible) when a newer version wrote
    /// the namespace, [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when what has its names is not ours.
    ///
    /// # Cancel safety
    /// Cancel safe: a session that nobody gets is closed.
    pub async fn open(config: RabbitMqConfig) -> Result<Self> {
        let this = Self::unconnected(config)?;
        this.on_thread("connect", |link| async move { link.live("connect").await.map(drop) }).await?;
        this.thread.spawn(super::link::keep(Arc::downgrade(&this.link)));
        Ok(this)
    }

    /// A session that connects when it is first called: for whoever wants to examine a server.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the system gives no thread.
    pub fn unconnected(config: RabbitMqConfig) -> Result<Self> {
        let incarnation = Incarnation::generate();
        let link = Arc::new(Link::new(config, incarnation)?);
        Ok(Self { incarnation, link, thread: SessionThread::start("mh-rabbitmq")? })
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
        self.thread.run(operation, work(Arc::clone(&self.link))).await
    }

    /// Registers interest in queues: while somebody waits for tasks, they are sent to this session as fast as they come.
    pub(super) fn interest(&self, interest: Interest, queues: &[QueueName]) -> Waiter {
        let waiting = self.link.waiters.register(interest, queues);
        Box::pin(waiting.woken())
    }
}
