//! Arrows `claim`: ready → leased, and `promote`: scheduled → ready.

use std::time::Duration;

use super::{QueueRow, Steps, TaskRow};
use crate::{
    Claim, ClaimReply, ClaimedTask, Incarnation, Lease, Payload, QueueName,
    backends::local::{
        keys::{StoredName, holder, int, uint},
        statements,
    },
    clock::millis,
    crash::{Point, at},
    limits,
};

impl Steps<'_> {
    /// Answers a claim that would change nothing: there is nothing to take and nothing to tidy up. So an idle worker
    /// never writes. `None` when it would change something.
    pub(in super::super) fn peek(&self, claim: &Claim) -> rusqlite::Result<Option<ClaimReply>> {
        let Some(queue) = self.peek_queue(&claim.queue)? else { return Ok(Some(ClaimReply::default())) };
        let next = self.next(&queue)?;
        if next == Some(Duration::ZERO) {
            return Ok(None);
        }
        let held_by = self.full_feed(claim)?;
        let for_us = if claim.idle { queue.ready } else { queue.ready - queue.ready_alone };
        if for_us > 0 && held_by.is_none() {
            return Ok(None);
        }
        Ok(Some(reply(held_by, &queue, next)))
    }

    /// As `Machine::claim`.
    pub(in super::super) fn claim(
        &mut self,
        claim: &Claim,
        incarnation: Incarnation,
    ) -> rusqlite::Result<ClaimReply> {
        let held_by = self.full_feed(claim)?;
        if self.queue(&claim.queue)?.is_none() {
            return Ok(ClaimReply::default());
        }
        self.promote(&claim.queue)?;
        self.expire_leases(&claim.queue)?;
        let tasks = if held_by.is_some() { Vec::new() } else { self.take(claim, incarnation)? };
        let Some(queue) = self.peek_queue(&claim.queue)? else { return Ok(ClaimReply::default()) };
        Ok(ClaimReply { tasks, ..reply(held_by, &queue, self.next(&queue)?) })
    }

    fn full_feed(&self, claim: &Claim) -> rusqlite::Result<Option<QueueName>> {
        for name in claim.feeds.iter().filter(|name| **name != claim.queue) {
            if self.peek_queue(name)?.is_some_and(|queue| queue.status().is_full()) {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    /// Arrow `promote`.
    fn promote(&mut self, name: &QueueName) -> rusqlite::Result<()> {
        let now = int(self.now.wall);
        let Some(queue) = self.peek_queue(name)?.filter(|queue| queue.scheduled > 0) else { return Ok(()) };
        let due: Vec<i64> =
            self.list(statements::DUE, (queue.key, now, int(limits::UPKEEP as u64)), |row| row.get(0))?;
        for task in due {
            let queue = self.queue_or_new(name)?;
            queue.scheduled -= 1;
            queue.ready += 1;
            let sequence = queue.next_sequence();
            self.execute(statements::PROMOTE, (task, int(sequence)))?;
            at(Point::StepPromoted);
            self.news = true;
        }
        Ok(())
    }

    fn take(&mut self, claim: &Claim, incarnation: Incarnation) -> rusqlite::Result<Vec<ClaimedTask>> {
        let Some(queue) = self.peek_queue(&claim.queue)?.filter(|queue| queue.ready > 0) else {
            return Ok(Vec::new());
        };
        let alone = claim.idle && queue.ready_alone > 0 && self.alone_is_first(&queue)?;
        let most = if alone { 1 } else { claim.max };
        let rows = self.list(statements::READY, (queue.key, alone, int(most as u64)), |row| {
            Ok((TaskRow::read(row)?, row.get::<_, StoredName>(13)?.0, row.get::<_, String>(14)?))
        })?;
        let until = self.now.steady.saturating_add(millis(claim.lease));
        let generation = self.find(statements::GENERATION, [], |row| row.get(0))?.map_or(0, uint);
        let mut tasks = Vec::with_capacity(rows.len());
        for (TaskRow { key, id, mut progress, .. }, name, payload) in rows {
            progress.claim(generation);
            let params = (key, holder(incarnation), int(until), int(progress.epoch), progress.alone);
            self.execute(statements::LEASE, params)?;
            at(Point::StepLeased);
            tasks.push(ClaimedTask {
                lease: Lease { queue: claim.queue.clone(), id, epoch: progress.epoch, incarnation },
                name,
                payload: Payload::from_stored(payload),
                attempts: progress.attempts,
                max_attempts: progress.max_attempts,
                crashes: progress.crashes,
                deaths: progress.deaths,
                alone: progress.alone,
            });
        }
        let taken = tasks.len() as u64;
        let queue = self.queue_or_new(&claim.queue)?;
        queue.ready -= taken;
        queue.ready_alone -= if alone { taken } else { 0 };
        queue.leased += taken;
        Ok(tasks)
    }

    /// Whether a task that must run alone stands before all others.
    fn alone_is_first(&self, queue: &QueueRow) -> rusqlite::Result<bool> {
        let first =
            |alone: bool| self.find(statements::FIRST_READY, (queue.key, alone), |row| row.get::<_, i64>(0));
        Ok(first(true)?
            .is_some_and(|alone| first(false).is_ok_and(|other| other.is_none_or(|other| alone < other))))
    }

    /// How long until a task becomes due or a lease runs out.
    fn next(&self, queue: &QueueRow) -> rusqlite::Result<Option<Duration>> {
        let min = |some: bool, sql, now: u64| -> rusqlite::Result<Option<u64>> {
            let at = if some {
                self.find(sql, [queue.key], |row| row.get::<_, Option<i64>>(0))?.flatten()
            } else {
                None
            };
            Ok(at.map(|at| uint(at).saturating_sub(now)))
        };
        let due = min(queue.scheduled > 0, statements::NEXT_DUE, self.now.wall)?;
        let until = min(queue.leased > 0, statements::NEXT_EXPIRY, self.now.steady)?;
        Ok(due.into_iter().chain(until).min().map(Duration::from_millis))
    }
}

fn reply(held_by: Option<QueueName>, queue: &QueueRow, next: Option<Duration>) -> ClaimReply {
    let (waiting_alone, ended) = (queue.ready_alone, queue.status().is_ended());
    ClaimReply { tasks: Vec::new(), held_by, waiting_alone, ended, mark: queue.sequence, next }
}
