//! The contract, on the connections' thread.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{RabbitMqBroker, claim, directory::Change, enqueue, link::Link, settle};
use crate::{
    Beaten, Broker, Capabilities, Claim, ClaimReply, Enqueued, Error, ErrorKind, Incarnation, Lease, NewTask,
    QueueName, QueueOptions, QueueStatus, Result, Settled, Settlement, Waiter,
};

#[async_trait]
impl Broker for RabbitMqBroker {
    fn backend(&self) -> &'static str {
        "rabbitmq"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::RABBITMQ
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn declare(&self, queue: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        let (queue, options) = (queue.clone(), options.cloned());
        self.on_thread("declare", |link| declare(link, queue, options)).await
    }

    async fn enqueue(&self, tasks: &[NewTask]) -> Result<Vec<Enqueued>> {
        let tasks = tasks.to_vec();
        self.on_thread("enqueue", |link| enqueue::enqueue(link, tasks)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReply> {
        let claim = claim.clone();
        self.on_thread("claim", |link| claim::claim(link, claim)).await
    }

    async fn beat(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Beaten>> {
        let leases = leases.to_vec();
        self.on_thread("beat", move |link| settle::beat(link, leases, lease)).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let settlements = settlements.to_vec();
        self.on_thread("settle", |link| settle::settle(link, settlements)).await
    }

    async fn close(&self, queue: &QueueName) -> Result<()> {
        let queue = queue.clone();
        self.on_thread("close", |link| close(link, queue)).await
    }

    async fn status(&self, queue: &QueueName) -> Result<Option<QueueStatus>> {
        let queue = queue.clone();
        self.on_thread("status", |link| status(link, "status", queue)).await
    }

    fn wait(&self, queues: &[QueueName]) -> Waiter {
        self.interest(queues)
    }
}

async fn declare(link: Arc<Link>, queue: QueueName, options: Option<QueueOptions>) -> Result<QueueStatus> {
    let live = link.live("declare").await?;
    live.sync("declare").await?;
    if let Some(options) = &options {
        let mut stored = live.directory.borrow().get(&queue).map(|entry| entry.configuration.clone());
        if !stored.as_ref().is_some_and(|stored| stored.configured) {
            live.ensure_queue("declare", &queue).await?;
            live.tell("declare", &Change::configure(&queue, options)).await?;
            stored = live.directory.borrow().get(&queue).map(|entry| entry.configuration.clone());
        }
        // Somebody else's may have come first.
        if let Some(mut stored) = stored.filter(|stored| !stored.is(options)) {
            stored.configure(&queue, options)?;
        }
    }
    live.use_queue("declare", &queue).await?;
    let status = status(link, "declare", queue.clone()).await?;
    status.ok_or_else(|| {
        Error::new(ErrorKind::Internal, "declare", format!("queue \"{queue}\" is not in the directory"))
    })
}

async fn close(link: Arc<Link>, queue: QueueName) -> Result<()> {
    let live = link.live("close").await?;
    live.ensure_queue("close", &queue).await?;
    live.tell("close", &Change::Close { queue }).await
}

async fn status(link: Arc<Link>, operation: &'static str, queue: QueueName) -> Result<Option<QueueStatus>> {
    let live = link.live(operation).await?;
    live.sync(operation).await?;
    let Some(entry) = live.directory.borrow().get(&queue).cloned() else { return Ok(None) };
    let scheduled = live.scheduled(operation, &queue).await?;
    let holdings = live.ask(operation, &queue).await?;
    Ok(Some(QueueStatus {
        options: entry.configuration.options,
        revision: entry.configuration.revision,
        closed: entry.closed,
        ready: live.ready(operation, &live.names.work(&queue)).await?,
        scheduled: scheduled.max(holdings.scheduled),
        leased: holdings.held,
        dead: live.ready(operation, &live.names.dead(&queue)).await?,
    }))
}
