//! Arrows `complete`, `retry`, `bury`, `release` and `park`.

use super::{Steps, TaskRow};
use crate::{
    End, QueueName, Settled, Settlement, TaskId,
    backends::local::{
        keys::{IdKey, holder, int},
        statements,
    },
    clock::millis,
    crash::{Point, at},
    limits,
    machine::Fate,
};

impl Steps<'_> {
    /// As `Machine::settle`.
    pub(in super::super) fn settle(&mut self, settlements: &[Settlement]) -> rusqlite::Result<Vec<Settled>> {
        settlements.iter().map(|settlement| self.settle_one(settlement)).collect()
    }

    fn settle_one(&mut self, Settlement { lease, end }: &Settlement) -> rusqlite::Result<Settled> {
        let Some(queue) = self.peek_queue(&lease.queue)? else { return Ok(Settled::Lost) };
        let params = (queue.key, IdKey(&lease.id), int(lease.epoch), holder(lease.incarnation));
        let Some(mut task) = self.find(statements::LEASED, params, TaskRow::read)? else {
            return Ok(Settled::Lost);
        };
        let fate = task.progress.settle(end, self.now);
        if fate == Fate::Done && task.id_given {
            self.remember(&lease.queue, &lease.id)?;
        }
        self.end_lease(&lease.queue, &task, fate)?;
        at(Point::StepEnded);
        if let End::Complete { children } = end {
            self.enqueue_children(children)?;
        }
        Ok(Settled::Settled)
    }

    fn remember(&mut self, name: &QueueName, id: &TaskId) -> rusqlite::Result<()> {
        let now = self.now.wall;
        let queue = self.queue_or_new(name)?;
        let (key, ms) = (queue.key, millis(queue.configuration.options.remember_ids));
        if ms == 0 {
            return Ok(());
        }
        queue.remembered += 1;
        let over = queue.remembered.saturating_sub(limits::MAX_REMEMBERED);
        self.execute(statements::REMEMBER, (key, IdKey(id), int(now.saturating_add(ms))))?;
        at(Point::StepRemembered);
        let mut forgotten =
            self.execute(statements::FORGET_PAST, (key, int(now), int(limits::UPKEEP as u64)))?;
        if forgotten == 0 && over > 0 {
            forgotten = self.execute(statements::FORGET_FIRST, (key, int(over)))?;
        }
        self.queue_or_new(name)?.remembered -= forgotten as u64;
        Ok(())
    }
}
