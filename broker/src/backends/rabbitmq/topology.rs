//! The queues and exchanges of a namespace: looked up first, created only where they are missing, and never with an argument
//! that depends on who creates them, as the server refuses any difference.

use lapin::{
    Consumer, ExchangeKind,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};

use super::{directory::Change, error, live::Live, message::number};
use crate::{Error, ErrorKind, QueueName, Result};

/// How often a quorum queue may hand a message out before it throws it away: never, as far as we are concerned. Tasks
/// that are handed out too often are buried by the session that gets them.
const DELIVERY_LIMIT: i64 = 1_000_000;

/// How long a queue of holders outlives the last of them, in milliseconds.
const HOLDERS_EXPIRE: i64 = 60_000;

/// How many events of the directory may be on their way to a session.
const EVENTS: u16 = 10_000;

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
    arguments
}

impl Live {
    /// How many messages of a queue of the server are ready; `None` if there is no such queue.
    async fn look_up(&self, operation: &'static str, name: &ShortString) -> Result<Option<u64>> {
        let mut channel = self.lookup.lock().await;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(name.clone(), passive, FieldTable::default());
        match self.try_call(operation, found).await? {
            Ok(queue) => Ok(Some(queue.message_count().into())),
            Err(e) if matches!(e.kind(), lapin::ErrorKind::ProtocolError(e) if e.get_id() == 404) => {
                *channel = self.call(operation, self.to_consume.create_channel()).await?;
                Ok(None)
            }
            Err(e) => {
                self.end();
                Err(error::rabbitmq(operation, &e))
            }
        }
    }

    /// How many messages of a queue are ready that the directory knows. One that is missing all the same was removed by
    /// somebody.
    pub(super) async fn ready(&self, operation: &'static str, name: &ShortString) -> Result<u64> {
        Ok(self.look_up(operation, name).await?.unwrap_or_default())
    }

    /// Makes sure that a queue of the server exists.
    async fn ensure(&self, operation: &'static str, name: ShortString, arguments: FieldTable) -> Result<()> {
        if self.known().contains(&name) {
            return Ok(());
        }
        if self.look_up(operation, &name).await?.is_none() {
            let channel = self.lookup.lock().await;
            let create = channel.queue_declare(name.clone(), QueueDeclareOptions::durable(), arguments);
            self.call(operation, create).await?;
        }
        self.known().insert(name);
        Ok(())
    }

    /// Makes sure that the queues behind a queue exist.
    pub(super) async fn ensure_queue(&self, operation: &'static str, queue: &QueueName) -> Result<()> {
        self.ensure(operation, self.names.work(queue), quorum()).await?;
        self.ensure(operation, self.names.dead(queue), quorum()).await
    }

    /// Makes sure that a queue exists, also in the directory.
    pub(super) async fn use_queue(&self, operation: &'static str, queue: &QueueName) -> Result<()> {
        self.ensure_queue(operation, queue).await?;
        if self.directory.borrow().get(queue).is_none() {
            self.tell(operation, &Change::Use { queue: queue.clone() }).await?;
        }
        Ok(())
    }

    /// Makes sure that tasks of a queue can wait for 2^`level` seconds. What has waited goes to the end of the queue; the
    /// server hands it over as it would to a publisher that waits for the confirm.
    pub(super) async fn ensure_waiting(
        &self,
        operation: &'static str,
        queue: &QueueName,
        level: u32,
    ) -> Result<ShortString> {
        let name = self.names.waiting(queue, level);
        let mut arguments = quorum();
        let text = |text: &str| AMQPValue::LongString(text.into());
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(1000 << level));
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(self.names.work(queue).as_str()));
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
        self.ensure(operation, name.clone(), arguments).await?;
        let told = self.directory.borrow().get(queue).is_some_and(|entry| entry.levels.contains(&level));
        if !told {
            self.tell(operation, &Change::Wait { queue: queue.clone(), level }).await?;
        }
        Ok(name)
    }

    /// How many sessions may hold tasks of a queue.
    pub(super) async fn holders(&self, operation: &'static str, queue: &QueueName) -> Result<u64> {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
        arguments.insert("x-expires".into(), AMQPValue::LongLongInt(HOLDERS_EXPIRE));
        let channel = self.lookup.lock().await;
        let name = self.names.holders(queue);
        let create = channel.queue_declare(name, QueueDeclareOptions::durable(), arguments);
        Ok(self.call(operation, create).await?.consumer_count().into())
    }

    /// Makes this session one that may hold tasks of a queue, for as long as it lasts.
    pub(super) async fn become_holder(&self, operation: &'static str, queue: &QueueName) -> Result<()> {
        if self.intake().line(queue).holder.is_some() {
            return Ok(());
        }
        self.holders(operation, queue).await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let name = self.names.holders(queue);
        let consume = self.worker.basic_consume(name, "".into(), options, FieldTable::default());
        let holder = self.call(operation, consume).await?;
        self.intake().line(queue).holder = Some(holder);
        Ok(())
    }

    /// Makes the inbox of this session and begins to read it.
    pub(super) async fn open_inbox(self: &Arc<Self>, operation: &'static str) -> Result<()> {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let none = FieldTable::default;
        let news = self.names.news();
        let declare = self.worker.exchange_declare(news.clone(), ExchangeKind::Fanout, durable, none());
        self.call(operation, declare).await?;
        let own =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        self.call(operation, self.worker.queue_declare(self.inbox.clone(), own, none())).await?;
        let inbox = self.inbox.clone();
        let bind =
            self.worker.queue_bind(inbox.clone(), news, "".into(), QueueBindOptions::default(), none());
        self.call(operation, bind).await?;
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
        let letters =
            self.call(operation, self.worker.basic_consume(inbox, "".into(), options, none())).await?;
        let _ = self.letters.set(letters.clone());
        let live = Arc::downgrade(self);
        tokio::spawn(pump(letters, live, |live, delivery| live.read_letter(&delivery)));
        Ok(())
    }

    /// Finds or begins the directory, and reads it to its end.
    pub(super) async fn open_directory(self: &Arc<Self>, operation: &'static str) -> Result<()> {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
        let name = self.names.directory();
        self.ensure(operation, name.clone(), arguments).await?;
        // A channel of its own: the prefetch is a channel's, and a consumer takes what it is when it starts.
        let channel = self.call(operation, self.to_consume.create_channel()).await?;
        self.call(operation, channel.basic_qos(EVENTS, BasicQosOptions::default())).await?;
        let mut from = FieldTable::default();
        from.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
        let consume = channel.basic_consume(name.clone(), "".into(), BasicConsumeOptions::default(), from);
        let mut events = self.call(operation, consume).await?;
        // What is there is sent at once, as far as the prefetch reaches; acknowledgements ask for more.
        loop {
            let before = self.directory.borrow().next();
            for _ in 0..2 {
                let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                self.call(operation, channel.queue_declare(name.clone(), passive, FieldTable::default()))
                    .await?;
            }
            while let Some(event) = events.next().now_or_never() {
                let event = event.and_then(|event| event.ok()).ok_or_else(|| error::lost(operation))?;
                self.call(operation, self.read_event(event)).await?;
            }
            if self.directory.borrow().next() == before {
                break;
            }
        }
        let empty = self.directory.borrow().next() == 0;
        let live = Arc::downgrade(self);
        tokio::spawn(async move {
            // The channel lives as long as its consumer.
            let _channel = channel;
            while let Some(Ok(event)) = events.next().await {
                let Some(live) = live.upgrade() else { return };
                if live.call("read", live.read_event(event)).await.is_err() {
                    return;
                }
                live.changed();
            }
            if let Some(live) = live.upgrade() {
                live.end();
            }
        });
        // So that the format stands in it before anything else does.
        if empty { self.tell(operation, &Change::Open).await } else { Ok(()) }
    }

    async fn read_event(&self, event: lapin::message::Delivery) -> lapin::Result<()> {
        let headers = event.properties.headers().clone().unwrap_or_default();
        let offset = number(&headers, "x-stream-offset").and_then(|offset| u64::try_from(offset).ok());
        self.directory.send_modify(|directory| {
            directory.read(offset.unwrap_or(directory.next()), &event.data);
        });
        event.acker.ack(BasicAckOptions::default()).await.map(drop)
    }

    /// Appends to the directory, waits until it is read here, and until everybody can know.
    pub(super) async fn tell(&self, operation: &'static str, change: &Change) -> Result<()> {
        let body = change.to_json().map_err(|e| error::internal(operation, e))?;
        let properties = lapin::BasicProperties::default().with_delivery_mode(2);
        self.publish(operation, vec![(self.names.directory(), body, properties)]).await?;
        let said = change.clone();
        self.until(operation, move |directory| said.is_in(directory)).await?;
        if let Some(newer) = self.directory.borrow().newer() {
            let message =
                format!("the namespace needs a version that knows format {newer}; this one knows 1");
            return Err(
                Error::new(ErrorKind::Incompatible, operation, message).advise("upgrade this program")
            );
        }
        let next = self.directory.borrow().next();
        self.announce(operation, next).await
    }
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
