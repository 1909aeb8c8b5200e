//! Arrow `expire`: leased → ready (or dead), when a lease ran out or its holder died. And `beat`, which puts
//! it off.

use std::time::Duration;

use super::{Fate, Machine, Phase, Queue};
use crate::{
    Beat, Beaten, Incarnation, Lease, Outcome, TaskId,
    clock::{Now, millis},
    limits,
    sabotage::{Defect, planted},
};

impl Machine {
    /// Renews leases and answers for each in order.
    pub fn beat(&mut self, beats: &[Beat], lease: Duration, now: Now) -> Vec<Beaten> {
        let until = now.steady.saturating_add(millis(lease));
        let beat = |Beat { lease, progress }: &Beat| match self.queues.get_mut(&lease.queue) {
            Some(queue) if queue.holds(lease) => {
                queue.enter(&lease.id, Phase::Leased(lease.incarnation, until));
                let Some(record) = queue.tasks.get_mut(&lease.id) else { return Beaten::Lost };
                if progress.is_some() {
                    record.reported.clone_from(progress);
                }
                if record.progress.cancelled { Beaten::Cancelled } else { Beaten::Kept }
            }
            _ => Beaten::Lost,
        };
        beats.iter().map(beat).collect()
    }

    /// Takes back all that a process held which is known to be dead, and tells how many tasks that was.
    pub fn expire_holder(&mut self, incarnation: Incarnation, now: Now) -> usize {
        let holder = |holder, _| holder == incarnation;
        let expired = self.queues.values_mut().map(|queue| queue.expire_where(holder, usize::MAX, now)).sum();
        self.count_settled(now);
        expired
    }
}

impl Queue {
    /// Takes back a bounded number of leases that ran out.
    pub(super) fn expire_leases(&mut self, now: Now) {
        self.expire_where(|_, until| until <= now.steady, limits::UPKEEP, now);
    }

    fn expire_where(&mut self, over: impl Fn(Incarnation, u64) -> bool, most: usize, now: Now) -> usize {
        let held = |id: &TaskId| match self.tasks.get(id).map(|record| &record.phase) {
            Some(Phase::Leased(holder, until)) => over(*holder, *until),
            _ => false,
        };
        let held = |id: &TaskId| held(id) && !(planted(Defect::ExpireSparesStarted) && self.was_returned(id));
        let ids: Vec<TaskId> =
            self.leased.iter().map(|(.., id)| id).filter(|id| held(id)).take(most).cloned().collect();
        for id in &ids {
            if let Some(record) = self.tasks.get_mut(id) {
                let fate = record.progress.expire(now);
                self.go(id, fate, now);
            }
        }
        ids.len()
    }

    /// Whether a task was given back before.
    fn was_returned(&self, id: &TaskId) -> bool {
        self.tasks.get(id).is_some_and(|record| record.returned)
    }

    /// Whether id, epoch and incarnation all match.
    pub(super) fn holds(&self, lease: &Lease) -> bool {
        self.tasks.get(&lease.id).is_some_and(|record| {
            (record.progress.epoch == lease.epoch || planted(Defect::EpochUnchecked))
                && matches!(record.phase, Phase::Leased(holder, _) if holder == lease.incarnation)
        })
    }

    /// Sends a task where its fate says. A done or cancelled one is gone, and what is known of it is kept.
    pub(super) fn go(&mut self, id: &TaskId, fate: Fate, now: Now) {
        self.leave(id);
        let Some(record) = self.tasks.get_mut(id) else { return };
        record.reported = None;
        let limit = record.limit.clone();
        if let (Some((batch, _)), Fate::Done | Fate::Cancelled | Fate::Dead) = (&record.batch, fate) {
            self.settled.push((batch.clone(), fate));
        }
        match fate {
            Fate::Ready => {
                record.returned = true;
                self.line_up(id, now);
            }
            Fate::Scheduled(due) => self.put(id, Phase::Scheduled(due)),
            Fate::Dead => {
                let (unique, batch) = (record.unique.clone(), record.batch.clone());
                self.let_go_of_key(id, unique.as_ref(), batch.as_ref(), now);
                self.deaths += 1;
                self.put(id, Phase::Dead(self.deaths, now.wall));
                self.forget_dead(now);
            }
            Fate::Done | Fate::Cancelled => {
                let Some(record) = self.tasks.remove(id) else { return };
                self.let_go_of_key(id, record.unique.as_ref(), record.batch.as_ref(), now);
                if record.id_given {
                    self.remember(id, now);
                }
                if fate == Fate::Cancelled {
                    self.keep_outcome(id, record.wanted, Outcome::Cancelled, now);
                }
            }
        }
        self.admit(limit.as_ref(), now);
    }
}
