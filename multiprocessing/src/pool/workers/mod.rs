//! A pool whose functions are called by workers, here or on other hosts: each unit is a task on the pool's queue.
//!
//! One task sends, another one collects results; what is under way stands in [`UnderWay`]. No more is sent than keeps workers busy, so
//! that a caller that is killed leaves little behind: what it sent is done, and the results are forgotten after a minute.

mod collect;
mod lonely;
mod send;
mod under_way;

use std::{sync::Arc, time::Duration};

use manyhands_broker::{
    Broker, BrokerUrl, Error, QueueName, Result, TaskId, Wanted, capabilities::Control,
    capabilities::Results, connect, limits,
};
use tokio_util::sync::CancellationToken;

pub(super) use self::lonely::slots;
use self::under_way::UnderWay;
use super::{
    line::Line,
    unit::{Ended, Unit},
};
use crate::CallError;

/// For how long results are kept for a caller that does not fetch them.
const KEEP: Duration = Duration::from_secs(60);

/// What a pool over workers works with.
pub(super) struct Workers {
    broker: Arc<dyn Broker>,
    queue: QueueName,
    line: Arc<Line>,
    under_way: UnderWay,
    terms: Terms,
    killing: CancellationToken,
    /// The line has ended, and all that was sent.
    done: CancellationToken,
}

/// What is said of every task, and of waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) max_crashes: u32,
    pub(super) run_limit: Option<Duration>,
    /// How long a call waits for a broker that cannot be reached, and for a worker where there is none.
    pub(super) patience: Duration,
}

/// Opens a session, and looks how much its workers do at a time.
///
/// # Errors
/// What [`connect`] says.
pub(super) async fn open(url: BrokerUrl, queue: QueueName) -> Result<(Arc<dyn Broker>, usize)> {
    let broker = connect(&url).await?;
    broker.declare(&queue, None).await?;
    let slots = slots(&broker, &queue).await?;
    Ok((broker, slots))
}

impl Workers {
    pub(super) fn new(
        broker: Arc<dyn Broker>,
        queue: QueueName,
        line: Arc<Line>,
        terms: Terms,
        killing: CancellationToken,
    ) -> Arc<Self> {
        let (under_way, done) = (UnderWay::default(), CancellationToken::new());
        Arc::new(Self { broker, queue, line, under_way, terms, killing, done })
    }

    /// Works until the pool has ended.
    pub(super) async fn work(self: Arc<Self>) {
        // Neither is stopped from outside: each knows units that nobody else does.
        tokio::join!(self.send(), self.collect());
        self.abandon().await;
        self.line.hand_left();
    }

    /// What becomes of results of tasks.
    fn wanted(&self) -> Wanted {
        match self.broker.capabilities().results {
            Results::Kept => Wanted::Keep(KEEP),
            // They come to this session only.
            Results::ToSender => Wanted::Reply,
        }
    }

    /// Ends what is under way when the pool is terminated, and takes it from the queue.
    async fn abandon(&self) {
        let reason = self.line.over().unwrap_or(CallError::Terminated);
        let left = self.under_way.drain();
        let ids: Vec<_> = left.iter().map(|(id, _)| id.clone()).collect();
        for (_, unit) in left {
            self.line.end(unit, Ended::Failed(reason.clone()));
        }
        self.cancel(&ids).await;
    }

    /// Takes tasks from the queue, where the broker can.
    async fn cancel(&self, ids: &[TaskId]) {
        if self.broker.capabilities().control != Control::Full {
            return;
        }
        for ids in ids.chunks(limits::MAX_BATCH) {
            if let Err(error) = self.broker.cancel(&self.queue, ids).await {
                tracing::warn!(queue = %self.queue, error = %error.report(), "calls of a pool could not be cancelled: workers will do them for nobody");
                return;
            }
        }
    }

    /// Ends units for a reason that is not theirs, and all that would meet the same: what waits in the line would wait for as long in its
    /// turn.
    fn give_up(&self, units: impl IntoIterator<Item = Unit>, error: Error) {
        let error = CallError::from(error);
        for unit in units {
            self.line.end(unit, Ended::Failed(error.clone()));
        }
        self.line.give_up(&error);
    }

    /// Ends units for a reason that is theirs.
    fn fail(&self, units: impl IntoIterator<Item = Unit>, error: Error) {
        let error = CallError::from(error);
        for unit in units {
            self.line.end(unit, Ended::Failed(error.clone()));
        }
    }
}
