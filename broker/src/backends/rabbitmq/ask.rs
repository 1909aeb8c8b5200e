//! Who holds how many tasks: nobody stores that, so the live sessions are asked.
//!
//! Whoever may hold tasks of a queue is a consumer of its queue of holders: the server counts them, so it is known how many
//! answers must come; one that does not come in time counts as a task that is held. So does a consumer of the tasks
//! themselves that nobody answers for: the server forgets that one in the very step in which it takes back what it held.

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
use crate::{Error, Incarnation, QueueName, Result};

/// How long answers are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it may take until it is certain what is held.
const PASSING: Duration = Duration::from_secs(1);

/// The time between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// How long the server may take to hand a task on from one waiting line to the next, or to its queue: it is in neither then. It
/// rests in each for a second at least, so it is not missed twice. Measured: 10 ms on an idle server.
const HANDED_ON: Duration = Duration::from_millis(100);

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
    pub(super) incarnation: Incarnation,
    pub(super) connection: u64,
    /// Tasks that are here and not settled.
    pub(super) held: u64,
    /// Tasks that were handed back a moment ago.
    pub(super) returning: u64,
    /// How many consumers of the queue's tasks are of this session.
    pub(super) consumers: u64,
    /// Tasks that were put off by this session and may not be seen anywhere at this moment.
    pub(super) scheduled: u64,
    /// Counts the tasks that ever came here.
    pub(super) received: u64,
}

/// Whose answers are waited for.
#[derive(Clone, Copy, Debug)]
struct Expected {
    /// How many sessions may hold tasks, if the server can say.
    holders: Option<u64>,
    /// How many consumers of the tasks there are.
    consumers: u64,
}

impl Expected {
    /// How long more answers are waited for; none when all have come.
    fn until(self, heard: &BTreeMap<(Incarnation, u64), Answer>) -> Option<Duration> {
        match self.holders {
            Some(holders) => ((heard.len() as u64) < holders).then_some(PATIENCE),
            None if heard.values().map(|answer| answer.consumers).sum::<u64>() < self.consumers => {
                Some(PATIENCE)
            }
            // Who consumes nothing may have put tasks off.
            None => Some(HANDED_ON),
        }
    }
}

/// How a queue stands, as far as it can be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holdings {
    pub(super) ready: u64,
    pub(super) held: u64,
    /// What may be held, or have gone already: it is known a moment later.
    passing: u64,
    pub(super) scheduled: u64,
    /// Differs if any task came to any session in between.
    pub(super) mark: u64,
}

impl Live {
    /// How many tasks of a queue there are, and where. Nothing is missed but what went from one place to another meanwhile.
    pub(super) async fn ask(
        self: &Arc<Self>,
        operation: &'static str,
        queue: &QueueName,
    ) -> Result<Holdings> {
        let mut scheduled = 0;
        if let Some(entry) = self.entry(queue) {
            let old = entry.levels.iter().map(|level| self.names.old_line(queue, *level));
            // In the order in which tasks go through them: one that is handed on meanwhile is counted twice at worst.
            let lines = entry.steps.iter().rev().map(|level| self.names.line(queue, *level));
            for line in old.chain(lines) {
                scheduled += self.depth(operation, &line).await?.ready;
            }
        }
        let depth = self.depth_of_work(operation, queue).await?;
        let holders = self.holders(operation, queue).await?;
        let answers = match holders {
            Some(0) => BTreeMap::new(),
            holders => {
                let all = Expected { holders, consumers: depth.consumers };
                self.question(operation, queue, all).await?
            }
        };
        // Somebody may have come, or have been replaced, while they were asked.
        let holders = holders.max(self.holders(operation, queue).await?).unwrap_or_default();
        let sum = |of: fn(&Answer) -> u64| answers.values().map(of).sum::<u64>();
        let silent = holders.saturating_sub(answers.len() as u64);
        let unknown = depth.consumers.saturating_sub(sum(|answer| answer.consumers));
        let mut mark = DefaultHasher::new();
        answers.values().filter(|answer| answer.received > 0).for_each(|answer| {
            (answer.incarnation, answer.connection, answer.received).hash(&mut mark);
        });
        Ok(Holdings {
            ready: depth.ready,
            held: sum(|answer| answer.held) + silent,
            passing: sum(|answer| answer.returning) + unknown.saturating_sub(silent),
            scheduled: scheduled.max(sum(|answer| answer.scheduled)),
            mark: mark.finish(),
        })
    }

    /// The same, asked until it is certain: what is passing has passed, or is held; and where it says that there is nothing,
    /// nothing can have been on its way while it was asked.
    pub(super) async fn holdings(
        self: &Arc<Self>,
        operation: &'static str,
        queue: &QueueName,
    ) -> Result<Holdings> {
        let end = Instant::now() + PASSING;
        let mut last = self.ask(operation, queue).await?;
        loop {
            let nothing = last.ready + last.held + last.scheduled + last.passing == 0;
            if !nothing && (last.passing == 0 || Instant::now() > end) {
                last.held += last.passing;
                return Ok(last);
            }
            if last.passing > 0 {
                tokio::time::sleep(PAUSE).await;
            } else if self.entry(queue).is_some_and(|entry| !entry.steps.is_empty()) {
                tokio::time::sleep(HANDED_ON).await;
            }
            let again = self.ask(operation, queue).await?;
            if nothing && again == last {
                return Ok(last);
            }
            last = again;
        }
    }

    async fn question(
        &self,
        operation: &'static str,
        queue: &QueueName,
        all: Expected,
    ) -> Result<BTreeMap<(Incarnation, u64), Answer>> {
        let id = Uuid::new_v4();
        let (asked, mut answers) = mpsc::unbounded_channel();
        self.asks().insert(id.to_string(), asked);
        let heard = self.hear(operation, queue, id, all, &mut answers).await;
        self.asks().remove(&id.to_string());
        heard
    }

    async fn hear(
        &self,
        operation: &'static str,
        queue: &QueueName,
        id: Uuid,
        all: Expected,
        answers: &mut mpsc::UnboundedReceiver<Answer>,
    ) -> Result<BTreeMap<(Incarnation, u64), Answer>> {
        let question = Question { id, queue: queue.clone(), reply_to: self.inbox.as_str().to_owned() };
        let body = serde_json::to_vec(&question).map_err(|e| super::error::internal(operation, e))?;
        self.publish_news(operation, &body, QUESTION).await?;
        let mut heard = BTreeMap::new();
        let asked = Instant::now();
        while let Some(until) = all.until(&heard) {
            let left = until.saturating_sub(asked.elapsed());
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
        if !self.intake().line(&queue).holder {
            return;
        }
        // What left the queue before the question was asked is here after this.
        let all = async {
            // A look at one that is missing would be the end of the channel.
            self.ensure_queue("answer", &queue).await?;
            for class in self.classes(&queue) {
                for lane in self.lanes.all() {
                    self.barrier("answer", &lane.channel, &self.names.work(&queue, class)).await?;
                }
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = all.await {
            tracing::debug!(error = %error.report(), "a question was not answered");
            return;
        }
        self.drain(&queue);
        let answer = self.intake().answer(&queue, self.incarnation, self.number);
        let Ok(body) = serde_json::to_vec(&answer) else { return };
        let properties =
            BasicProperties::default().with_type(ANSWER.into()).with_correlation_id(id.to_string().into());
        let options = BasicPublishOptions::default();
        let publish = self.talk.basic_publish("".into(), reply_to.into(), options, &body, properties);
        if let Err(error) = self.call_publishing("answer", publish).await {
            tracing::debug!(error = %error.report(), "a question was not answered");
        }
    }
}
