//! The on the connections' thread.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    RabbitMqBroker, ask::Holdings, claim, directory::Change, enqueue, link::Link, live::Live, replies,
    run_time, settle,
};
use crate::{
    Beat, Beaten, Broker, Capabilities, Claim, ClaimReply, DeadLetters, Doctor, Enqueued, Error, ErrorKind,
    Incarnation, Interest, NewTask, Outcome, OutcomeWaiter, QueueName, QueueOptions, QueueStatus, Result,
    Settled, Settlement, TaskId, Token, Waiter, Workers, machine::Configuration,
};

#[async_trait]
impl Broker for RabbitMqBroker {
    fn backend(&self) -> &'static str {
        "rabbitmq"
    }

    fn capabilities(&self) -> Capabilities {
        Self::CAPABILITIES
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn declare(&self, queue: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        let (queue, options) = (queue.clone(), options.cloned());
        self.on_thread("declare", |link| declare(link, queue, options)).await
    }

    async fn enqueue(&self, tasks: &[NewTask], _token: Option<Token>) -> Result<Vec<Enqueued>> {
        // No call is remembered, so the guard lets no token through.
        let tasks = tasks.to_vec();
        self.on_thread("enqueue", |link| enqueue::enqueue(link, tasks)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReply> {
        let claim = claim.clone();
        self.on_thread("claim", |link| claim::claim(link, claim)).await
    }

    async fn beat(&self, beats: &[Beat], lease: Duration) -> Result<Vec<Beaten>> {
        // Nobody can ask how far a task is, so the guard lets no progress through.
        let leases = beats.iter().map(|beat| beat.lease.clone()).collect();
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

    async fn queues(&self, after: Option<&QueueName>, max: usize) -> Result<Vec<QueueName>> {
        let after = after.cloned();
        let read = async move |link: Arc<Link>| {
            let live = link.live("queues").await?;
            live.sync("queues").await?;
            Ok(live.directory().names(after.as_ref(), max))
        };
        self.on_thread("queues", read).await
    }

    async fn status(&self, queue: &QueueName) -> Result<Option<QueueStatus>> {
        let queue = queue.clone();
        self.on_thread("status", |link| status(link, "status", queue)).await
    }

    async fn outcomes(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Outcome>> {
        let (queue, ids) = (queue.clone(), ids.to_vec());
        self.on_thread("outcomes", |link| replies::outcomes(link, queue, ids)).await
    }

    async fn max_run(&self) -> Result<Option<Duration>> {
        self.on_thread("max_run", |link| async move { Ok(run_time::max_run(&link).await) }).await
    }

    fn doctor(&self) -> Option<&dyn Doctor> {
        Some(self)
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        Some(self)
    }

    fn workers(&self) -> Option<&dyn Workers> {
        Some(self)
    }

    fn wait_for(&self, interest: Interest, queues: &[QueueName]) -> Waiter {
        self.interest(interest, queues)
    }

    fn wait_for_outcome(&self, task: &NewTask) -> Option<OutcomeWaiter> {
        self.link.replies.outcomes.wait(task)
    }

    async fn withdraw(&self) -> Result<()> {
        self.on_thread("withdraw", claim::withdraw).await
    }

    async fn rebuild(&self) {
        self.link.give_up().await;
    }
}

async fn declare(link: Arc<Link>, queue: QueueName, options: Option<QueueOptions>) -> Result<QueueStatus> {
    let live = link.live("declare").await?;
    live.sync("declare").await?;
    let configuration = || live.entry(&queue).map(|entry| entry.configuration());
    if let Some(options) = &options {
        if !configuration().is_some_and(|stored| stored.configured) {
            live.ensure_queue("declare", &queue).await?;
            live.check_change(&queue, options).await?;
            live.tell("declare", &Change::Configure(queue.clone(), options.clone())).await?;
        }
        // Somebody else's may have come first.
        if let Some(mut stored) = configuration().filter(|stored| !stored.is(options)) {
            stored.configure(&queue, options, 0)?;
        }
    }
    live.use_queue("declare", &queue).await?;
    let status = status(Arc::clone(&link), "declare", queue.clone()).await?;
    status.ok_or_else(|| {
        Error::new(ErrorKind::Internal, "declare", format!("queue \"{queue}\" is not in the directory"))
    })
}

impl Live {
    /// Refuses options by which the order of tasks would change that are there. Those that come meanwhile have no priority, and
    /// keep their order.
    async fn check_change(self: &Arc<Self>, queue: &QueueName, options: &QueueOptions) -> Result<()> {
        let Some(entry) = self.entry(queue).filter(|entry| entry.order() != options.order) else {
            return Ok(());
        };
        let Holdings { ready, held, scheduled, .. } = self.holdings("declare", queue).await?;
        entry.configuration().configure(queue, options, ready + held + scheduled)
    }
}

async fn close(link: Arc<Link>, queue: QueueName) -> Result<()> {
    let live = link.live("close").await?;
    live.ensure_queue("close", &queue).await?;
    live.tell("close", &Change::Close(queue.clone())).await?;
    live.shut("close", &queue).await
}

async fn status(link: Arc<Link>, operation: &'static str, queue: QueueName) -> Result<Option<QueueStatus>> {
    let live = link.live(operation).await?;
    live.sync(operation).await?;
    let Some(entry) = live.entry(&queue) else { return Ok(None) };
    let Holdings { ready, held, scheduled, .. } = live.holdings(operation, &queue).await?;
    let Configuration { options, revision, .. } = entry.configuration();
    let dead = live.depth(operation, &live.names.dead(&queue)).await?.ready;
    Ok(Some(QueueStatus {
        options,
        revision,
        closed: entry.closed,
        paused: false,
        pause: None,
        ready,
        scheduled,
        held: 0,
        leased: held,
        dead,
        sequence: None,
    }))
}
