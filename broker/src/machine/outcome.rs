//! What is known of tasks after their end: results, remembered ids, and unique keys that are still held.

use std::collections::BTreeMap;

use super::{Machine, Phase, Queue, batch::held_by};
use crate::{
    BatchName, Hold, NewTask, Outcome, Payload, QueueName, TaskId, Unique, UniqueKey, Wanted,
    clock::{Now, millis},
};

impl Machine {
    /// Tells what became of tasks, in order.
    #[must_use]
    pub fn outcomes(&self, queue: &QueueName, ids: &[TaskId], now: Now) -> Vec<Outcome> {
        let queue = self.queues.get(queue);
        ids.iter().map(|id| queue.map_or(Outcome::Unknown, |queue| queue.outcome(id, now))).collect()
    }
}

/// What is kept until a time, and found by it: a bounded number, of which those that end first go first.
#[derive(Clone, Debug)]
pub(super) struct Kept<K, V> {
    /// Until when, in wall-clock milliseconds, and what.
    by_key: BTreeMap<K, (u64, V)>,
    by_time: std::collections::BTreeSet<(u64, K)>,
    most: u64,
}

impl<K: Ord + Clone, V> Kept<K, V> {
    pub(super) fn new(most: u64) -> Self {
        Self { by_key: BTreeMap::new(), by_time: std::collections::BTreeSet::new(), most }
    }

    pub(super) fn get(&self, key: &K, now: Now) -> Option<&V> {
        self.by_key.get(key).filter(|(until, _)| *until > now.wall).map(|(_, value)| value)
    }

    /// Keeps something for so many milliseconds; 0 forgets it at once.
    pub(super) fn keep(&mut self, key: K, value: V, ms: u64, now: Now) {
        self.keep_until(key, value, now.wall.saturating_add(ms), now);
    }

    pub(super) fn keep_until(&mut self, key: K, value: V, until: u64, now: Now) {
        self.drop(&key);
        if until > now.wall {
            self.by_time.insert((until, key.clone()));
            self.by_key.insert(key, (until, value));
        }
        self.forget_past(now);
    }

    /// Of these keys, keeps the last ones only.
    pub(super) fn keep_last(&mut self, keys: std::ops::RangeInclusive<K>, most: usize) {
        let found: Vec<_> = self.by_key.range(keys).map(|(key, _)| key.clone()).collect();
        found.iter().rev().skip(most).for_each(|key| self.drop(key));
    }

    /// Drops all that is kept until this time.
    pub(super) fn drop_until(&mut self, until: u64) {
        // What is kept for a batch is kept longer than all that is kept for a time: from the end, this is near.
        let later = |(time, _): &&(u64, K)| *time > until;
        let latest = self.by_time.iter().rev().skip_while(later);
        let found: Vec<_> = latest.take_while(|(time, _)| *time == until).cloned().collect();
        for (_, key) in found {
            self.drop(&key);
        }
    }

    pub(super) fn drop(&mut self, key: &K) {
        if let Some((until, _)) = self.by_key.remove(key) {
            self.by_time.remove(&(until, key.clone()));
        }
    }

    /// Forgets what is over, and what is too much.
    pub(super) fn forget_past(&mut self, now: Now) {
        while let Some((until, key)) = self.by_time.first().cloned() {
            if until > now.wall && self.by_time.len() as u64 <= self.most {
                break;
            }
            self.by_time.pop_first();
            self.by_key.remove(&key);
        }
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    pub(super) fn check(&self, what: &str) -> Result<(), String> {
        let (keys, times) = (self.by_key.len(), self.by_time.len());
        if keys == times { Ok(()) } else { Err(format!("{keys} {what} kept, {times} to forget")) }
    }
}

impl Queue {
    fn outcome(&self, id: &TaskId, now: Now) -> Outcome {
        match self.tasks.get(id) {
            Some(record) if matches!(record.phase, Phase::Dead(..)) => {
                Outcome::Dead(record.progress.error.clone().unwrap_or_default())
            }
            Some(record) => Outcome::Pending { progress: record.reported.clone() },
            None => self.results.get(id, now).cloned().unwrap_or(Outcome::Unknown),
        }
    }

    /// The task that has this key, or had it not long ago.
    pub(super) fn holder_of(&self, unique: Option<&Unique>, now: Now) -> Option<TaskId> {
        let key = &unique?.key;
        self.unique.get(key).or_else(|| self.seen.get(key, now)).cloned()
    }

    /// The task takes its key. The caller made sure that it is free.
    pub(super) fn take_key(&mut self, id: &TaskId, unique: Option<&Unique>) {
        if let Some(Unique { key, .. }) = unique {
            self.seen.drop(key);
            self.unique.insert(key.clone(), id.clone());
        }
    }

    /// The task ended: its key is free, at once or later.
    pub(super) fn let_go_of_key(
        &mut self,
        id: &TaskId,
        unique: Option<&Unique>,
        batch: Option<&(BatchName, u64)>,
        now: Now,
    ) {
        let Some(Unique { key, hold }) = unique else { return };
        self.unique.remove(key);
        let until = match (hold, batch) {
            (Hold::For(time), _) => now.wall.saturating_add(millis(*time)),
            (Hold::Batch, Some((_, number))) => held_by(*number),
            (Hold::Batch, None) => now.wall,
        };
        self.seen.keep_until(key.clone(), id.clone(), until, now);
    }

    /// Keeps what became of a task that is gone, if somebody wants to know.
    pub(super) fn keep_outcome(&mut self, id: &TaskId, wanted: Wanted, outcome: Outcome, now: Now) {
        if let Some(ttl) = wanted.kept() {
            self.results.keep(id.clone(), outcome, millis(ttl), now);
        }
    }

    /// Remembers an id that the user gave.
    pub(super) fn remember(&mut self, id: &TaskId, now: Now) {
        let ms = millis(self.configuration.options.remember_ids);
        self.remembered.keep(id.clone(), (), ms, now);
    }

    pub(super) fn remembers(&self, id: &TaskId, now: Now) -> bool {
        self.remembered.get(id, now).is_some()
    }

    /// Forgets what is over: called by what adds to it.
    pub(super) fn forget_past(&mut self, now: Now) {
        self.remembered.forget_past(now);
        self.results.forget_past(now);
        self.seen.forget_past(now);
    }
}

/// A task's unique key among those of its queue, as it is stored: of live tasks by key, of those that ended in `seen`.
pub(super) type Unsettled = BTreeMap<UniqueKey, TaskId>;

/// The result of a completed task.
pub(super) fn done(result: Option<&Payload>) -> Outcome {
    Outcome::Done(result.cloned().unwrap_or_else(Payload::null))
}

/// What was kept of an earlier task of this id is over when there is a new one.
pub(super) fn begin(queue: &mut Queue, task: &NewTask) {
    queue.results.drop(&task.id);
}
