//! Arrows `revive`: dead → ready, and `purge`: dead → (gone).

use super::{Fate, Machine, Phase, Progress, Queue, batch::Batches};
use crate::{
    DeadTask, Failure, QueueName, Revived, TaskId,
    clock::{Now, millis, time},
    limits,
};

impl Machine {
    /// Lists dead tasks in the order of their death.
    #[must_use]
    pub fn dead(&self, queue: &QueueName, after: Option<u64>, max: usize) -> Vec<DeadTask> {
        let from = after.map_or(0, |mark| mark.saturating_add(1));
        let Some(queue) = self.queues.get(queue) else { return Vec::new() };
        queue.dead.range(from..).take(max).filter_map(|(mark, id)| queue.dead_task(*mark, id)).collect()
    }

    /// Makes dead tasks ready again and answers for each in order.
    pub fn revive(&mut self, queue: &QueueName, ids: &[TaskId], now: Now) -> Vec<Revived> {
        let Self { queues, batches, .. } = self;
        match queues.get_mut(queue) {
            Some(queue) => ids.iter().map(|id| queue.revive(id, batches, now)).collect(),
            None => vec![Revived::Unknown; ids.len()],
        }
    }

    /// Removes dead tasks and tells for each in order whether it was there.
    pub fn purge(&mut self, queue: &QueueName, ids: &[TaskId]) -> Vec<bool> {
        match self.queues.get_mut(queue) {
            Some(queue) => ids.iter().map(|id| queue.purge(id)).collect(),
            None => vec![false; ids.len()],
        }
    }
}

impl Queue {
    fn dead_task(&self, mark: u64, id: &TaskId) -> Option<DeadTask> {
        let record = self.tasks.get(id)?;
        let Phase::Dead(_, died) = record.phase else { return None };
        Some(DeadTask {
            id: id.clone(),
            name: record.name.clone(),
            payload: record.payload.clone(),
            error: record.progress.error.clone().unwrap_or_default(),
            history: failures(record.progress.history.clone()),
            attempts: record.progress.attempts,
            crashes: record.progress.crashes,
            died: time(died),
            mark,
        })
    }

    fn is_dead(&self, id: &TaskId) -> bool {
        self.tasks.get(id).is_some_and(|record| matches!(record.phase, Phase::Dead(..)))
    }

    fn revive(&mut self, id: &TaskId, batches: &mut Batches, now: Now) -> Revived {
        let Some(record) = self.tasks.get(id).filter(|_| self.is_dead(id)) else { return Revived::Unknown };
        let unique = record.unique.clone();
        // Its own key may still be held in its memory.
        if let Some(other) = self.holder_of(unique.as_ref(), now).filter(|other| other != id) {
            return Revived::Duplicate(other);
        }
        if self.status().is_full() {
            return Revived::Full;
        }
        self.leave(id);
        let sequence = self.next_sequence();
        if let Some(record) = self.tasks.get_mut(id) {
            record.sequence = sequence;
            record.returned = false;
            record.expires = None;
            record.progress = record.progress.revived();
            if let Some((batch, number)) = &mut record.batch {
                batches.revive(batch);
                *number = batches.join(batch);
            }
        }
        self.take_key(id, unique.as_ref());
        self.line_up(id, now);
        Revived::Revived
    }

    fn purge(&mut self, id: &TaskId) -> bool {
        let found = self.is_dead(id);
        if found {
            self.leave(id);
            self.tasks.remove(id);
        }
        found
    }

    /// Lets go of dead tasks: those that were kept long enough, and the oldest where there are too many.
    pub(super) fn forget_dead(&mut self, now: Now) {
        for _ in 0..limits::UPKEEP {
            let Some((_, id)) = self.dead.first_key_value() else { break };
            let old = self.tasks.get(id).is_some_and(|record| {
                matches!(record.phase, Phase::Dead(_, died) if died.saturating_add(millis(limits::KEEP_DEAD)) <= now.wall)
            });
            if !old && self.dead.len() as u64 <= limits::MAX_DEAD {
                break;
            }
            let id = id.clone();
            self.purge(&id);
        }
    }

    /// Arrow `lapse`: nobody claimed it in its time.
    pub(super) fn lapse(&mut self, now: Now) {
        for _ in 0..limits::UPKEEP {
            let Some((expires, id)) = self.expiring.first().cloned() else { break };
            if expires > now.wall {
                break;
            }
            let fate = match self.tasks.get_mut(&id) {
                Some(record) => record.progress.lapse(now),
                None => Fate::Dead,
            };
            self.go(&id, fate, now);
        }
    }
}

/// The history of a task, for those who look at it.
#[must_use]
pub fn failures(history: Vec<(u64, String)>) -> Vec<Failure> {
    history.into_iter().map(|(at, error)| Failure { at: time(at), error }).collect()
}

impl Progress {
    /// The progress of a task that an operator gives another chance: only the epoch and the history go on.
    #[must_use]
    pub fn revived(&self) -> Self {
        Self {
            epoch: self.epoch,
            history: self.history.clone(),
            ..Self::new(self.max_attempts, self.max_crashes)
        }
    }
}
