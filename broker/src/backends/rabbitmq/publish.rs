//! Publishing what must not be lost: every message is confirmed before anybody relies on it.
//!
//! A call has a channel for itself until all its confirms are there: lapin gives a message that comes back to whichever confirm comes
//! next, so among the messages of two calls nobody could tell whose it was. What is sent in one call is confirmed together.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use futures_util::future::join_all;
use lapin::{
    BasicProperties, Channel, Confirmation,
    message::BasicReturnMessage,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{error, live::Live};
use crate::{Error, ErrorKind, Result};

/// How many calls publish at a time, each on a channel of its own.
const CHANNELS: usize = 32;

/// How many messages are handed to the connection at a time. One by one each would wait for its bytes to be written.
const GROUP: usize = 30;

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct To {
    exchange: ShortString,
    key: ShortString,
}

impl To {
    /// To the queue of this name.
    pub(super) fn queue(name: ShortString) -> Self {
        Self { exchange: "".into(), key: name }
    }

    /// To the queues that an exchange finds by this key.
    pub(super) fn exchange(exchange: ShortString, key: ShortString) -> Self {
        Self { exchange, key }
    }
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exchange.as_str() {
            "" => write!(f, "{}", self.key),
            exchange => write!(f, "{exchange} as {}", self.key),
        }
    }
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    to: To,
    body: Vec<u8>,
    properties: BasicProperties,
    /// Whether it is an error that no queue takes it.
    mandatory: bool,
}

impl Outgoing {
    /// One that must arrive.
    pub(super) fn new(to: To, body: Vec<u8>, properties: BasicProperties) -> Self {
        Self { to, body, properties, mandatory: true }
    }

    /// One that may be dropped where nobody takes it.
    pub(super) fn if_wanted(to: To, body: Vec<u8>, properties: BasicProperties) -> Self {
        Self { to, body, properties, mandatory: false }
    }
}

/// The channels on which messages are confirmed.
pub(super) struct Publishers {
    /// Those that nobody uses, of which every confirm came.
    idle: Mutex<Vec<Channel>>,
    free: Semaphore,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is stored.
    Stored,
    /// It came back: no queue takes what is sent there.
    Unroutable,
    /// The queue did not take it.
    Rejected,
}

/// What became of the messages of a call.
#[derive(Debug)]
pub(super) struct Published {
    /// Of each message, in their order.
    pub(super) fates: Vec<Fate>,
    /// Why not all are stored.
    pub(super) error: Option<Error>,
}

/// A message that was sent, and by which it is found again if it comes back.
#[derive(PartialEq)]
struct Sent {
    to: To,
    id: Option<ShortString>,
}

impl Sent {
    fn of(returned: &BasicReturnMessage) -> Self {
        let to = To::exchange(returned.delivery.exchange.clone(), returned.delivery.routing_key.clone());
        Self { to, id: returned.delivery.properties.message_id().clone() }
    }
}

impl Default for Publishers {
    fn default() -> Self {
        Self { idle: Mutex::default(), free: Semaphore::new(CHANNELS) }
    }
}

impl Publishers {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// Publishes, and waits until all are stored.
    pub(super) async fn publish(&self, operation: &'static str, messages: Vec<Outgoing>) -> Result<()> {
        let Published { error, .. } = self.publish_each(operation, messages).await?;
        error.map_or(Ok(()), Err)
    }

    /// Publishes, and tells what became of each message.
    ///
    /// # Errors
    /// When nothing can be said about any of them.
    pub(super) async fn publish_each(
        &self,
        operation: &'static str,
        messages: Vec<Outgoing>,
    ) -> Result<Published> {
        if messages.is_empty() {
            return Ok(Published { fates: Vec::new(), error: None });
        }
        let (channel, _turn) = self.confirming(operation).await?;
        let (sent, confirmations) = self.publish_on(operation, &channel, messages).await?;
        let mut returned = Vec::new();
        let mut fates = Vec::with_capacity(sent.len());
        for confirmation in confirmations {
            let stored = matches!(confirmation, Confirmation::Ack(_));
            fates.push(if stored { Fate::Stored } else { Fate::Rejected });
            returned.extend(confirmation.take_message().map(|message| Sent::of(&message)));
        }
        let mut error = None;
        for (sent, fate) in sent.iter().zip(&mut fates).filter(|_| !returned.is_empty()) {
            if returned.contains(sent) {
                // Somebody removed the queue under us: who tries again finds that out, and creates it.
                self.known().clear();
                *fate = Fate::Unroutable;
                let message = format!("RabbitMQ has no queue any more for what is sent to {}", sent.to);
                error = Some(refused(operation, message, "repeat the call"));
            }
        }
        if let Some((Sent { to, .. }, _)) = sent.iter().zip(&fates).find(|(_, fate)| **fate == Fate::Rejected)
        {
            let message = format!("RabbitMQ does not take what is sent to {to}");
            let advice = "see the server's log, and whether a policy bounds the queue";
            error = Some(refused(operation, message, advice));
            // A channel remembers that a queue took no more, and is not told when an operator lifts the bound.
            self.call_publishing(operation, channel.close(200, "rejected".into())).await?;
        } else {
            // Every confirm came, so the next call's are its own.
            self.publishers.idle().push(channel);
        }
        Ok(Published { fates, error })
    }

    /// Publishes on a channel that nobody else uses, and waits for all confirms.
    async fn publish_on(
        &self,
        operation: &'static str,
        channel: &Channel,
        messages: Vec<Outgoing>,
    ) -> Result<(Vec<Sent>, Vec<Confirmation>)> {
        let publish = async |Outgoing { to, body, properties, mandatory }: Outgoing| {
            let (exchange, key) = (to.exchange.clone(), to.key.clone());
            let sent = Sent { to, id: properties.message_id().clone() };
            let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
            let confirm = channel.basic_publish(exchange, key, options, &body, properties).await?;
            Ok((sent, confirm))
        };
        let count = messages.len();
        let (mut sent, mut confirms) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            let group = join_all(messages.by_ref().take(GROUP).map(&publish));
            let written = async { group.await.into_iter().collect::<lapin::Result<Vec<_>>>() };
            for (message, confirm) in self.call_publishing(operation, written).await? {
                sent.push(message);
                confirms.push(confirm);
            }
        }
        let mut confirmations = Vec::with_capacity(count);
        let mut confirms = confirms.into_iter().peekable();
        while confirms.peek().is_some() {
            let group = async {
                let mut confirmed = Vec::with_capacity(GROUP);
                for confirm in confirms.by_ref().take(GROUP) {
                    confirmed.push(confirm.await?);
                }
                Ok(confirmed)
            };
            confirmations.extend(self.call_publishing(operation, group).await?);
        }
        Ok((sent, confirmations))
    }

    /// Publishes to all sessions, and waits until it is in their inboxes.
    pub(super) async fn publish_news(&self, operation: &'static str, body: &[u8], kind: &str) -> Result<()> {
        let properties = BasicProperties::default().with_type(kind.into());
        let options = BasicPublishOptions::default();
        let (channel, _turn) = self.confirming(operation).await?;
        let publish = channel.basic_publish(self.names.news(), "".into(), options, body, properties);
        let confirm = self.call_publishing(operation, publish).await?;
        self.call_publishing(operation, confirm).await?;
        self.publishers.idle().push(channel);
        Ok(())
    }

    /// A channel for this call alone, which gives it back when every confirm came; and its turn, until then.
    async fn confirming(&self, operation: &'static str) -> Result<(Channel, SemaphorePermit<'_>)> {
        let turn = self.publishers.free.acquire().await.map_err(|_| error::lost(operation))?;
        let idle = self.publishers.idle().pop();
        if let Some(channel) = idle {
            return Ok((channel, turn));
        }
        let channel = self.call_publishing(operation, self.to_publish.create_channel()).await?;
        self.call_publishing(operation, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok((channel, turn))
    }
}

fn refused(operation: &'static str, message: String, advice: &str) -> Error {
    Error::new(ErrorKind::Unavailable, operation, message).advise(advice)
}
