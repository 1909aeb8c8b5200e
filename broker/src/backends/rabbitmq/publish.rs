//! Publishing what must not be lost: every message is confirmed before anybody relies on it.

use std::fmt;

use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};

use super::live::Live;
use crate::{Error, ErrorKind, Result};

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

/// What became of the messages of a call.
#[derive(Debug)]
pub(super) struct Published {
    /// Which are stored.
    pub(super) stored: Vec<bool>,
    /// Why not all are.
    pub(super) error: Option<Error>,
}

impl Live {
    /// Publishes, and waits until all are stored.
    pub(super) async fn publish(&self, operation: &'static str, messages: Vec<Outgoing>) -> Result<()> {
        let Published { error, .. } = self.publish_each(operation, messages).await?;
        error.map_or(Ok(()), Err)
    }

    /// Publishes, and tells which messages are stored.
    ///
    /// # Errors
    /// When nothing can be said about any of them.
    pub(super) async fn publish_each(
        &self,
        operation: &'static str,
        messages: Vec<Outgoing>,
    ) -> Result<Published> {
        let mut stored = Vec::with_capacity(messages.len());
        let mut error = None;
        if messages.is_empty() {
            return Ok(Published { stored, error });
        }
        let mut kept = self.publisher.lock().await;
        let channel = self.confirming(operation, kept.take()).await?;
        let mut confirms = Vec::with_capacity(messages.len());
        for Outgoing { to, body, properties, mandatory } in messages {
            let (exchange, key) = (to.exchange.clone(), to.key.clone());
            let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
            let publish = channel.basic_publish(exchange, key, options, &body, properties);
            confirms.push((to, self.call_publishing(operation, publish).await?));
        }
        let (mut returned, mut rejected) = (false, false);
        for (to, confirm) in confirms {
            let confirmation = self.call_publishing(operation, confirm).await?;
            stored.push(matches!(confirmation, Confirmation::Ack(None)));
            match confirmation {
                Confirmation::Ack(None) => {}
                Confirmation::Ack(Some(message)) => {
                    // Somebody removed the queue under us: who tries again finds that out, and creates it. Which of the
                    // messages came back is not certain, so none of them is called stored.
                    returned = true;
                    self.known().clear();
                    let (exchange, key) = (&message.delivery.exchange, &message.delivery.routing_key);
                    let missing = To::exchange(exchange.clone(), key.clone());
                    error = Some(refused(
                        operation,
                        format!("RabbitMQ has no queue any more for what is sent to {missing}"),
                        "repeat the call",
                    ));
                }
                _ => {
                    rejected = true;
                    let message = format!("RabbitMQ does not take what is sent to {to}");
                    let advice = "see the server's log, and whether a policy bounds the queue";
                    error = Some(refused(operation, message, advice));
                }
            }
        }
        if returned {
            stored.fill(false);
        }
        if rejected {
            // A channel remembers that a queue took no more, and is not told when an operator lifts the bound.
            self.call_publishing(operation, channel.close(200, "rejected".into())).await?;
        } else {
            // Every confirm came, so the next call's are its own.
            *kept = Some(channel);
        }
        Ok(Published { stored, error })
    }

    /// Publishes to all sessions, and waits until it is in their inboxes.
    pub(super) async fn publish_news(&self, operation: &'static str, body: &[u8], kind: &str) -> Result<()> {
        let properties = BasicProperties::default().with_type(kind.into());
        let options = BasicPublishOptions::default();
        let mut kept = self.publisher.lock().await;
        let channel = self.confirming(operation, kept.take()).await?;
        let publish = channel.basic_publish(self.names.news(), "".into(), options, body, properties);
        let confirm = self.call_publishing(operation, publish).await?;
        self.call_publishing(operation, confirm).await?;
        *kept = Some(channel);
        Ok(())
    }

    /// The channel that was kept, or a new one.
    async fn confirming(&self, operation: &'static str, kept: Option<Channel>) -> Result<Channel> {
        if let Some(channel) = kept {
            return Ok(channel);
        }
        let channel = self.call_publishing(operation, self.to_publish.create_channel()).await?;
        self.call_publishing(operation, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    }
}

fn refused(operation: &'static str, message: String, advice: &str) -> Error {
    Error::new(ErrorKind::Unavailable, operation, message).advise(advice)
}
