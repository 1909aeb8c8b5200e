//! Claims: a consumer with as much credit as there is to be filled, for as long as somebody waits for the queue.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt};
use lapin::{
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::FieldTable,
};

use super::{
    intake::{Arrival, Standing},
    link::Link,
    live::Live,
    message,
};
use crate::{Claim, ClaimReply, ErrorKind, QueueName, Result, TaskId, limits};

/// How long nobody may wait for a queue before its tasks are not sent here any more.
const UNWANTED: Duration = Duration::from_millis(200);

/// How long a task is put off that only a newer version can read: 2^5 s.
const UNREADABLE_LEVEL: u32 = 5;

pub(super) async fn claim(link: Arc<Link>, claim: Claim) -> Result<ClaimReply> {
    let live = link.live("claim").await?;
    let queue = &claim.queue;
    // One at a time: two claims would change the consumer of the same queue.
    let _alone = live.claiming.lock().await;
    if live.directory.borrow().get(queue).is_none() {
        live.sync("claim").await?;
        if live.directory.borrow().get(queue).is_none() {
            return Ok(ClaimReply::default());
        }
    }
    for fed in claim.feeds.iter().filter(|fed| *fed != queue) {
        if live.is_full("claim", fed, 0).await? {
            return Ok(ClaimReply { held_by: Some(fed.clone()), ..ClaimReply::default() });
        }
    }
    live.ensure_queue("claim", queue).await?;
    live.become_holder("claim", queue).await?;
    live.drain(queue);
    let lacking = live.intake().line(queue).lacks(claim.max);
    if lacking > 0 {
        live.consume(queue, lacking).await?;
    }
    let mut taken = live.intake().take(&claim, link.incarnation, link.config.clock.now().steady);
    for refused in std::mem::take(&mut taken.refused) {
        live.refuse(queue, refused).await?;
    }
    if link.interests.has(queue) {
        live.intake().line(queue).unwanted_since = None;
    } else {
        live.fold(queue).await?;
    }
    let mut reply =
        ClaimReply { waiting_alone: taken.waiting_alone, tasks: taken.tasks, ..ClaimReply::default() };
    let closed = live.directory.borrow().get(queue).is_some_and(|entry| entry.closed);
    if closed
        && reply.tasks.is_empty()
        && reply.waiting_alone == 0
        && let Some(mark) = live.ended("claim", queue).await?
    {
        (reply.ended, reply.mark) = (true, mark);
    }
    Ok(reply)
}

impl Live {
    /// Takes in what was delivered. Runs on the connections' thread, as does who waits for deliveries: none can be in
    /// between.
    pub(super) fn drain(&self, queue: &QueueName) {
        let mut intake = self.intake();
        let Some(mut consumer) = intake.line(queue).standing.as_ref().map(|s| s.consumer.clone()) else {
            return;
        };
        // The end of the stream is noticed by the one who waits for deliveries.
        while let Some(Some(Ok(delivery))) = consumer.next().now_or_never() {
            intake.arrive(queue, delivery);
        }
    }

    /// Consumes with a credit of its own: what earlier consumers of this session got stays unacknowledged and does not
    /// count.
    async fn consume(self: &Arc<Self>, queue: &QueueName, credit: usize) -> Result<()> {
        self.cancel(queue).await?;
        let name = self.names.work(queue);
        let prefetch = u16::try_from(credit).unwrap_or(u16::MAX);
        self.call("claim", self.worker.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let consume = self.worker.basic_consume(
            name.clone(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = self.call("claim", consume).await?;
        self.intake().line(queue).standing = Some(Standing::new(consumer.clone(), prefetch.into()));
        let live = Arc::downgrade(self);
        let of = queue.clone();
        tokio::spawn(async move {
            let tag = consumer.tag();
            let mut stream = consumer;
            while let Some(Ok(delivery)) = stream.next().await {
                let Some(live) = live.upgrade() else { return };
                live.intake().arrive(&of, delivery);
                live.changed();
            }
            let Some(live) = live.upgrade() else { return };
            // Not by us, if it is still who consumes: the queue was removed, or the connection is lost.
            let standing = live.intake().line(&of).standing.as_ref().is_some_and(|s| s.consumer.tag() == tag);
            if standing {
                live.end();
            }
        });
        self.barrier("claim", &name).await?;
        self.drain(queue);
        Ok(())
    }

    /// Ends the consumer of a queue. What it got stays here.
    async fn cancel(&self, queue: &QueueName) -> Result<()> {
        let Some(standing) = self.intake().line(queue).standing.take() else { return Ok(()) };
        let cancel = self.worker.basic_cancel(standing.consumer.tag(), BasicCancelOptions::default());
        self.call("claim", cancel).await?;
        let mut consumer = standing.consumer;
        while let Some(Some(Ok(delivery))) = consumer.next().now_or_never() {
            self.intake().arrive(queue, delivery);
        }
        Ok(())
    }

    /// Stops consuming a queue and gives back what was not claimed.
    async fn fold(&self, queue: &QueueName) -> Result<()> {
        self.cancel(queue).await?;
        let (_, arrived) = self.intake().fold(queue);
        for arrival in arrived {
            self.give_back(queue, arrival).await?;
        }
        Ok(())
    }

    /// Gives back a task that was not run. The server counts that like a death, so this is done only with a task that never
    /// was lost; of any other a copy goes to the end of the queue, which counts nothing.
    async fn give_back(&self, queue: &QueueName, arrival: Arrival) -> Result<()> {
        let Arrival { delivery, task, .. } = arrival;
        match task {
            Ok(stored) if stored.progress.deaths > 0 => {
                let copy = (self.names.work(queue), delivery.data, stored.properties());
                self.publish("claim", vec![copy]).await?;
                self.ack("claim", delivery.delivery_tag).await?;
            }
            _ => self.hand_back(delivery.delivery_tag).await?,
        }
        Ok(())
    }

    /// Lets the server hand out a delivery again, and count that.
    pub(super) async fn hand_back(&self, tag: u64) -> Result<()> {
        let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        self.call("claim", self.worker.basic_nack(tag, requeue)).await
    }

    /// Ends a delivery.
    pub(super) async fn ack(&self, operation: &'static str, tag: u64) -> Result<()> {
        self.call(operation, self.worker.basic_ack(tag, BasicAckOptions::default())).await
    }

    /// Deals with what cannot be run: buries what is no task, or was lost too often; puts off what only a newer version can
    /// read.
    async fn refuse(&self, queue: &QueueName, arrival: Arrival) -> Result<()> {
        let Arrival { delivery, task, .. } = arrival;
        let tag = delivery.delivery_tag;
        let outgoing = match task {
            Ok(mut stored) => {
                let deaths = stored.progress.deaths;
                tracing::warn!(task = %stored.id, %queue, deaths, "the task is dead: it was handed out and lost too often");
                stored.progress.error =
                    Some(format!("{deaths} times in a row it was handed out and its holder was lost"));
                (self.names.dead(queue), delivery.data, stored.properties())
            }
            Err(error) if error.kind() == ErrorKind::Incompatible => {
                tracing::warn!(%queue, error = %error.report(), "a task is put off");
                let waiting = self.ensure_waiting("claim", queue, UNREADABLE_LEVEL).await?;
                let over = Duration::from_secs((1 << UNREADABLE_LEVEL) + 1);
                self.intake().put_off(queue, TaskId::generate(), Instant::now() + over);
                (waiting, delivery.data, message::as_it_was(delivery.properties))
            }
            Err(error) => {
                tracing::warn!(%queue, error = %error.report(), "a message that is no task is buried as it is");
                let properties = message::foreign(&delivery, &error.report());
                (self.names.dead(queue), delivery.data, properties)
            }
        };
        let buried = outgoing.0 == self.names.dead(queue);
        self.publish("claim", vec![outgoing]).await?;
        self.ack("claim", tag).await?;
        self.intake().closed(queue, tag);
        if buried { self.trim("claim", queue).await } else { Ok(()) }
    }

    /// Looks after what this session holds: leases that ran out go back, and so does what nobody claims.
    pub(super) async fn look_after(&self, link: &Link) -> Result<()> {
        let expired = self.intake().expired(link.config.clock.now().steady);
        for lease in expired {
            let Some(held) = self.intake().release(&lease) else { continue };
            tracing::warn!(task = %lease.id, queue = %lease.queue, "the lease ran out");
            self.hand_back(held.tag).await?;
        }
        // Whoever claims at this moment takes what is here.
        let Ok(_alone) = self.claiming.try_lock() else { return Ok(()) };
        let queues = self.intake().queues();
        for queue in queues {
            let wanted = link.interests.has(&queue);
            let fold = {
                let mut intake = self.intake();
                let line = intake.line(&queue);
                let since =
                    if wanted { None } else { Some(line.unwanted_since.unwrap_or_else(Instant::now)) };
                line.unwanted_since = since;
                let unwanted = since.is_some_and(|since| since.elapsed() > UNWANTED);
                (line.standing.is_some() && unwanted) || line.has_stale()
            };
            if fold {
                self.fold(&queue).await?;
            }
        }
        self.probe().await
    }

    /// Whether a queue is closed and nothing of it is unsettled; then a mark that differs if it ever got a task in
    /// between.
    async fn ended(self: &Arc<Self>, operation: &'static str, queue: &QueueName) -> Result<Option<u64>> {
        let mut last = None;
        // Asked twice: what went from one session to another while they were asked came to somebody in between.
        loop {
            if self.ready_and_scheduled(operation, queue).await? > 0 {
                return Ok(None);
            }
            let holdings = self.ask(operation, queue).await?;
            if holdings.held + holdings.scheduled > 0 || self.ready_and_scheduled(operation, queue).await? > 0
            {
                return Ok(None);
            }
            if last == Some(holdings.mark) {
                let mut mark = DefaultHasher::new();
                holdings.mark.hash(&mut mark);
                return Ok(Some(mark.finish()));
            }
            last = Some(holdings.mark);
        }
    }

    async fn ready_and_scheduled(&self, operation: &'static str, queue: &QueueName) -> Result<u64> {
        let scheduled = self.scheduled(operation, queue).await?;
        Ok(scheduled + self.ready(operation, &self.names.work(queue)).await?)
    }

    /// How many tasks of a queue wait until they are due.
    pub(super) async fn scheduled(&self, operation: &'static str, queue: &QueueName) -> Result<u64> {
        let levels = self.directory.borrow().get(queue).map(|entry| entry.levels.clone()).unwrap_or_default();
        let mut scheduled = 0;
        for level in levels {
            scheduled += self.ready(operation, &self.names.waiting(queue, level)).await?;
        }
        Ok(scheduled)
    }

    /// Keeps the dead of a queue within their bound: the oldest go first.
    pub(super) async fn trim(&self, operation: &'static str, queue: &QueueName) -> Result<()> {
        let name = self.names.dead(queue);
        let surplus = self.ready(operation, &name).await?.saturating_sub(limits::MAX_DEAD);
        for _ in 0..surplus.min(limits::UPKEEP as u64) {
            let get = lapin::options::BasicGetOptions { no_ack: true };
            let channel = self.lookup.lock().await;
            self.call(operation, channel.basic_get(name.clone(), get)).await?;
        }
        Ok(())
    }
}
