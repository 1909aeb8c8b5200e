//! How queues stand, asked of a broker.

use std::collections::BTreeMap;

use manyhands_broker::{Broker, QueueName, Result};

/// How queues stand at one instant; a queue that is missing has nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Each queue.
    pub queues: BTreeMap<QueueName, QueueSample>,
}

/// How one queue stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueSample {
    /// How many tasks can be claimed now; none while the queue is paused.
    pub ready: u64,
    /// How many tasks processes hold.
    pub leased: u64,
    /// The last sequence that was given; `None` where the broker counts none.
    pub sequence: Option<u64>,
}

impl Sample {
    /// Asks for each of the queues, one after the other.
    ///
    /// # Errors
    /// As [`Broker::status`].
    ///
    /// # Cancel safety
    /// Cancel safe: it only asks.
    pub async fn take(broker: &dyn Broker, queues: &[QueueName]) -> Result<Self> {
        let mut sample = Self::default();
        for queue in queues {
            let status = broker.status(queue).await?;
            let one = status.map_or_else(QueueSample::default, |status| QueueSample {
                // More workers would claim nothing more of it.
                ready: if status.paused { 0 } else { status.ready },
                leased: status.leased,
                sequence: status.sequence,
            });
            sample.queues.insert(queue.clone(), one);
        }
        Ok(sample)
    }
}
