//! Arrows `complete`, `retry`, `bury`, `release` and `park`: what a holder says of its lease.

use super::{Fate, Machine, Queue};
use crate::{
    End, Settled, Settlement, TaskId,
    clock::{Now, millis},
    limits,
};

impl Machine {
    /// Ends leases and answers for each in order.
    pub fn settle(&mut self, settlements: &[Settlement], now: Now) -> Vec<Settled> {
        settlements.iter().map(|settlement| self.settle_one(settlement, now)).collect()
    }

    fn settle_one(&mut self, Settlement { lease, end }: &Settlement, now: Now) -> Settled {
        let Some(queue) = self.queues.get_mut(&lease.queue).filter(|queue| queue.holds(lease)) else {
            return Settled::Lost;
        };
        let Some(record) = queue.tasks.get_mut(&lease.id) else { return Settled::Lost };
        let fate = record.progress.settle(end, now);
        if fate == Fate::Done && record.id_given {
            queue.remember(&lease.id, now);
        }
        queue.go(&lease.id, fate);
        if let End::Complete { children } = end {
            self.enqueue_children(children, now);
        }
        Settled::Settled
    }
}

impl Queue {
    pub(super) fn remembers(&self, id: &TaskId, now: Now) -> bool {
        self.remembered.get(id).is_some_and(|until| *until > now.wall)
    }

    fn remember(&mut self, id: &TaskId, now: Now) {
        let ms = millis(self.configuration.options.remember_ids);
        if ms == 0 {
            return;
        }
        let until = now.wall.saturating_add(ms);
        self.remembered.insert(id.clone(), until);
        self.forget.insert((until, id.clone()));
        self.forget_past(now);
    }

    /// Forgets ids whose time is over, and the first ones where there are too many.
    pub(super) fn forget_past(&mut self, now: Now) {
        while let Some((until, id)) = self.forget.first().cloned() {
            if until > now.wall && self.forget.len() as u64 <= limits::MAX_REMEMBERED {
                break;
            }
            self.forget.pop_first();
            self.remembered.remove(&id);
        }
    }
}
