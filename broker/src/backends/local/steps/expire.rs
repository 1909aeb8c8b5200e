//! Arrow `expire`: leased → ready (or dead), and `beat`, which puts it off.

use std::time::Duration;

use super::{Steps, TaskRow, share::Share};
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
        for Beat { lease, progress } in beats {
            let Lease { queue, id, epoch, incarnation } = lease;
            match (self.leased_member(lease)?, progress) {
                (Some(member), None) => {
                    self.beat_member(member);
                    answers.push(Beaten::Kept);
                    continue;
                }
                (Some(member), Some(_)) => self.unpack(queue, member)?,
                (None, _) => {}
            }
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
        self.renew_shares(until)?;
        self.save_shares()?;
        Ok(answers)
    }

    /// As `Machine::expire_holder`.
    pub(in super::super) fn expire_holder(&mut self, incarnation: Incarnation) -> rusqlite::Result<usize> {
        for share in self.list(statements::HELD_SHARES, [holder(incarnation)], Share::read)? {
            let name = self.name_of(share.queue)?;
            self.unpack_share(&name, share)?;
        }
        self.save_shares()?;
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
        let queue = self.queue_or_new(name)?;
        let (key, shared, mut unpacked) = (queue.key, queue.shared > 0, 0);
        // As many as can be among the first ones.
        while shared && unpacked < limits::UPKEEP {
            let expired = (key, int(self.now.steady));
            let first = self.find(statements::FIRST_EXPIRED_SHARE, expired, Share::read)?;
            let Some(share) = first else { break };
            unpacked += share.members().count();
            self.unpack_share(name, share)?;
            self.save_shares()?;
        }
        let params = (key, int(self.now.steady), int(limits::UPKEEP as u64));
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
