//! What workers tell of themselves: nobody stores it. Each session keeps its own, and tells it to who asks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use lapin::{BasicProperties, options::BasicPublishOptions};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    RabbitMqBroker, error,
    live::Live,
    news::{ROLL_CALL, WORKER},
};
use crate::{
    Incarnation, LiveWorker, Request, Result, WorkerReport, Workers, clock::millis, limits, workers::page,
};

/// How long answers are waited for: nobody knows how many will come.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is asked of all sessions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RollCall {
    id: Uuid,
    /// The inbox for the answers.
    reply_to: String,
    /// The worker that is to drain, and alone is asked; otherwise all are.
    drain: Option<Incarnation>,
}

/// What a worker answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Answer {
    incarnation: Incarnation,
    heard_ms: u64,
    asked_to_drain: bool,
    report: WorkerReport,
}

/// What this session knows of its own worker, and hears of others.
#[derive(Default)]
pub(super) struct Presence(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// What its worker told last, and when.
    told: Option<(WorkerReport, Instant)>,
    /// Somebody asked it to drain.
    drain: bool,
    /// Who waits here for answers.
    asking: HashMap<String, mpsc::UnboundedSender<LiveWorker>>,
}

#[async_trait]
impl Workers for RabbitMqBroker {
    async fn report(&self, report: &WorkerReport) -> Result<Request> {
        self.link.presence.known().told = Some((report.clone(), Instant::now()));
        // Without a connection it cannot be asked.
        self.on_thread("report", |link| async move { link.live("report").await.map(drop) }).await?;
        Ok(if self.link.presence.known().drain { Request::Drain } else { Request::Nothing })
    }

    async fn leave(&self) -> Result<()> {
        let mut known = self.link.presence.known();
        (known.told, known.drain) = (None, false);
        Ok(())
    }

    async fn live(&self, after: Option<Incarnation>, max: usize) -> Result<Vec<LiveWorker>> {
        let all = self.on_thread("live", |link| async move {
            link.live("live").await?.call_the_roll("live", None).await
        });
        Ok(page(all.await?, after, max))
    }

    async fn drain(&self, worker: Incarnation) -> Result<bool> {
        let answers = self.on_thread("drain", move |link| async move {
            link.live("drain").await?.call_the_roll("drain", Some(worker)).await
        });
        Ok(!answers.await?.is_empty())
    }
}

impl Presence {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// Asks for workers, and hears those that answer in time. Of one that is to drain, its answer is enough.
    async fn call_the_roll(
        &self,
        operation: &'static str,
        drain: Option<Incarnation>,
    ) -> Result<Vec<LiveWorker>> {
        let id = Uuid::new_v4();
        let (asking, mut answers) = mpsc::unbounded_channel();
        self.presence.known().asking.insert(id.to_string(), asking);
        let heard = async {
            let call = RollCall { id, reply_to: self.inbox.as_str().to_owned(), drain };
            let body = serde_json::to_vec(&call).map_err(|e| error::internal(operation, e))?;
            self.publish_news(operation, &body, ROLL_CALL).await?;
            let (mut heard, asked) = (Vec::new(), Instant::now());
            while let Ok(Some(worker)) =
                tokio::time::timeout(PATIENCE.saturating_sub(asked.elapsed()), answers.recv()).await
            {
                heard.push(worker);
                if drain.is_some() {
                    break;
                }
            }
            Ok(heard)
        };
        let heard = heard.await;
        self.presence.known().asking.remove(&id.to_string());
        heard
    }

    /// Answers, if this session has a worker that is meant.
    pub(super) async fn answer_roll_call(self: Arc<Self>, call: RollCall) {
        let RollCall { id, reply_to, drain } = call;
        if drain.is_some_and(|worker| worker != self.incarnation) {
            return;
        }
        let answer = {
            let mut known = self.presence.known();
            let Some((report, at)) = known.told.clone() else { return };
            known.drain |= drain.is_some();
            Answer {
                incarnation: self.incarnation,
                heard_ms: millis(at.elapsed()),
                asked_to_drain: known.drain,
                report,
            }
        };
        // One that tells nothing more is as good as not there, and is not listed.
        if at_most_silent(&answer).is_none() {
            return;
        }
        let Ok(body) = serde_json::to_vec(&answer) else { return };
        let properties =
            BasicProperties::default().with_type(WORKER.into()).with_correlation_id(id.to_string().into());
        let options = BasicPublishOptions::default();
        let publish = self.talk.basic_publish("".into(), reply_to.into(), options, &body, properties);
        if let Err(error) = self.call_publishing("answer", publish).await {
            tracing::debug!(error = %error.report(), "a roll call was not answered");
        }
    }

    /// Reads what a worker answered.
    pub(super) fn read_worker(&self, to: &str, body: &[u8]) {
        let Ok(answer) = serde_json::from_slice::<Answer>(body) else { return };
        if let (Some(asking), Some(worker)) = (self.presence.known().asking.get(to), at_most_silent(&answer))
        {
            // Who asked may have stopped listening.
            let _ = asking.send(worker);
        }
    }
}

/// The worker that answered, unless it is silent.
fn at_most_silent(answer: &Answer) -> Option<LiveWorker> {
    let heard = Duration::from_millis(answer.heard_ms);
    let live = || LiveWorker::new(answer.incarnation, heard, answer.asked_to_drain, answer.report.clone());
    (heard <= limits::WORKER_SILENT).then(live)
}
