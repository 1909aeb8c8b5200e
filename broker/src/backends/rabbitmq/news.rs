//! What sessions tell each other. All of it may be lost but the announcements, which are confirmed.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use lapin::{BasicProperties, message::Delivery, options::BasicPublishOptions};

use super::{ask::Question, directory::Directory, live::Live};
use crate::Result;

/// The kinds of what is told.
pub(super) const CHANGED: &str = "changed";
pub(super) const DIRECTORY: &str = "directory";
pub(super) const QUESTION: &str = "question";
pub(super) const ANSWER: &str = "answer";
pub(super) const OUTCOME: &str = "outcome";

impl Live {
    /// Reads everything that is in the inbox.
    pub(super) fn read_inbox(self: &Arc<Self>) {
        let Some(mut letters) = self.letters.get().cloned() else { return };
        // The end of the stream is noticed by the one who waits for letters.
        while let Some(Some(Ok(letter))) = letters.next().now_or_never() {
            self.read_letter(&letter);
        }
    }

    /// Reads one letter. What cannot be read is from a newer version, which does not rely on it.
    pub(super) fn read_letter(self: &Arc<Self>, letter: &Delivery) {
        match letter.properties.kind().as_ref().map_or("", |kind| kind.as_str()) {
            CHANGED => self.changed(),
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
            _ => {}
        }
    }

    /// Tells all sessions what the directory says, and waits until they have it.
    pub(super) async fn announce(&self, operation: &'static str, directory: &[u8]) -> Result<()> {
        self.publish_news(operation, directory, DIRECTORY).await
    }

    /// Tells all sessions that there may be something for those who wait. Lost if it cannot be sent: they poll, too.
    pub(super) async fn tell_changed(&self, operation: &'static str) {
        if self.is_blocked() {
            return;
        }
        let properties = BasicProperties::default().with_type(CHANGED.into());
        let options = BasicPublishOptions::default();
        let publish = self.talk.basic_publish(self.names.news(), "".into(), options, b"", properties);
        if let Err(error) = self.call_publishing(operation, publish).await {
            tracing::debug!(error = %error.report(), "nobody was told of a change");
        }
    }
}
