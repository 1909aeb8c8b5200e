//! Arrows `complete`, `retry`, `crash`, `bury`, `release` and `park`: what a holder says of its lease.

use super::{Machine, outcome::done};
use crate::{End, Result, Settled, Settlement, clock::Now};

impl Machine {
    /// Ends leases and answers for each in order.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when a child does not fit its queue.
    pub fn settle(&mut self, settlements: &[Settlement], now: Now) -> Result<Vec<Settled>> {
        for settlement in settlements {
            if let End::Complete { children, .. } = &settlement.end {
                self.check_fit("settle", children)?;
            }
        }
        Ok(settlements.iter().map(|settlement| self.settle_one(settlement, now)).collect())
    }

    fn settle_one(&mut self, Settlement { lease, end }: &Settlement, now: Now) -> Settled {
        let Some(queue) = self.queues.get_mut(&lease.queue).filter(|queue| queue.holds(lease)) else {
            return Settled::Lost;
        };
        let Some(record) = queue.tasks.get_mut(&lease.id) else { return Settled::Lost };
        let fate = record.progress.settle(end, now);
        let wanted = record.wanted;
        queue.go(&lease.id, fate, now);
        if let End::Complete { children, result } = end {
            queue.keep_outcome(&lease.id, wanted, done(result.as_ref()), now);
            self.enqueue_children(children, now);
        }
        self.count_settled(now);
        Settled::Settled
    }
}
