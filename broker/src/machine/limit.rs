//! Arrows `hold`: (would be ready) → held, and `admit`: held → ready: of the tasks with one key only so many run at a time.
//!
//! A task takes a permit of its key when it becomes ready and has it until its lease ends. So what waits for one is in no
//! worker's way: it is not among the ready, and whoever ends a lease lets the next one go.

use std::{collections::BTreeMap, time::Duration};

use super::{Phase, Queue, Record, held_place};
use crate::{
    LimitKey, QueueOptions, TaskId,
    clock::{Now, millis},
    limits,
};

/// The tasks of one key that have a permit, and those that wait for one.
///
/// Invariant: gone when there is nothing to know about it any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// Those that wait, by rank and [`held_place`].
    pub(super) held: BTreeMap<(i64, i64), TaskId>,
    /// How many are ready.
    pub(super) ready: u32,
    /// How many are leased.
    pub(super) leased: u32,
    /// When the interval after the last claim is over, in wall-clock milliseconds.
    not_before: u64,
}

/// Whether one more task of a key may become ready, of which so many are ready and leased, and whose interval is over at this
/// wall-clock millisecond.
#[must_use]
pub fn lets_in(options: &QueueOptions, ready: u64, leased: u64, not_before: u64, now: Now) -> bool {
    let permits = options.key_limit.map_or(u64::MAX, u64::from);
    // With an interval, a second one that is ready could be claimed too soon after the first.
    let in_time = options.key_interval.is_zero() || ready == 0 && not_before <= now.wall;
    ready + leased < permits && in_time
}

impl Queue {
    /// Puts a task that entered a phase into the line of its key, if it has one.
    pub(super) fn stand_in_line(&mut self, id: &TaskId, phase: Phase) {
        let place = self.held_key(id);
        let Some(key) = self.tasks.get(id).and_then(|record| record.limit.clone()) else { return };
        match phase {
            Phase::Ready => self.lines.entry(key).or_default().ready += 1,
            Phase::Leased(..) => self.lines.entry(key).or_default().leased += 1,
            Phase::Held => drop(self.lines.entry(key).or_default().held.insert(place, id.clone())),
            Phase::Scheduled(_) | Phase::Dead(..) => {}
        }
    }

    /// Takes a task that left a phase out of the line of its key.
    pub(super) fn leave_line(&mut self, id: &TaskId, phase: Phase) {
        let place = self.held_key(id);
        let key = self.tasks.get(id).and_then(|record| record.limit.as_ref());
        let Some(line) = key.and_then(|key| self.lines.get_mut(key)) else { return };
        match phase {
            Phase::Ready => line.ready -= 1,
            Phase::Leased(..) => line.leased -= 1,
            Phase::Held => drop(line.held.remove(&place)),
            Phase::Scheduled(_) | Phase::Dead(..) => {}
        }
    }

    /// Where a task stands when it is held.
    pub(super) fn held_key(&self, id: &TaskId) -> (i64, i64) {
        self.tasks.get(id).map_or((0, 0), |record| {
            let order = self.configuration.options.order;
            (record.rank, held_place(order, record.sequence, record.returned))
        })
    }

    /// Lets tasks of a key become ready, as many as may. Those that were never claimed get their places now.
    pub(super) fn admit(&mut self, key: Option<&LimitKey>, now: Now) {
        let Some(key) = key else { return };
        while let Some(id) = self.next_admitted(key, now) {
            self.leave(&id);
            let sequence = self.next_sequence();
            if let Some(record) = self.tasks.get_mut(&id)
                && !record.returned
            {
                record.sequence = sequence;
            }
            self.put(&id, Phase::Ready);
        }
        let over = |line: &Line| line.held.is_empty() && line.ready + line.leased == 0;
        if self.lines.get(key).is_some_and(|line| over(line) && line.not_before <= now.wall) {
            self.lines.remove(key);
        }
    }

    /// Lets tasks become ready of the first keys for which any wait, a bounded number of them: what holds them may be another thing than before.
    pub(super) fn admit_all(&mut self, now: Now) {
        let waited_for =
            self.lines.iter().filter(|(_, line)| !line.held.is_empty()).map(|(key, _)| key.clone());
        let keys: Vec<_> = waited_for.take(limits::UPKEEP).collect();
        for key in &keys {
            self.admit(Some(key), now);
        }
    }

    fn next_admitted(&self, key: &LimitKey, now: Now) -> Option<TaskId> {
        let line = self.lines.get(key)?;
        let (ready, leased) = (line.ready.into(), line.leased.into());
        let free = lets_in(&self.configuration.options, ready, leased, line.not_before, now);
        line.held.first_key_value().filter(|_| free).map(|(_, id)| id.clone())
    }

    /// A task was claimed: the interval of its key begins.
    pub(super) fn begin_interval(&mut self, key: Option<&LimitKey>, now: Now) {
        let interval = millis(self.configuration.options.key_interval);
        if let Some(key) = key.filter(|_| interval > 0)
            && let Some(line) = self.lines.get_mut(key)
        {
            self.opening.remove(&(line.not_before, key.clone()));
            line.not_before = now.wall.saturating_add(interval);
            self.opening.insert((line.not_before, key.clone()));
        }
    }

    /// How many tasks of the key of this one have a permit.
    pub(super) fn permits(&self, record: &Record) -> u64 {
        let line = record.limit.as_ref().and_then(|key| self.lines.get(key));
        line.map_or(0, |line| u64::from(line.ready) + u64::from(line.leased))
    }

    /// How long until the interval of the key of this task is over, if one goes on.
    pub(super) fn opens(&self, record: &Record, now: Now) -> Option<Duration> {
        let line = record.limit.as_ref().and_then(|key| self.lines.get(key))?;
        (line.not_before > now.wall).then(|| Duration::from_millis(line.not_before - now.wall))
    }

    /// Lets a task go of each of a bounded number of keys whose interval is over.
    pub(super) fn open(&mut self, now: Now) {
        for _ in 0..limits::UPKEEP {
            let Some((time, key)) = self.opening.first().cloned() else { break };
            if time > now.wall {
                break;
            }
            self.opening.pop_first();
            self.admit(Some(&key), now);
        }
    }

    /// Checks the lines against the tasks: what each has ready, leased and held.
    pub(super) fn check_lines(&self) -> Result<(), String> {
        let mut counted: BTreeMap<LimitKey, (u32, u32, usize)> = BTreeMap::new();
        for record in self.tasks.values() {
            let Some(key) = &record.limit else { continue };
            let count = counted.entry(key.clone()).or_default();
            match record.phase {
                Phase::Ready => count.0 += 1,
                Phase::Leased(..) => count.1 += 1,
                Phase::Held => count.2 += 1,
                Phase::Scheduled(_) | Phase::Dead(..) => {}
            }
        }
        counted.retain(|_, count| *count != (0, 0, 0));
        let mut kept: BTreeMap<_, _> =
            self.lines.iter().map(|(key, l)| (key.clone(), (l.ready, l.leased, l.held.len()))).collect();
        kept.retain(|_, count| *count != (0, 0, 0));
        let held: usize = kept.values().map(|(.., held)| held).sum();
        if kept != counted || held as u64 != self.held {
            return Err(format!("the keys have {kept:?} and {held} held, and the tasks {counted:?}"));
        }
        match self.lines.iter().find(|(key, line)| {
            line.not_before > 0
                && line.held.is_empty()
                && line.ready + line.leased == 0
                && !self.opening.contains(&(line.not_before, (*key).clone()))
        }) {
            Some((key, _)) => Err(format!("key {key} is never forgotten")),
            None => Ok(()),
        }
    }
}
