//! Arrows `complete`, `retry`, `bury`, `release` and `park`.

use super::{Steps, TaskRow};
use crate::{
    End, Payload, Result, Settled, Settlement,
    backends::local::{
        error::sqlite,
        keys::{IdKey, holder, int},
        statements,
    },
    crash::{Point, at},
    sabotage::{Defect, planted},
};

impl Steps<'_> {
    /// As `Machine::settle`.
    pub(in super::super) fn settle(&mut self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        for settlement in settlements {
            if let End::Complete { children, .. } = &settlement.end {
                self.check_fit("settle", children)?;
            }
        }
        let answers: rusqlite::Result<_> =
            settlements.iter().map(|settlement| self.settle_one(settlement)).collect();
        answers.map_err(|e| sqlite("settle", e))
    }

    fn settle_one(&mut self, Settlement { lease, end }: &Settlement) -> rusqlite::Result<Settled> {
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
            if planted(Defect::ChildAfterTheEnd) {
                self.execute("COMMIT", [])?;
                self.execute("BEGIN IMMEDIATE", [])?;
            }
            self.enqueue_children(children)?;
        }
        self.count_settled()?;
        Ok(Settled::Settled)
    }
}
