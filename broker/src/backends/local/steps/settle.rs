//! Arrows `complete`, `retry`, `crash`, `bury`, `release` and `park`.

use super::{Steps, TaskRow};
use crate::{
    End, Lease, NewTask, Payload, Result, Settled, Settlement,
    backends::local::{
        error::sqlite,
        keys::{IdKey, holder, int},
        statements,
    },
    crash::{Point, at},
    sabotage::{Defect, planted},
};

impl Steps<'_, '_> {
    /// As `Machine::settle`.
    pub(in super::super) fn settle(&mut self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        for settlement in settlements {
            if let End::Complete { children, .. } = &settlement.end {
                self.check_fit("settle", children)?;
            }
        }
        let answers: rusqlite::Result<Vec<_>> =
            settlements.iter().map(|settlement| self.settle_one(settlement)).collect();
        let answers = answers.map_err(|e| sqlite("settle", e))?;
        self.save_shares().map_err(|e| sqlite("settle", e))?;
        Ok(answers)
    }

    fn settle_one(&mut self, Settlement { lease, end }: &Settlement) -> rusqlite::Result<Settled> {
        if let Some(member) = self.leased_member(lease)? {
            if let End::Complete { children, .. } = end {
                self.leave_share(&lease.queue, member)?;
                self.queue_or_new(&lease.queue)?.leased -= 1;
                self.news = true;
                at(Point::StepEnded);
                self.hand_on(children)?;
                return Ok(Settled::Settled);
            }
            self.unpack(&lease.queue, member)?;
        } else if self.complete_plain(lease, end)? {
            return Ok(Settled::Settled);
        }
        let Some(queue) = self.load_queue(&lease.queue)? else { return Ok(Settled::Lost) };
        let params = (queue.key, IdKey(&lease.id), int(lease.epoch), holder(lease.incarnation));
        let Some(mut task) = self.find(statements::LEASED, params, TaskRow::read)? else {
            return Ok(Settled::Lost);
        };
        let fate = task.progress.settle(end, self.now);
        self.go(&lease.queue, &task, fate)?;
        at(Point::StepEnded);
        if let End::Complete { children, result } = end {
            let result = result.as_ref().map_or("null", Payload::as_str);
            self.keep_outcome(&lease.queue, &task, Some(result))?;
            self.hand_on(children)?;
        }
        self.count_settled()?;
        Ok(Settled::Settled)
    }

    /// Completes a task of which nothing is known after its end: whether it is one, and is held, is seen by removing it. Not tried
    /// again in a call in which it was of no use once, as tasks of one queue are mostly alike.
    fn complete_plain(&mut self, lease: &Lease, end: &End) -> rusqlite::Result<bool> {
        let End::Complete { children, .. } = end else { return Ok(false) };
        let Some(queue) = self.load_queue(&lease.queue)?.filter(|queue| !queue.has_others) else {
            return Ok(false);
        };
        let params = (queue.key, IdKey(&lease.id), int(lease.epoch), holder(lease.incarnation));
        let removed = self.execute(statements::COMPLETE_PLAIN, params)? > 0;
        if removed {
            self.queue_or_new(&lease.queue)?.leased -= 1;
            self.news = true;
            at(Point::StepEnded);
            self.hand_on(children)?;
        } else if let Some(queue) = self.load_queue(&lease.queue)? {
            queue.has_others = true;
        }
        Ok(removed)
    }

    fn hand_on(&mut self, children: &[NewTask]) -> rusqlite::Result<()> {
        if planted(Defect::ChildAfterTheEnd) {
            self.execute("COMMIT", [])?;
            self.execute("BEGIN IMMEDIATE", [])?;
        }
        self.enqueue_children(children)
    }
}
