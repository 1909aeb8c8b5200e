//! Who holds how many tasks: nobody stores that, so the live sessions are asked.
//!
//! Whoever may hold tasks of a queue is a consumer of its queue of holders, on the same channel as the deliveries: the server
//! counts them, and forgets one in the moment in which it takes back what that one held. So it is known how many answers
//! must come; one that does not come in time counts as a task that is held.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use lapin::{BasicProperties, options::BasicPublishOptions};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    live::Live,
    news::{ANSWER, QUESTION},
};
use crate::{ErrorKind, Incarnation, QueueName, Result};

/// How long answers are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Question {
    id: Uuid,
    queue: QueueName,
    /// The inbox for the answers.
    reply_to: String,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    incarnation: Incarnation,
    connection: u64,
    /// Tasks that are here and not settled.
    held: u64,
    /// Tasks that were put off by this session and may not be seen anywhere at this moment.
    scheduled: u64,
    /// Counts the tasks that ever came here.
    received: u64,
}

/// What all answers come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holdings {
    pub(super) held: u64,
    pub(super) scheduled: u64,
    /// Differs if any task came to any session in between.
    pub(super) mark: u64,
}

impl Live {
    /// Asks everybody who may hold tasks of a queue.
    pub(super) async fn ask(
        self: &Arc<Self>,
        operation: &'static str,
        queue: &QueueName,
    ) -> Result<Holdings> {
        let holders = self.holders(operation, queue).await?;
        if holders == 0 {
            return Ok(Holdings::default());
        }
        let id = Uuid::new_v4();
        let (asked, mut answers) = mpsc::unbounded_channel();
        self.asks().insert(id.to_string(), asked);
        let heard = self.hear(operation, queue, id, holders, &mut answers).await;
        self.asks().remove(&id.to_string());
        let answers = heard?;
        let silent = holders.saturating_sub(answers.len() as u64);
        let mut mark = DefaultHasher::new();
        answers.values().filter(|answer| answer.received > 0).for_each(|answer| {
            (answer.incarnation, answer.connection, answer.received).hash(&mut mark);
        });
        Ok(Holdings {
            held: answers.values().map(|answer| answer.held).sum::<u64>() + silent,
            scheduled: answers.values().map(|answer| answer.scheduled).sum(),
            mark: mark.finish(),
        })
    }

    async fn hear(
        &self,
        operation: &'static str,
        queue: &QueueName,
        id: Uuid,
        holders: u64,
        answers: &mut mpsc::UnboundedReceiver<Answer>,
    ) -> Result<BTreeMap<(Incarnation, u64), Answer>> {
        let question = Question { id, queue: queue.clone(), reply_to: self.inbox.as_str().to_owned() };
        let body = serde_json::to_vec(&question).map_err(|e| super::error::internal(operation, e))?;
        self.publish_news(operation, &body, QUESTION).await?;
        let mut heard = BTreeMap::new();
        let until = Instant::now() + PATIENCE;
        while (heard.len() as u64) < holders {
            let left = until.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, answers.recv()).await {
                Ok(Some(answer)) => drop(heard.insert((answer.incarnation, answer.connection), answer)),
                Ok(None) => return Err(super::error::lost(operation)),
                Err(_) => break,
            }
        }
        Ok(heard)
    }

    /// Answers, if this session may hold tasks of the queue.
    pub(super) async fn answer(self: Arc<Self>, question: Question) {
        let Question { id, queue, reply_to } = question;
        if self.intake().line(&queue).holder.is_none() {
            return;
        }
        // What left the queue before the question was asked is here after this.
        match self.barrier("answer", &self.names.work(&queue)).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Unavailable => return,
            Err(error) => {
                tracing::warn!(error = %error.report(), "a question cannot be answered");
                return;
            }
        }
        self.drain(&queue);
        let answer = self.intake().answer(&queue, self.incarnation, self.number);
        let Ok(body) = serde_json::to_vec(&answer) else { return };
        let properties =
            BasicProperties::default().with_type(ANSWER.into()).with_correlation_id(id.to_string().into());
        let options = BasicPublishOptions::default();
        let publish = self.talk.basic_publish("".into(), reply_to.into(), options, &body, properties);
        if let Err(error) = self.call("answer", publish).await {
            tracing::debug!(error = %error.report(), "a question was not answered");
        }
    }
}

impl Answer {
    pub(super) fn new(
        incarnation: Incarnation,
        connection: u64,
        held: u64,
        scheduled: u64,
        received: u64,
    ) -> Self {
        Self { incarnation, connection, held, scheduled, received }
    }
}
