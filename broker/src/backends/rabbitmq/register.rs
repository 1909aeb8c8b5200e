//! The register: where the directory is kept. A quorum queue that holds one message.
//!
//! Who takes the message holds the only copy until it puts one back, so changes come one after the other; who dies while it
//! holds it loses the connection, and the server puts it back. A death between putting a new one and dropping the old
//! leaves both: whoever takes them next merges them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lapin::{
    Channel,
    options::{BasicAckOptions, BasicGetOptions, BasicNackOptions},
    types::ShortString,
};

use super::{
    directory::{Change, Directory, FORMAT, Unreadable},
    error,
    live::Live,
    message::{number, persistent},
    plan::Planned,
    publish::{Outgoing, To},
};
use crate::{Error, ErrorKind, Result};

/// How long others may hold the message: they do for the time of a publish.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a register may be empty before somebody must have died between creating and filling it.
const UNFILLED: Duration = Duration::from_secs(2);

/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// How often the message is put back as it is; then a fresh copy is, as the server counts.
const WORN: i64 = 1000;

/// What was taken out of the register.
struct Taken {
    directory: Directory,
    tags: Vec<u64>,
    /// There were several, or the one was put back often: a fresh one should be.
    worn: bool,
    /// It says more than what was taken.
    changed: bool,
}

impl Live {
    /// Finds or begins the directory, and reads it.
    pub(super) async fn open_directory(self: &Arc<Self>, operation: &'static str) -> Result<()> {
        let name = self.names.directory();
        let channel = self.register.lock().await;
        if self.ensure(operation, &Planned::directory(&self.names)).await? {
            self.fill(operation, &name, &Directory::default()).await?;
        }
        let taken = self.take(operation, &channel, &name).await?;
        self.learn(&taken.directory);
        if taken.changed {
            // It was an older version's, and those may be there. They are told first: who dies in between leaves it as it was, and the
            // next one tells them again.
            self.announce_directory(operation, &taken.directory).await?;
        }
        self.put_back(operation, &channel, &name, taken).await
    }

    /// Changes the directory, and waits until everybody can know.
    pub(super) async fn tell(self: &Arc<Self>, operation: &'static str, change: &Change) -> Result<()> {
        let name = self.names.directory();
        let channel = self.register.lock().await;
        let mut taken = self.take(operation, &channel, &name).await?;
        let mut directory = taken.directory.clone();
        // What is known here was said once, even if a death put an older copy back.
        directory.merge(&self.directory());
        directory.apply(change);
        taken.changed |= directory != taken.directory;
        taken.directory = directory.clone();
        self.put_back(operation, &channel, &name, taken).await?;
        drop(channel);
        self.learn(&directory);
        // Also what somebody else said, who may have died before it could announce it.
        self.announce_directory(operation, &directory).await
    }

    async fn announce_directory(&self, operation: &'static str, directory: &Directory) -> Result<()> {
        let body = directory.to_json().map_err(|e| error::internal(operation, e))?;
        self.announce(operation, &body).await
    }

    /// Takes over what was read.
    pub(super) fn learn(&self, directory: &Directory) {
        self.with_directory(|ours| ours.merge(directory));
        self.waiters.wake_all();
    }

    /// Takes what is in the register; waits while somebody else has it.
    async fn take(&self, operation: &'static str, channel: &Channel, name: &ShortString) -> Result<Taken> {
        let began = Instant::now();
        let mut filled = false;
        loop {
            let mut taken =
                Taken { directory: Directory::default(), tags: Vec::new(), worn: false, changed: false };
            while let Some(message) =
                self.call(operation, channel.basic_get(name.clone(), BasicGetOptions::default())).await?
            {
                let headers = message.delivery.properties.headers().clone().unwrap_or_default();
                taken.worn |= !taken.tags.is_empty()
                    || number(&headers, "x-delivery-count").is_some_and(|count| count >= WORN);
                taken.tags.push(message.delivery.delivery_tag);
                match Directory::read(&message.delivery.data) {
                    Ok(directory) => {
                        // Older versions must be kept out before there is what they would take for something else.
                        taken.changed |= directory.is_older();
                        taken.directory.merge(&directory);
                    }
                    Err(unreadable) => {
                        self.release(operation, channel, &taken.tags).await?;
                        return Err(said(operation, unreadable));
                    }
                }
            }
            if !taken.tags.is_empty() {
                return Ok(taken);
            }
            if began.elapsed() > PATIENCE {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    operation,
                    "another session holds the namespace's directory and does not give it back",
                )
                .advise("repeat the call; a session that hangs loses it when its heartbeats stop"));
            }
            if began.elapsed() > UNFILLED && !filled {
                // If that one lives after all, there are two, which are merged.
                self.fill(operation, name, &self.directory()).await?;
                filled = true;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn put_back(
        &self,
        operation: &'static str,
        channel: &Channel,
        name: &ShortString,
        taken: Taken,
    ) -> Result<()> {
        let Taken { directory, tags, worn, changed } = taken;
        if !worn && !changed {
            return self.release(operation, channel, &tags).await;
        }
        if let Err(error) = self.fill(operation, name, &directory).await {
            self.release(operation, channel, &tags).await?;
            // While the server takes nothing, the old one will do, unless it is to say something new.
            return if changed { Err(error) } else { Ok(()) };
        }
        for tag in tags {
            self.call(operation, channel.basic_ack(tag, BasicAckOptions::default())).await?;
        }
        Ok(())
    }

    async fn release(&self, operation: &'static str, channel: &Channel, tags: &[u64]) -> Result<()> {
        let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        for tag in tags {
            self.call(operation, channel.basic_nack(*tag, requeue)).await?;
        }
        Ok(())
    }

    async fn fill(&self, operation: &'static str, name: &ShortString, directory: &Directory) -> Result<()> {
        let body = directory.to_json().map_err(|e| error::internal(operation, e))?;
        let began = Instant::now();
        loop {
            let message = Outgoing::new(To::queue(name.clone()), body.clone(), persistent());
            match self.publish_each(operation, vec![message]).await?.error {
                None => return Ok(()),
                Some(error) if began.elapsed() > UNFILLED => return Err(error),
                // A register that several sessions begin at the same moment takes nothing for a moment. If this one is stored
                // all the same, there are two, which are merged.
                Some(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// The error for what cannot be read.
pub(super) fn said(operation: &'static str, unreadable: Unreadable) -> Error {
    match unreadable {
        Unreadable::Newer(newer) => {
            let message =
                format!("the namespace needs a version that knows format {newer}; this one knows {FORMAT}");
            Error::new(ErrorKind::Incompatible, operation, message).advise("upgrade this program")
        }
        Unreadable::Foreign => {
            Error::new(ErrorKind::Corrupt, operation, "the namespace's directory is not ours")
                .advise("use another namespace: ?namespace=NAME")
        }
    }
}
