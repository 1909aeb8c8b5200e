//! What the raw limits of RabbitMQ share: a server of their own, as ours has, and a quorum queue.

use std::collections::VecDeque;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, future::join_all};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use manyhands_test_support::servers::RabbitMq;
use tokio::runtime::Runtime;

use crate::{
    settings::{Durability, Settings},
    work::BATCH,
};

/// The queue.
const QUEUE: &str = "raw";

/// How many messages may not be confirmed yet.
pub(crate) const WINDOW: usize = 2000;

/// How many are handed to the client library at a time. One by one is half as fast.
const GROUP: usize = 64;

/// How many messages are delivered and not acknowledged yet.
const PREFETCH: u16 = 1000;

/// A server, and the connection that made the queue.
pub(super) struct Raw {
    pub(super) runtime: Runtime,
    server: RabbitMq,
}

/// A connection, and a channel on it.
pub(super) struct Link {
    pub(super) channel: Channel,
    _connection: Connection,
}

impl Raw {
    pub(super) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let this = Self { runtime, server: RabbitMq::start()? };
        this.runtime.block_on(async {
            let mut quorum = FieldTable::default();
            quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            let link = this.link().await?;
            link.channel.queue_declare(QUEUE.into(), QueueDeclareOptions::durable(), quorum).await?;
            Ok::<_, anyhow::Error>(())
        })?;
        Ok(this)
    }

    pub(super) async fn link(&self) -> Result<Link> {
        let connection = Connection::connect(&self.server.url(), ConnectionProperties::default()).await?;
        Ok(Link { channel: connection.create_channel().await?, _connection: connection })
    }
}

impl Link {
    /// Lets the server confirm what is published.
    pub(super) async fn confirmed(self) -> Result<Self> {
        self.channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(self)
    }

    /// Publishes these, and returns when all are confirmed.
    pub(super) async fn publish(&self, bodies: impl Iterator<Item = String>) -> Result<()> {
        let mut bodies = bodies.peekable();
        let properties = BasicProperties::default().with_delivery_mode(2);
        let mut unconfirmed = VecDeque::with_capacity(WINDOW + GROUP);
        while bodies.peek().is_some() {
            let group: Vec<String> = bodies.by_ref().take(GROUP).collect();
            let publish = |body: &String| {
                let options = BasicPublishOptions::default();
                let (channel, properties, body) = (self.channel.clone(), properties.clone(), body.clone());
                async move {
                    channel.basic_publish("".into(), QUEUE.into(), options, body.as_bytes(), properties).await
                }
            };
            for confirm in join_all(group.iter().map(publish)).await {
                unconfirmed.push_back(confirm?);
            }
            while unconfirmed.len() >= WINDOW
                && let Some(confirm) = unconfirmed.pop_front()
            {
                ensure!(matches!(confirm.await?, Confirmation::Ack(None)), "a message was not taken");
            }
        }
        for confirm in unconfirmed {
            ensure!(matches!(confirm.await?, Confirmation::Ack(None)), "a message was not taken");
        }
        Ok(())
    }

    pub(super) async fn consumer(&self) -> Result<Consumer> {
        self.channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        Ok(self.channel.basic_consume(QUEUE.into(), "raw".into(), options, FieldTable::default()).await?)
    }

    /// Takes so many, and acknowledges a hundred at once; returns when the server has all acknowledgements.
    pub(super) async fn consume(&self, mut consumer: Consumer, n: u64) -> Result<()> {
        for taken in 1..=n {
            let delivery = consumer.next().await.context("the consumer was ended")??;
            if taken % BATCH as u64 == 0 || taken == n {
                let multiple = BasicAckOptions { multiple: true };
                self.channel.basic_ack(delivery.delivery_tag, multiple).await?;
            }
        }
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(QUEUE.into(), passive, FieldTable::default()).await?;
        Ok(())
    }
}

/// The settings of a raw limit of RabbitMQ.
pub(super) fn settings(who: &str, batch: usize, n: u64) -> Settings {
    Settings {
        who: who.to_owned(),
        payload: crate::work::PAYLOAD,
        batch,
        durability: Durability::ServersQuorum,
        journal: "the server's write-ahead log".to_owned(),
        n,
    }
}
