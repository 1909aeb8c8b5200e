//! Batches: what is counted of tasks that belong together, and for how long their unique keys are held.

use std::collections::BTreeMap;

use super::{Fate, Machine, outcome::Kept};
use crate::{
    BatchName, BatchStatus,
    clock::{Now, millis},
    limits,
};

/// Later than any time: what is kept until a batch ends is kept until this and the batch's number.
const HELD: u64 = 1 << 62;

/// The batches of one namespace.
#[derive(Clone, Debug)]
pub(super) struct Batches {
    live: BTreeMap<BatchName, Live>,
    ended: Kept<BatchName, BatchStatus>,
    /// The last number given.
    last: u64,
}

/// A batch that has not ended.
#[derive(Clone, Copy, Debug)]
struct Live {
    /// Tells it from those that had its name before.
    number: u64,
    status: BatchStatus,
}

impl Default for Batches {
    fn default() -> Self {
        Self { live: BTreeMap::new(), ended: Kept::new(limits::MAX_BATCHES), last: 0 }
    }
}

impl Machine {
    /// Tells how a batch stands, or how it ended.
    #[must_use]
    pub fn batch(&self, batch: &BatchName, now: Now) -> Option<BatchStatus> {
        let live = self.batches.live.get(batch).map(|live| live.status);
        live.or_else(|| self.batches.ended.get(batch, now).copied())
    }

    /// Counts the tasks that a step has settled. A batch of which nothing is unsettled has ended, and lets go of its keys:
    /// after the children of the step have come, so that a task hands its batch on to them.
    pub(super) fn count_settled(&mut self, now: Now) {
        let Self { queues, batches, .. } = self;
        let settled: Vec<_> = queues.values_mut().flat_map(|queue| queue.settled.drain(..)).collect();
        for number in settled.into_iter().filter_map(|(batch, fate)| batches.leave(&batch, fate, now)) {
            queues.values_mut().for_each(|queue| queue.seen.drop_until(held_by(number)));
        }
    }
}

/// Until when a key is held by the batch of this number.
pub(super) fn held_by(number: u64) -> u64 {
    HELD + number
}

impl Batches {
    /// A task comes to a batch, and begins it if it is the first. Returns the number of the batch.
    pub(super) fn join(&mut self, batch: &BatchName) -> u64 {
        let Self { live, ended, last } = self;
        let live = live.entry(batch.clone()).or_insert_with(|| {
            ended.drop(batch);
            *last += 1;
            Live { number: *last, status: BatchStatus::default() }
        });
        live.status.unsettled += 1;
        live.number
    }

    /// A task that died in a batch that goes on is no more among its dead.
    pub(super) fn revive(&mut self, batch: &BatchName) {
        if let Some(live) = self.live.get_mut(batch) {
            live.status.dead = live.status.dead.saturating_sub(1);
        }
    }

    /// A task of a batch is settled. Returns the number of the batch if that was the last one.
    fn leave(&mut self, batch: &BatchName, fate: Fate, now: Now) -> Option<u64> {
        let Live { number, status } = self.live.get_mut(batch)?;
        status.unsettled = status.unsettled.saturating_sub(1);
        match fate {
            Fate::Done => status.done += 1,
            Fate::Dead => status.dead += 1,
            Fate::Cancelled => status.cancelled += 1,
            Fate::Ready | Fate::Scheduled(_) => {}
        }
        if !status.is_ended() {
            return None;
        }
        let (number, status) = (*number, *status);
        self.live.remove(batch);
        self.ended.keep(batch.clone(), status, millis(limits::KEEP_BATCH), now);
        Some(number)
    }

    /// Checks the counts against the tasks.
    pub(super) fn check(&self, unsettled: &BTreeMap<BatchName, u64>) -> Result<(), String> {
        let counted: BTreeMap<_, _> =
            self.live.iter().map(|(name, live)| (name.clone(), live.status.unsettled)).collect();
        if counted != *unsettled {
            return Err(format!("the batches count {counted:?}, and there are {unsettled:?}"));
        }
        self.ended.check("batches")
    }
}
