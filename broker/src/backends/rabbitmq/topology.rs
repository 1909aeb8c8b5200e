//! The queues and exchanges of a namespace: looked up first, created only where they are missing, and never with an argument
//! that depends on who creates them, as the server refuses any difference.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use lapin::{
    Consumer, ExchangeKind,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, ExchangeDeclareOptions,
        QueueBindOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{
    directory::Change,
    error::{self, Doing},
    live::Live,
    message::Stored,
    publish::To,
};
use crate::{Error, ErrorKind, QueueName, Result};

/// How often a quorum queue may hand a message out before it throws it away: never, as far as we are concerned. Tasks
/// that are handed out too often are buried by the session that gets them.
const DELIVERY_LIMIT: i64 = 1_000_000;

/// How long a delivery may stay unacknowledged, in milliseconds, where the server lets a queue say so (3.12 and up): as long
/// as it can be said. Who is dead is known by its connection.
const CONSUMER_TIMEOUT: i64 = i32::MAX as i64;

/// How long the server waits for the leader of a queue that it is asked for. Then it answers that there is nothing, and nobody who
/// consumes.
pub(super) const GIVEN_UP: Duration = Duration::from_millis(250);

/// How often a queue is asked for of which there is no answer but that. Where the network is so slow, it is the truth.
pub(super) const ASKED: u32 = 4;

/// How a queue stands, all of it at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Depth {
    /// Messages that can be handed out.
    pub(super) ready: u64,
    /// Consumers, those included that only have something to acknowledge.
    pub(super) consumers: u64,
}

impl Depth {
    fn add(&mut self, Self { ready, consumers }: Self) {
        self.ready += ready;
        self.consumers += consumers;
    }
}

pub(super) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

pub(super) fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
    arguments
}

/// A quorum queue that throws nothing away, whatever policy an operator sets: what it gives up goes to this exchange, under this
/// key or the one that it came by, also after so many milliseconds if there are any. The server waits for the confirm.
pub(super) fn careful(to: &ShortString, key: Option<&ShortString>, after: Option<i64>) -> FieldTable {
    let mut arguments = quorum();
    arguments.insert("x-dead-letter-exchange".into(), text(to.as_str()));
    if let Some(key) = key {
        arguments.insert("x-dead-letter-routing-key".into(), text(key.as_str()));
    }
    if let Some(after) = after {
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(after));
    }
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

impl Live {
    /// How a queue of the server stands; `None` if there is no such queue.
    async fn look_up(&self, operation: &'static str, name: &ShortString) -> Result<Option<Depth>> {
        for _ in 1..ASKED {
            let began = Instant::now();
            let found = self.look_up_once(operation, name).await?;
            let nothing = found.is_some_and(|depth| depth.ready == 0 && depth.consumers == 0);
            if !nothing || began.elapsed() < GIVEN_UP {
                return Ok(found);
            }
        }
        self.look_up_once(operation, name).await
    }

    async fn look_up_once(&self, operation: &'static str, name: &ShortString) -> Result<Option<Depth>> {
        let mut channel = self.lookup.lock().await;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(name.clone(), passive, FieldTable::default());
        match self.try_call(operation, found).await? {
            Ok(queue) => Ok(Some(Depth {
                ready: queue.message_count().into(),
                consumers: queue.consumer_count().into(),
            })),
            Err(e) if error::code(&e) == 404 => {
                *channel = self.call(operation, self.to_consume.create_channel()).await?;
                if error::is_down(&e) {
                    return Err(error::rabbitmq(operation, &e));
                }
                Ok(None)
            }
            Err(e) => {
                self.end();
                Err(error::rabbitmq(operation, &e))
            }
        }
    }

    /// How a queue stands that the directory knows, as far as a look can tell. One that is missing all the same was removed
    /// by somebody. One without a leader looks empty.
    pub(super) async fn look(&self, operation: &'static str, name: &ShortString) -> Result<Depth> {
        Ok(self.look_up(operation, name).await?.unwrap_or_default())
    }

    /// The same for certain: that there is nothing, only a leader can say.
    pub(super) async fn depth(&self, operation: &'static str, name: &ShortString) -> Result<Depth> {
        self.depth_of(operation, name, false).await
    }

    async fn depth_of(&self, operation: &'static str, name: &ShortString, is_work: bool) -> Result<Depth> {
        let depth = self.look(operation, name).await?;
        if depth.ready > 0 || depth.consumers > 0 {
            return Ok(depth);
        }
        let mut channel = self.lookup.lock().await;
        let get = channel.basic_get(name.clone(), BasicGetOptions::default());
        match self.try_call(operation, get).await? {
            Ok(None) => Ok(depth),
            // It came in between. Handing it back counts, which has no consequence but for a task that was lost before: a copy of
            // it goes to the end instead.
            Ok(Some(message)) => {
                let mut delivery = message.delivery;
                let tag = delivery.delivery_tag;
                let lost = is_work && !self.is_blocked();
                match Stored::take(&mut delivery).ok().filter(|stored| lost && stored.progress.deaths > 0) {
                    Some(stored) => {
                        self.publish(operation, vec![stored.copy_for(To::queue(name.clone()))]).await?;
                        self.call(operation, channel.basic_ack(tag, BasicAckOptions::default())).await?;
                    }
                    None => {
                        let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
                        self.call(operation, channel.basic_nack(tag, requeue)).await?;
                    }
                }
                Ok(Depth { ready: 1, consumers: 0 })
            }
            Err(e) if error::code(&e) == 404 => {
                *channel = self.call(operation, self.to_consume.create_channel()).await?;
                if error::is_down(&e) { Err(error::rabbitmq(operation, &e)) } else { Ok(depth) }
            }
            Err(e) => {
                self.end();
                Err(error::rabbitmq(operation, &e))
            }
        }
    }

    /// Makes sure that a queue of the server exists, unless that is known; tells whether it was created.
    async fn ensure(
        &self,
        operation: &'static str,
        name: ShortString,
        arguments: FieldTable,
    ) -> Result<bool> {
        if self.known().contains(&name) {
            return Ok(false);
        }
        let created = self.create(operation, &name, arguments).await?;
        self.known().insert(name);
        Ok(created)
    }

    /// Looks whether a queue of the server exists, and else creates it; tells whether it was created.
    pub(super) async fn create(
        &self,
        operation: &'static str,
        name: &ShortString,
        arguments: FieldTable,
    ) -> Result<bool> {
        let missing = self.look_up(operation, name).await?.is_none();
        if missing {
            let channel = self.lookup.lock().await;
            let create = channel.queue_declare(name.clone(), QueueDeclareOptions::durable(), arguments);
            match self.try_call(operation, create).await? {
                Ok(_) => {}
                Err(e) => {
                    self.end();
                    return Err(declaring(operation, name, &e));
                }
            }
        }
        Ok(missing)
    }

    /// Makes sure that the register exists; tells whether it was created.
    pub(super) async fn ensure_register(&self, operation: &'static str, name: ShortString) -> Result<bool> {
        self.ensure(operation, name, quorum()).await
    }

    /// Makes sure that the queues behind a queue exist.
    pub(super) async fn ensure_queue(&self, operation: &'static str, queue: &QueueName) -> Result<()> {
        for class in self.classes(queue) {
            let (dead, work) = (self.names.dead(queue), self.names.work(queue, class));
            if self.known().contains(&work) {
                continue;
            }
            let mut arguments = careful(&"".into(), Some(&dead), None);
            arguments.insert("x-consumer-timeout".into(), AMQPValue::LongLongInt(CONSUMER_TIMEOUT));
            self.ensure(operation, dead, quorum()).await?;
            self.create(operation, &work, arguments).await?;
            // Also of one that is there: who created it may have died, and what somebody removed is made again.
            self.bind_due(operation, queue, class).await?;
            self.known().insert(work);
        }
        Ok(())
    }

    /// How the work queues of a queue stand together, as `look` sees each.
    pub(super) async fn look_at_work(&self, operation: &'static str, queue: &QueueName) -> Result<Depth> {
        let mut all = Depth::default();
        for class in self.classes(queue) {
            all.add(self.look(operation, &self.names.work(queue, class)).await?);
        }
        Ok(all)
    }

    /// The same for certain, as `depth` does.
    pub(super) async fn depth_of_work(&self, operation: &'static str, queue: &QueueName) -> Result<Depth> {
        let mut all = Depth::default();
        for class in self.classes(queue) {
            all.add(self.depth_of(operation, &self.names.work(queue, class), true).await?);
        }
        Ok(all)
    }

    /// What goes with an exchange that lets nothing vanish: what finds no queue by it goes to those that found none.
    pub(super) fn or_unrouted(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        arguments.insert("alternate-exchange".into(), text(self.names.unrouted().as_str()));
        arguments
    }

    /// Makes sure that an exchange exists.
    pub(super) async fn declare_exchange(
        &self,
        operation: &'static str,
        name: &ShortString,
        kind: ExchangeKind,
        arguments: FieldTable,
    ) -> Result<()> {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declare = self.worker.exchange_declare(name.clone(), kind, durable, arguments);
        self.try_call(operation, declare).await?.map_err(|e| {
            self.end();
            declaring(operation, name, &e)
        })
    }

    /// Makes sure that a queue exists, also in the directory.
    pub(super) async fn use_queue(
        self: &Arc<Self>,
        operation: &'static str,
        queue: &QueueName,
    ) -> Result<()> {
        self.ensure_queue(operation, queue).await?;
        if self.entry(queue).is_none() {
            self.tell(operation, &Change::Use(queue.clone())).await?;
        }
        Ok(())
    }

    /// Makes the inbox of this session and begins to read it.
    pub(super) async fn open_inbox(self: &Arc<Self>, operation: &'static str) -> Result<()> {
        let none = FieldTable::default;
        let news = self.names.news();
        self.declare_exchange(operation, &news, ExchangeKind::Fanout, none()).await?;
        let own =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let declare = self.worker.queue_declare(self.inbox.clone(), own, none());
        self.call_doing(operation, Doing::Declaring, declare).await?;
        let inbox = self.inbox.clone();
        let bind =
            self.worker.queue_bind(inbox.clone(), news, "".into(), QueueBindOptions::default(), none());
        self.call_doing(operation, Doing::Binding, bind).await?;
        let (replies, ours) = (self.names.replies(), self.incarnation.to_string());
        self.declare_exchange(operation, &replies, ExchangeKind::Direct, none()).await?;
        self.bind(operation, &inbox, &replies, &ours).await?;
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
        let consume = self.worker.basic_consume(inbox, "".into(), options, none());
        let letters = self.call(operation, consume).await?;
        let _ = self.letters.set(letters.clone());
        tokio::spawn(pump(letters, Arc::downgrade(self), |live, delivery| live.read_letter(&delivery)));
        Ok(())
    }
}

/// What it means that something cannot be created: with another kind or other arguments, it is not ours.
fn declaring(operation: &'static str, name: &ShortString, error: &lapin::Error) -> Error {
    if error::code(error) != 406 {
        return error::refused(operation, Doing::Declaring, error);
    }
    let message = format!("RabbitMQ has something called {name} that is not ours");
    Error::new(ErrorKind::Corrupt, operation, message)
        .because(error::Cause(error.clone()))
        .advise("use another namespace: ?namespace=NAME")
}

/// Hands what a consumer gets to `take`, and ends the connections when the server ends the consumer.
pub(super) async fn pump(
    mut consumer: Consumer,
    live: std::sync::Weak<Live>,
    take: impl Fn(&Arc<Live>, lapin::message::Delivery),
) {
    while let Some(Ok(delivery)) = consumer.next().await {
        let Some(live) = live.upgrade() else { return };
        take(&live, delivery);
    }
    if let Some(live) = live.upgrade() {
        live.end();
    }
}
