//! One call after the other: what is sent, held back by a full queue, by a rate, and stopped by a signal.

use std::{io, pin::Pin, sync::Arc, time::Duration};

use manyhands_broker::{Broker, Enqueued, Error, ErrorKind, Interest, NewTask, Result};
use tokio::{sync::mpsc, time::Instant};

use super::{
    pace::{Pace, Rate},
    progress::Progress,
    reading::Chunk,
    rejected::Rejected,
    source::Batch,
    tally::Tally,
};
use crate::{
    Client,
    entry::{signals::Signals, target::Target},
};

/// How long a hint of room is waited for before the broker is asked again.
const POLL: Duration = Duration::from_millis(500);

/// How a feed ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All lines were read.
    Done,
    /// A bad line ended it, as was asked for.
    Stopped { line: u64, reason: String },
    /// A signal did.
    Interrupted,
}

/// Sends what was read.
pub(super) struct Sender {
    client: Client,
    target: Target,
    batch: Option<Batch>,
    pace: Pace,
    rejected: Rejected,
    progress: Progress,
    tally: Tally,
    began: Instant,
    signals: Signals,
    /// Whether it was said that the queue is full.
    said_full: bool,
}

impl Sender {
    pub(super) fn new(
        broker: Arc<dyn Broker>,
        target: Target,
        batch: Option<Batch>,
        rate: Option<Rate>,
        rejected: Rejected,
        progress: Progress,
    ) -> Result<Self> {
        Ok(Self {
            client: Client::new(broker),
            target,
            batch,
            pace: Pace::new(rate),
            rejected,
            progress,
            tally: Tally::default(),
            began: Instant::now(),
            signals: Signals::listen("feed")?,
            said_full: false,
        })
    }

    /// Sends all chunks, until the last or a signal.
    pub(super) async fn run(
        &mut self,
        mut chunks: mpsc::Receiver<io::Result<Chunk>>,
        strict: bool,
    ) -> Result<End> {
        loop {
            let chunk = tokio::select! {
                biased;
                () = self.signals.clone().came() => return Ok(End::Interrupted),
                chunk = chunks.recv() => match chunk {
                    Some(chunk) => chunk,
                    None => return Ok(End::Done),
                },
            };
            let chunk = chunk.map_err(|e| {
                Error::new(ErrorKind::Internal, "feed", "the lines cannot be read").because(e)
            })?;
            let stop = chunk.bad.first().filter(|_| strict).map(|(line, bad)| (*line, bad.reason.clone()));
            self.rejected.add(&chunk.bad)?;
            self.tally.rejected = self.rejected.count;
            let task = |(line, payload)| {
                let task = self.target.task(payload);
                match self.batch {
                    Some(batch) => task.with_id(batch.id(line)),
                    None => task,
                }
            };
            let tasks: Vec<_> = chunk.good.into_iter().map(task).collect();
            let mut rest = tasks.as_slice();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(self.pace.at_once()));
                if !self.send(now.to_vec()).await? {
                    return Ok(End::Interrupted);
                }
                rest = later;
            }
            self.progress.show(chunk.position, &self.tally);
            if let Some((line, reason)) = stop {
                return Ok(End::Stopped { line, reason });
            }
        }
    }

    /// Sends tasks, in their order, and waits for room as long as that takes; false if a signal came.
    async fn send(&mut self, mut tasks: Vec<NewTask>) -> Result<bool> {
        tokio::select! {
            biased;
            () = self.signals.clone().came() => return Ok(false),
            () = self.pace.ready() => {}
        }
        loop {
            // Before the call, so that room that comes after its answer is not missed.
            let changed =
                self.client.broker().wait_for(Interest::Settled, std::slice::from_ref(&self.target.queue));
            // To its end: what becomes of a call that nobody hears is not known. It is bounded by the client's patience.
            let answers = self.client.send_all(&tasks).await?;
            let mut sent = 0;
            let mut full = Vec::new();
            for (task, answer) in tasks.into_iter().zip(answers) {
                match answer {
                    Enqueued::Enqueued => sent += 1,
                    Enqueued::Exists | Enqueued::Duplicate(_) => self.tally.already_there += 1,
                    Enqueued::Full => full.push(task),
                    Enqueued::Closed => {
                        let queue = &self.target.queue;
                        let message =
                            format!("queue \"{queue}\" is closed: somebody said that no more will come");
                        return Err(
                            Error::new(ErrorKind::Closed, "feed", message).advise("use another queue")
                        );
                    }
                }
            }
            self.tally.sent += sent;
            self.pace.sent(sent);
            if full.is_empty() {
                return Ok(true);
            }
            tasks = full;
            if !self.room(changed).await {
                return Ok(false);
            }
        }
    }

    /// Waits until there may be room; false if a signal came.
    async fn room(&mut self, changed: Pin<Box<dyn Future<Output = ()> + Send>>) -> bool {
        if !std::mem::replace(&mut self.said_full, true) {
            let queue = &self.target.queue;
            self.progress.say(&format!("note: queue \"{queue}\" is full; waiting for room"));
        }
        tokio::select! {
            biased;
            () = self.signals.clone().came() => false,
            () = changed => true,
            () = tokio::time::sleep(POLL) => true,
        }
    }

    /// Ends the display; what it came to.
    pub(super) fn finish(self) -> (Tally, Rejected) {
        self.progress.clear();
        let tally = Tally { took: self.began.elapsed(), ..self.tally };
        (tally, self.rejected)
    }
}
