//! Who may hold tasks of a queue: each such session is a consumer of an empty queue beside it, so that the server counts them.
//!
//! It is a classic queue, which is on one node of a cluster: a quorum queue would know of consumers no better while its leader changes, and a single
//! node that is killed soon after it was made would not find a leader for it again. While its node is down, nobody is
//! counted: all are asked, and the consumers of the tasks themselves say how many must answer.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use lapin::{Channel, Consumer, Queue, options::BasicConsumeOptions, types::FieldTable};
use tokio::task::JoinHandle;

use super::{
    difference::Shape,
    error::{self, Doing},
    live::Live,
    plan::Planned,
};
use crate::{Error, ErrorKind, QueueName, Result};

/// How often it is tried again to be counted.
const AGAIN: Duration = Duration::from_secs(5);

/// The queues whose tasks this session may hold without being counted.
#[derive(Default)]
pub(super) struct Uncounted(Mutex<(HashSet<QueueName>, Option<Instant>)>);

/// How the server is asked how many are counted.
#[derive(Default)]
pub(super) struct Counting {
    /// The channel for it, unless the last call closed it, or waits on it still.
    channel: Option<Channel>,
    /// The calls that were not answered in time, each on a channel of its own. From 4.0 on, a node does not say that a queue's is down: it answers when that one
    /// is back, and nothing else on this channel before.
    unanswered: HashMap<QueueName, JoinHandle<Told>>,
}

/// The channel, and what was answered on it.
type Told = (Channel, lapin::Result<Option<Queue>>);

impl Uncounted {
    fn note(&self, queue: &QueueName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.insert(queue.clone());
    }

    /// Takes them out, if it is time to try again.
    fn due(&self) -> HashSet<QueueName> {
        let (queues, tried) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.is_empty() || tried.is_some_and(|tried| tried.elapsed() < AGAIN) {
            return HashSet::new();
        }
        *tried = Some(Instant::now());
        std::mem::take(queues)
    }
}

impl Live {
    /// How many sessions may hold tasks of a queue; none where nobody can say, as the node that counts them is down.
    pub(super) async fn holders(&self, operation: &'static str, queue: &QueueName) -> Result<Option<u64>> {
        let mut counting = self.counting.lock().await;
        if counting.unanswered.get(queue).is_some_and(|asked| !asked.is_finished()) {
            return Ok(None);
        }
        counting.unanswered.remove(queue);
        let channel = match counting.channel.take() {
            Some(channel) => channel,
            None => self.call(operation, self.to_consume.create_channel()).await?,
        };
        let planned = Planned::holders(&self.names, queue);
        let mut asked = tokio::spawn(async move {
            let told = planned.declare(&channel, Shape::PLANNED).await;
            (channel, told)
        });
        // As long as any answer may take: who is not counted only because the server is slow would be missed by those who are.
        let Some(told) = self.try_within(operation, &mut asked).await? else {
            tracing::debug!(%queue, "the node of RabbitMQ that counts who holds tasks does not answer");
            counting.unanswered.insert(queue.clone(), asked);
            return Ok(None);
        };
        let (channel, told) = told.map_err(|e| {
            Error::new(ErrorKind::Internal, operation, "the connections' thread ended").because(e)
        })?;
        match told {
            Ok(holders) => {
                counting.channel = Some(channel);
                Ok(Some(holders.map_or(0, |holders| holders.consumer_count().into())))
            }
            Err(e) if error::code(&e) == 404 && error::is_down(&e) => Ok(None),
            Err(e) => {
                self.end();
                Err(error::refused(operation, Doing::Declaring, &e))
            }
        }
    }

    /// Makes this session one that may hold tasks of a queue, for as long as it lasts.
    pub(super) async fn become_holder(
        self: &Arc<Self>,
        operation: &'static str,
        queue: &QueueName,
    ) -> Result<()> {
        if self.intake().line(queue).holder {
            return Ok(());
        }
        self.be_counted(operation, queue).await?;
        self.intake().line(queue).holder = true;
        Ok(())
    }

    /// Tries again to be counted where the node was down that counts.
    pub(super) async fn be_counted_again(self: &Arc<Self>) -> Result<()> {
        for queue in self.uncounted.due() {
            self.be_counted("probe", &queue).await?;
        }
        Ok(())
    }

    async fn be_counted(self: &Arc<Self>, operation: &'static str, queue: &QueueName) -> Result<()> {
        if self.holders(operation, queue).await?.is_none() {
            self.uncounted.note(queue);
            return Ok(());
        }
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let name = self.names.holders(queue);
        let consume = self.control.basic_consume(name, "".into(), options, FieldTable::default());
        let holder = self.call(operation, consume).await?;
        tokio::spawn(until_uncounted(holder, Arc::downgrade(self), queue.clone()));
        Ok(())
    }
}

/// Nothing comes; but where the queue is removed, or its node is gone, this session is not counted any more.
async fn until_uncounted(mut holder: Consumer, live: Weak<Live>, queue: QueueName) {
    while let Some(Ok(_)) = holder.next().await {}
    if let Some(live) = live.upgrade() {
        live.uncounted.note(&queue);
    }
}
