//! Arrow `expire`: leased → ready (or dead), and `beat`, which puts it off.

use std::time::Duration;

use super::{Steps, TaskRow};
use crate::{
    Beat, Beaten, Incarnation, Lease, Payload, QueueName,
    backends::local::{
        keys::{IdKey, holder, int},
        statements,
    },
    clock::millis,
    crash::{Point, at},
    limits,
};

impl Steps<'_, '_> {
    /// As `Machine::beat`.
    pub(in super::super) fn beat(
        &mut self,
        beats: &[Beat],
        lease: Duration,
    ) -> rusqlite::Result<Vec<Beaten>> {
        let until = int(self.now.steady.saturating_add(millis(lease)));
        let mut answers = Vec::with_capacity(beats.len());
        for Beat { lease: Lease { queue, id, epoch, incarnation }, progress } in beats {
            let cancelled = match self.load_queue(queue)? {
                Some(queue) => {
                    let progress = progress.as_ref().map(Payload::as_str);
                    let params = (queue.key, IdKey(id), int(*epoch), holder(*incarnation), until, progress);
                    self.find(statements::BEAT, params, |row| row.get(0))?
                }
                None => None,
            };
            at(Point::StepBeaten);
            answers.push(match cancelled {
                None => Beaten::Lost,
                Some(false) => Beaten::Kept,
                Some(true) => Beaten::Cancelled,
            });
        }
        Ok(answers)
    }

    /// As `Machine::expire_holder`.
    pub(in super::super) fn expire_holder(&mut self, incarnation: Incarnation) -> rusqlite::Result<usize> {
        let held = self.list(statements::HELD, [holder(incarnation)], |row| {
            Ok((row.get::<_, i64>(TaskRow::COLUMNS)?, TaskRow::read(row)?))
        })?;
        let count = held.len();
        for (queue, task) in held {
            let name = self.name_of(queue)?;
            self.expire(&name, task)?;
        }
        self.count_settled()?;
        Ok(count)
    }

    /// Takes back a bounded number of leases that ran out.
    pub(super) fn expire_leases(&mut self, name: &QueueName) -> rusqlite::Result<()> {
        let params = (self.queue_or_new(name)?.key, int(self.now.steady), int(limits::UPKEEP as u64));
        let expired = self.list(statements::EXPIRED, params, TaskRow::read)?;
        expired.into_iter().try_for_each(|task| self.expire(name, task))
    }

    fn expire(&mut self, name: &QueueName, mut task: TaskRow) -> rusqlite::Result<()> {
        let fate = task.progress.expire(self.now);
        self.go(name, &task, fate)?;
        at(Point::StepExpired);
        Ok(())
    }
}
