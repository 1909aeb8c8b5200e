//! How one session looks through the dead of a queue, and nobody else meanwhile.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt};
use lapin::{
    BasicProperties, Channel, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{FieldTable, ShortString},
};

use super::{
    error,
    link::Link,
    live::Live,
    message::{self, Obituary, Stored},
    publish::{Outgoing, To},
};
use crate::{
    Error, ErrorKind, QueueName, Result, TaskId,
    crash::{Point, at},
    limits,
};

/// How long another session may look.
const PATIENCE: Duration = Duration::from_secs(20);

/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// How long the server may take to have back what was looked at, until nobody waits for it any more.
const RETURNING: Duration = Duration::from_secs(2);

/// How often a message may be handed out; then a fresh copy takes its place, as the server counts, and gives up in the end what
/// was handed out too often.
const WORN: i64 = 1000;

/// A look through the dead of a queue. What is not removed is put back when it ends.
pub(super) struct Look<'a> {
    live: &'a Live,
    link: &'a Link,
    operation: &'static str,
    name: ShortString,
    channel: Channel,
    consumer: Consumer,
    /// How many there were when the look began.
    there: u64,
    /// How many were seen.
    seen: u64,
    /// The server has no more.
    all: bool,
    /// How many were removed.
    removed: u64,
    /// Copies that are to take the place of what is worn, or was never marked.
    fresh: Vec<(u64, Outgoing)>,
    /// How many bytes they have.
    bytes: usize,
}

/// A dead message.
pub(super) struct Seen {
    pub(super) tag: u64,
    pub(super) id: TaskId,
    /// What it says; or why it is no task of ours, and then it is as it was.
    pub(super) task: Result<Stored>,
    pub(super) data: Vec<u8>,
    pub(super) properties: BasicProperties,
    pub(super) obituary: Obituary,
}

impl Live {
    /// Looks through the dead of a queue.
    pub(super) async fn look_at_dead(
        self: &Arc<Self>,
        link: &Link,
        operation: &'static str,
        queue: &QueueName,
        through: impl AsyncFnOnce(&mut Look<'_>) -> Result<()>,
    ) -> Result<()> {
        // A session's own calls would not exclude each other: the lock belongs to the connection.
        let _alone = self.looking.lock().await;
        self.lock(operation, queue).await?;
        let looked = self.look_locked(link, operation, queue, through).await;
        let unlocked = self.unlock(operation, queue).await;
        looked.and(unlocked)
    }

    async fn look_locked(
        self: &Arc<Self>,
        link: &Link,
        operation: &'static str,
        queue: &QueueName,
        through: impl AsyncFnOnce(&mut Look<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut look = Look::begin(self, link, operation, self.names.dead(queue)).await?;
        let looked = through(&mut look).await;
        let ended = look.end().await;
        looked.and(ended)
    }

    /// Waits until no other session looks. The lock is a queue that belongs to the connection: it is gone with it.
    async fn lock(&self, operation: &'static str, queue: &QueueName) -> Result<()> {
        let began = Instant::now();
        while !self.try_lock(operation, queue).await? {
            if began.elapsed() > PATIENCE {
                let message = format!("another session looks at the dead tasks of queue \"{queue}\"");
                return Err(Error::new(ErrorKind::Unavailable, operation, message)
                    .advise("repeat the call; a session that hangs loses them when its heartbeats stop"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Whether no other session looks, and none can from now on.
    pub(super) async fn try_lock(&self, operation: &'static str, queue: &QueueName) -> Result<bool> {
        let mut channel = self.lookup.lock().await;
        let own = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let take = channel.queue_declare(self.names.looking(queue), own, FieldTable::default());
        match self.try_call(operation, take).await? {
            Ok(_) => Ok(true),
            Err(e) if error::code(&e) == error::LOCKED => {
                *channel = self.call(operation, self.to_consume.create_channel()).await?;
                Ok(false)
            }
            Err(e) => {
                self.end();
                Err(error::rabbitmq(operation, &e))
            }
        }
    }

    pub(super) async fn unlock(&self, operation: &'static str, queue: &QueueName) -> Result<()> {
        let channel = self.lookup.lock().await;
        let give = channel.queue_delete(self.names.looking(queue), QueueDeleteOptions::default());
        self.call(operation, give).await.map(drop)
    }

    /// Keeps the dead of a queue within their bound: the oldest go first. Who buries the next one tries again.
    pub(super) async fn trim(&self, operation: &'static str, queue: &QueueName) {
        let trimmed = async {
            let name = self.names.dead(queue);
            let surplus = self.look(operation, &name).await?.ready.saturating_sub(limits::MAX_DEAD);
            let Ok(_alone) = self.looking.try_lock() else { return Ok(()) };
            // Who looks has the oldest in hand.
            if surplus == 0 || !self.try_lock(operation, queue).await? {
                return Ok(());
            }
            let channel = self.lookup.lock().await;
            for _ in 0..surplus.min(limits::UPKEEP as u64) {
                let oldest = channel.basic_get(name.clone(), BasicGetOptions { no_ack: true });
                self.call(operation, oldest).await?;
            }
            drop(channel);
            self.unlock(operation, queue).await
        };
        if let Err(error) = trimmed.await {
            tracing::debug!(%queue, error = %error.report(), "the dead are not counted");
        }
    }
}

impl<'a> Look<'a> {
    async fn begin(
        live: &'a Live,
        link: &'a Link,
        operation: &'static str,
        name: ShortString,
    ) -> Result<Self> {
        let channel = live.call(operation, live.to_consume.create_channel()).await?;
        let there = live.look(operation, &name).await?.ready;
        // As many as the protocol knows: those that are kept, and more.
        live.call(operation, channel.basic_qos(u16::MAX, BasicQosOptions::default())).await?;
        let consume = channel.basic_consume(
            name.clone(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = live.call(operation, consume).await?;
        let (fresh, bytes) = (Vec::new(), 0);
        Ok(Self {
            live,
            link,
            operation,
            name,
            channel,
            consumer,
            there,
            seen: 0,
            all: false,
            removed: 0,
            fresh,
            bytes,
        })
    }

    /// The next one that is dead, in no certain order.
    pub(super) async fn next(&mut self) -> Result<Option<Seen>> {
        let delivery = self.delivery().await?;
        Ok(delivery.map(|delivery| {
            self.seen += 1;
            self.read(delivery)
        }))
    }

    async fn delivery(&mut self) -> Result<Option<Delivery>> {
        let ended = || error::lost(self.operation);
        loop {
            if let Some(delivery) = self.consumer.next().now_or_never() {
                return delivery.ok_or_else(ended)?.map(Some).map_err(|_| ended());
            }
            if self.all {
                return Ok(None);
            }
            if self.seen >= self.there {
                // Whether there is more, only the leader can say.
                let get = self.channel.basic_get(self.name.clone(), BasicGetOptions::default());
                match self.live.call(self.operation, get).await? {
                    Some(message) => return Ok(Some(message.delivery)),
                    None => self.all = true,
                }
                // What it had handed out before it said so waits in the channel, which answers a get first; and this behind it.
                let behind = self.channel.basic_qos(u16::MAX, BasicQosOptions::default());
                self.live.call(self.operation, behind).await?;
                continue;
            }
            // Somebody else may have taken what was counted.
            match self.live.try_within(self.operation, self.consumer.next()).await? {
                Some(delivery) => return delivery.ok_or_else(ended)?.map(Some).map_err(|_| ended()),
                None => self.there = self.seen,
            }
        }
    }

    /// Removes what was seen under these tags.
    pub(super) async fn remove(&mut self, tags: Vec<u64>) -> Result<()> {
        for tag in tags {
            let ack = self.channel.basic_ack(tag, BasicAckOptions::default());
            self.live.call(self.operation, ack).await?;
            self.fresh.retain(|(other, _)| *other != tag);
            self.removed += 1;
        }
        Ok(())
    }

    /// Reads a message, and notes whether a fresh copy must take its place.
    fn read(&mut self, mut delivery: Delivery) -> Seen {
        let tag = delivery.delivery_tag;
        let known = Obituary::of(&delivery.properties);
        let obituary = known.unwrap_or_else(|| self.link.obituary());
        self.link.seen_dead(obituary);
        let worn = message::returned(&delivery.properties) >= WORN;
        // Having been looked at is nothing that happened to the task.
        delivery.properties = message::as_it_was(delivery.properties);
        if known.is_none() || worn {
            let size = delivery.data.len();
            if self.fresh.is_empty() || self.bytes + size <= limits::MAX_BATCH_BYTES {
                self.bytes += size;
                let properties = obituary.on(delivery.properties.clone());
                let copy = Outgoing::new(To::queue(self.name.clone()), delivery.data.clone(), properties);
                self.fresh.push((tag, copy));
            }
        }
        let id = delivery.properties.message_id().as_ref().and_then(|id| TaskId::new(id.as_str()).ok());
        let properties = delivery.properties.clone();
        let task = Stored::read(&delivery);
        let id = id.unwrap_or_else(|| message::unnamed(obituary));
        // A task has its body in itself.
        let data = if task.is_ok() { Vec::new() } else { delivery.data };
        Seen { tag, id, task, data, properties, obituary }
    }

    /// Lets the server have back what was seen, and waits until it has.
    async fn end(mut self) -> Result<()> {
        let (tags, copies): (Vec<_>, Vec<_>) = std::mem::take(&mut self.fresh).into_iter().unzip();
        let copied = copies.len() as u64;
        // They are not urgent: while the server takes nothing, the old ones will do.
        let fresh = self.live.publish(self.operation, copies).await;
        if fresh.is_ok() {
            self.remove(tags).await?;
        } else if self.live.is_gone() {
            return fresh;
        }
        let cancel = self.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        self.live.call(self.operation, cancel).await?;
        let close = self.channel.close(200, "seen".into());
        self.live.call(self.operation, close).await?;
        let kept = self.seen + if fresh.is_ok() { copied } else { 0 } - self.removed;
        let began = Instant::now();
        while self.live.look(self.operation, &self.name).await?.ready < kept && began.elapsed() < RETURNING {
            tokio::time::sleep(PAUSE).await;
        }
        at(Point::RabbitMqDeadGivenBack);
        Ok(())
    }
}
