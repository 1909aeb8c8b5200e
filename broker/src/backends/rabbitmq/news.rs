//! What sessions tell each other. All of it may be lost but the announcements, which are confirmed.

use std::{
    collections::BTreeSet,
    sync::{Arc, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt};
use lapin::{BasicProperties, message::Delivery, options::BasicPublishOptions};
use serde::{Deserialize, Serialize};

use super::{ask::Question, directory::Directory, live::Live, workers::RollCall};
use crate::{Interest, QueueName, Result};

/// The kinds of what is told.
pub(super) const CHANGED: &str = "changed";
pub(super) const DIRECTORY: &str = "directory";
pub(super) const QUESTION: &str = "question";
pub(super) const ANSWER: &str = "answer";
pub(super) const OUTCOME: &str = "outcome";
pub(super) const ROLL_CALL: &str = "roll call";
pub(super) const WORKER: &str = "worker";

/// The least time between two times that a session tells of changes. Each goes to all sessions, so it must not be as often as there are
/// calls.
const PAUSE: Duration = Duration::from_millis(20);

/// What is told of changes: of which queues.
#[derive(Debug, Default, Serialize, Deserialize)]
struct News {
    /// Tasks may have become ready.
    ready: BTreeSet<QueueName>,
    /// Tasks may have been settled.
    settled: BTreeSet<QueueName>,
}

/// What is to be told to other sessions.
#[derive(Debug, Default)]
pub(super) struct Untold {
    news: News,
    /// Somebody is about to tell it.
    telling: bool,
    /// When something was told.
    last: Option<Instant>,
}

impl Live {
    /// Reads everything that is in the inbox.
    pub(super) fn read_inbox(self: &Arc<Self>) {
        let Some(mut letters) = self.letters.get().cloned() else { return };
        while let Some(next) = letters.next().now_or_never() {
            match next {
                Some(Ok(letter)) => self.read_letter(&letter),
                // The end is told once, to whoever reads it.
                _ => return self.end(),
            }
        }
    }

    /// Reads one letter. What cannot be read is from a newer version, which does not rely on it.
    pub(super) fn read_letter(self: &Arc<Self>, letter: &Delivery) {
        match letter.properties.kind().as_ref().map_or("", |kind| kind.as_str()) {
            CHANGED => self.read_changes(&letter.data),
            DIRECTORY => match Directory::read(&letter.data) {
                Ok(directory) => self.learn(&directory),
                Err(unreadable) => self.cannot_read(unreadable),
            },
            QUESTION => {
                if let Ok(question) = serde_json::from_slice::<Question>(&letter.data) {
                    tokio::spawn(Arc::clone(self).answer(question));
                }
            }
            ANSWER => {
                let to = letter.properties.correlation_id().as_ref().map_or("", |id| id.as_str());
                if let (Some(asked), Ok(answer)) = (self.asks().get(to), serde_json::from_slice(&letter.data))
                {
                    // Who asked may have stopped listening.
                    let _ = asked.send(answer);
                }
            }
            OUTCOME => self.read_outcome(letter),
            ROLL_CALL => {
                if let Ok(call) = serde_json::from_slice::<RollCall>(&letter.data) {
                    tokio::spawn(Arc::clone(self).answer_roll_call(call));
                }
            }
            WORKER => {
                let to = letter.properties.correlation_id().as_ref().map_or("", |id| id.as_str());
                self.read_worker(to, &letter.data);
            }
            _ => {}
        }
    }

    /// Tells all sessions what the directory says, and waits until they have it.
    pub(super) async fn announce(&self, operation: &'static str, directory: &[u8]) -> Result<()> {
        self.publish_news(operation, directory, DIRECTORY).await
    }

    /// Tells all sessions soon that there may be something for those who wait for this queue: at once, unless something was told a moment
    /// ago. It may be lost: they poll, too.
    pub(super) fn tell_later(self: &Arc<Self>, of: Interest, queue: &QueueName) {
        let mut untold = self.untold();
        let queues = if of == Interest::Ready { &mut untold.news.ready } else { &mut untold.news.settled };
        queues.insert(queue.clone());
        if !std::mem::replace(&mut untold.telling, true) {
            tokio::spawn(tell(Arc::downgrade(self)));
        }
    }

    fn untold(&self) -> MutexGuard<'_, Untold> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait for what is told.
    fn read_changes(&self, news: &[u8]) {
        let Ok(News { ready, settled }) = serde_json::from_slice(news) else {
            // Another version tells less.
            return self.waiters.wake_all();
        };
        // What would be sent here if it were free tells of itself.
        let is_sent = |queue: &QueueName| self.intake().is_sent(queue);
        ready.iter().filter(|queue| !is_sent(queue)).for_each(|q| self.waiters.wake(Interest::Ready, q));
        settled.iter().for_each(|queue| self.waiters.wake(Interest::Settled, queue));
    }
}

/// Tells what is untold, until there is nothing.
async fn tell(live: Weak<Live>) {
    while let Some(live) = live.upgrade() {
        let last = live.untold().last;
        if let Some(last) = last {
            tokio::time::sleep_until((last + PAUSE).into()).await;
        }
        let news = {
            let mut untold = live.untold();
            untold.last = Some(Instant::now());
            let news = std::mem::take(&mut untold.news);
            if news.ready.is_empty() && news.settled.is_empty() {
                untold.telling = false;
                return;
            }
            news
        };
        if live.is_blocked() {
            continue;
        }
        let properties = BasicProperties::default().with_type(CHANGED.into());
        // Names can always be written as JSON.
        let body = serde_json::to_vec(&news).unwrap_or_default();
        let options = BasicPublishOptions::default();
        let publish = live.talk.basic_publish(live.names.news(), "".into(), options, &body, properties);
        if let Err(error) = live.call_publishing("tell", publish).await {
            tracing::debug!(error = %error.report(), "nobody was told of a change");
        }
    }
}
