//! Arrow `expire`: leased → ready (or dead), and `beat`, which puts it off.

use std::time::Duration;

use super::{Steps, TaskRow};
use crate::{
    Beaten, Incarnation, Lease, QueueName,
    backends::local::{
        keys::{IdKey, holder, int, state},
        statements,
    },
    clock::millis,
    crash::{Point, at},
    limits,
    machine::{Fate, Progress},
};

impl Steps<'_> {
    /// As `Machine::beat`.
    pub(in super::super) fn beat(
        &mut self,
        leases: &[Lease],
        lease: Duration,
    ) -> rusqlite::Result<Vec<Beaten>> {
        let until = int(self.now.steady.saturating_add(millis(lease)));
        let mut answers = Vec::with_capacity(leases.len());
        for Lease { queue, id, epoch, incarnation } in leases {
            let renewed = match self.peek_queue(queue)? {
                Some(queue) => {
                    let params = (queue.key, IdKey(id), int(*epoch), holder(*incarnation), until);
                    self.execute(statements::BEAT, params)? == 1
                }
                None => false,
            };
            at(Point::StepBeaten);
            answers.push(if renewed { Beaten::Kept } else { Beaten::Lost });
        }
        Ok(answers)
    }

    /// As `Machine::expire_holder`.
    pub(in super::super) fn expire_holder(&mut self, incarnation: Incarnation) -> rusqlite::Result<usize> {
        let held = self.list(statements::HELD, [holder(incarnation)], |row| {
            Ok((row.get::<_, i64>(13)?, TaskRow::read(row)?))
        })?;
        let count = held.len();
        for (queue, task) in held {
            let name: Option<String> = self.find(statements::QUEUE_BY_KEY, [queue], |row| row.get(0))?;
            let name = name
                .and_then(|name| QueueName::new(&name).ok())
                .ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            self.expire(&name, task)?;
        }
        Ok(count)
    }

    /// Takes back a bounded number of leases that ran out.
    pub(super) fn expire_leases(&mut self, name: &QueueName) -> rusqlite::Result<()> {
        let now = int(self.now.steady);
        let Some(queue) = self.peek_queue(name)?.filter(|queue| queue.leased > 0) else { return Ok(()) };
        let expired =
            self.list(statements::EXPIRED, (queue.key, now, int(limits::UPKEEP as u64)), TaskRow::read)?;
        expired.into_iter().try_for_each(|task| self.expire(name, task))
    }

    fn expire(&mut self, name: &QueueName, mut task: TaskRow) -> rusqlite::Result<()> {
        let fate = task.progress.expire();
        self.end_lease(name, &task, fate)?;
        at(Point::StepExpired);
        Ok(())
    }

    /// Sends a leased task where its fate says, as `Queue::go`.
    pub(super) fn end_lease(&mut self, name: &QueueName, task: &TaskRow, fate: Fate) -> rusqlite::Result<()> {
        self.news = true;
        let queue = self.queue_or_new(name)?;
        queue.leased -= 1;
        match fate {
            Fate::Done => self.execute(statements::REMOVE_TASK, [task.key]).map(drop),
            Fate::Ready => {
                let alone = task.progress.must_run_alone();
                queue.ready += 1;
                queue.ready_alone += u64::from(alone);
                self.save(task, state::READY, alone, None, None)
            }
            Fate::Scheduled(due) => {
                queue.scheduled += 1;
                self.save(task, state::SCHEDULED, false, Some(due), None)
            }
            Fate::Dead => {
                queue.deaths += 1;
                queue.dead += 1;
                let (key, death, full) = (queue.key, queue.deaths, queue.dead > limits::MAX_DEAD);
                queue.dead -= u64::from(full);
                self.save(task, state::DEAD, false, None, Some(death))?;
                if full { self.execute(statements::REMOVE_FIRST_DEAD, [key]).map(drop) } else { Ok(()) }
            }
        }
    }

    fn save(
        &self,
        task: &TaskRow,
        state: i64,
        must_alone: bool,
        due: Option<u64>,
        death: Option<u64>,
    ) -> rusqlite::Result<()> {
        let Progress { attempts, crashes, deaths, parks, parked_since, error, .. } = &task.progress;
        let params = (
            task.key,
            state,
            must_alone,
            due.map(int),
            death.map(int),
            attempts,
            crashes,
            deaths,
            parks,
            int(*parked_since),
            error.as_deref(),
        );
        self.execute(statements::END_LEASE, params).map(drop)
    }
}
