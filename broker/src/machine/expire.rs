//! Arrow `expire`: leased → ready (or dead), when a lease ran out or its holder died. And `beat`, which puts
//! it off.

use std::time::Duration;

use super::{Fate, Machine, Phase, Queue};
use crate::{
    Beaten, Incarnation, Lease, TaskId,
    clock::{Now, millis},
    limits,
};

impl Machine {
    /// Renews leases and answers for each in order.
    pub fn beat(&mut self, leases: &[Lease], lease: Duration, now: Now) -> Vec<Beaten> {
        let until = now.steady.saturating_add(millis(lease));
        let beat = |lease: &Lease| match self.queues.get_mut(&lease.queue) {
            Some(queue) if queue.holds(lease) => {
                queue.enter(&lease.id, Phase::Leased(lease.incarnation, until));
                Beaten::Kept
            }
            _ => Beaten::Lost,
        };
        leases.iter().map(beat).collect()
    }

    /// Takes back all that a process held which is known to be dead, and tells how many tasks that was.
    pub fn expire_holder(&mut self, incarnation: Incarnation) -> usize {
        self.queues
            .values_mut()
            .map(|queue| queue.expire_where(|holder, _| holder == incarnation, usize::MAX))
            .sum()
    }
}

impl Queue {
    /// Takes back a bounded number of leases that ran out.
    pub(super) fn expire_leases(&mut self, now: Now) {
        self.expire_where(|_, until| until <= now.steady, limits::UPKEEP);
    }

    fn expire_where(&mut self, over: impl Fn(Incarnation, u64) -> bool, most: usize) -> usize {
        let held = |id: &TaskId| match self.tasks.get(id).map(|record| &record.phase) {
            Some(Phase::Leased(holder, until)) => over(*holder, *until),
            _ => false,
        };
        let ids: Vec<TaskId> =
            self.leased.iter().map(|(.., id)| id).filter(|id| held(id)).take(most).cloned().collect();
        for id in &ids {
            if let Some(record) = self.tasks.get_mut(id) {
                let fate = record.progress.expire();
                self.go(id, fate);
            }
        }
        ids.len()
    }

    /// Whether id, epoch and incarnation all match.
    pub(super) fn holds(&self, lease: &Lease) -> bool {
        self.tasks.get(&lease.id).is_some_and(|record| {
            record.progress.epoch == lease.epoch
                && matches!(record.phase, Phase::Leased(holder, _) if holder == lease.incarnation)
        })
    }

    /// Sends a task where its fate says. A done one is gone.
    pub(super) fn go(&mut self, id: &TaskId, fate: Fate) {
        match fate {
            Fate::Done => {
                self.leave(id);
                self.tasks.remove(id);
            }
            Fate::Ready => self.enter(id, Phase::Ready),
            Fate::Scheduled(due) => self.enter(id, Phase::Scheduled(due)),
            Fate::Dead => {
                self.deaths += 1;
                self.enter(id, Phase::Dead(self.deaths));
                while self.dead.len() as u64 > limits::MAX_DEAD {
                    if let Some((_, oldest)) = self.dead.pop_first() {
                        self.tasks.remove(&oldest);
                    }
                }
            }
        }
    }
}
