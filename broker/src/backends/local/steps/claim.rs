//! Arrows `claim`: ready → leased, and `promote`: scheduled → ready or held.

use std::time::Duration;

use rusqlite::Row;

use super::{QueueRow, Steps};
use crate::{
    Claim, ClaimReply, Incarnation, QueueName,
    backends::local::{
        keys::{StoredLimit, int, state, uint},
        statements,
    },
    clock::Now,
    crash::{Point, at},
    limits,
    machine::{held_place, place},
};

/// What of a queue comes next.
#[derive(Clone, Copy, Debug, Default)]
struct Next {
    /// When the first scheduled task becomes due, in wall-clock milliseconds.
    due: Option<u64>,
    /// When the first lease runs out, in steady milliseconds.
    until: Option<u64>,
    /// When the time of the first task is over that nobody claimed, in wall-clock milliseconds.
    expires: Option<u64>,
    /// When the first interval of a key is over, in wall-clock milliseconds.
    opens: Option<u64>,
    /// When the first of the dead died, in wall-clock milliseconds.
    died: Option<u64>,
}

impl Next {
    /// How long until there is something to do.
    fn after(&self, now: Now) -> Option<Duration> {
        let wall = self.due.into_iter().chain(self.expires).chain(self.opens).min();
        let wall = wall.map(|time| time.saturating_sub(now.wall));
        let steady = self.until.map(|until| until.saturating_sub(now.steady));
        wall.into_iter().chain(steady).min().map(Duration::from_millis)
    }
}

/// A task that was put off and is due.
struct Due {
    task: i64,
    limit: Option<StoredLimit>,
    /// Its sequence, if it keeps that: it was charged with a crash, and must run alone.
    comes_back: Option<u64>,
}

impl Due {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let alone: bool = row.get(3)?;
        let sequence = uint(row.get(2)?);
        Ok(Self { task: row.get(0)?, limit: row.get(1)?, comes_back: alone.then_some(sequence) })
    }
}

impl Steps<'_, '_> {
    /// Answers a claim that would change nothing: there is nothing to take and nothing to tidy up. So an idle worker
    /// never writes. `None` when it would change something.
    pub(in super::super) fn peek(&self, claim: &Claim) -> rusqlite::Result<Option<ClaimReply>> {
        let Some(queue) = self.peek_queue(&claim.queue)? else { return Ok(Some(ClaimReply::default())) };
        let held_by = self.full_feed(claim)?;
        let for_us = if claim.idle { queue.ready } else { queue.ready - queue.ready_alone };
        if for_us > 0 && held_by.is_none() && !queue.paused {
            return Ok(None);
        }
        let next = self.next(&queue)?;
        let after = next.after(self.now);
        if after == Some(Duration::ZERO) || next.died.is_some_and(|died| self.kept_long_enough(died)) {
            return Ok(None);
        }
        Ok(Some(reply(held_by, &queue, after)))
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
        self.tidy_up(&claim.queue)?;
        let paused = self.queue_or_new(&claim.queue)?.paused;
        let tasks = if held_by.is_some() || paused { Vec::new() } else { self.take(claim, incarnation)? };
        self.count_settled()?;
        let Some(queue) = self.peek_queue(&claim.queue)? else { return Ok(ClaimReply::default()) };
        Ok(ClaimReply { tasks, ..reply(held_by, &queue, self.next(&queue)?.after(self.now)) })
    }

    fn full_feed(&self, claim: &Claim) -> rusqlite::Result<Option<QueueName>> {
        for name in claim.feeds.iter().filter(|name| **name != claim.queue) {
            if self.peek_queue(name)?.is_some_and(|queue| queue.status().is_full()) {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    /// Does a bounded part of what time brought, in this order.
    fn tidy_up(&mut self, name: &QueueName) -> rusqlite::Result<()> {
        let Some(queue) = self.peek_queue(name)? else { return Ok(()) };
        let (next, Now { wall, steady }) = (self.next(&queue)?, self.now);
        if next.expires.is_some_and(|expires| expires <= wall) {
            self.lapse(name)?;
        }
        if next.due.is_some_and(|due| due <= wall) {
            self.promote(name)?;
        }
        if next.until.is_some_and(|until| until <= steady) {
            self.expire_leases(name)?;
        }
        if next.opens.is_some_and(|opens| opens <= wall) {
            self.open(name)?;
        }
        if next.died.is_some_and(|died| self.kept_long_enough(died)) {
            self.forget_dead(name)?;
        }
        Ok(())
    }

    /// Arrow `promote`.
    fn promote(&mut self, name: &QueueName) -> rusqlite::Result<()> {
        let params = (self.queue_or_new(name)?.key, int(self.now.wall), int(limits::UPKEEP as u64));
        for Due { task, limit, comes_back } in self.list(statements::DUE, params, Due::read)? {
            let queue = self.queue_or_new(name)?;
            queue.scheduled -= 1;
            let order = queue.order();
            let sequence = comes_back.unwrap_or_else(|| queue.next_sequence());
            let (alone, returned) = (comes_back.is_some(), comes_back.is_some() && limit.is_some());
            let (state, place) = if limit.is_some() {
                queue.held += 1;
                (state::HELD, held_place(order, sequence, alone))
            } else {
                queue.ready += 1;
                queue.ready_alone += u64::from(alone);
                (state::READY, place(order, sequence, alone))
            };
            self.execute(statements::PROMOTE, (task, int(sequence), place, state, alone, returned))?;
            at(Point::StepPromoted);
            self.news = true;
            if let Some(StoredLimit(key)) = limit {
                self.admit(name, &key, None)?;
            }
        }
        Ok(())
    }

    /// What comes next, read only where there is anything that it can be.
    fn next(&self, queue: &QueueRow) -> rusqlite::Result<Next> {
        // The interval of a key may outlive its tasks.
        let keys = queue.configuration.options.limits_keys();
        if queue.status().unsettled() + queue.dead == 0 && !keys {
            return Ok(Next::default());
        }
        let waiting = (queue.ready - queue.packed) + queue.scheduled + queue.held;
        let params = (
            queue.key,
            queue.scheduled > 0,
            queue.leased > queue.shared,
            waiting > 0,
            queue.dead > 0,
            queue.shared > 0,
        );
        let next = self.find(statements::NEXT, params, |row| {
            let time = |at| row.get::<_, Option<i64>>(at).map(|time| time.map(uint));
            let until = time(1)?.into_iter().chain(time(5)?).min();
            Ok(Next { due: time(0)?, until, expires: time(2)?, died: time(3)?, opens: time(4)? })
        })?;
        Ok(next.unwrap_or_default())
    }
}

fn reply(held_by: Option<QueueName>, queue: &QueueRow, next: Option<Duration>) -> ClaimReply {
    let (waiting_alone, ended) = (queue.ready_alone, queue.status().is_ended());
    ClaimReply { tasks: Vec::new(), held_by, waiting_alone, ended, mark: queue.sequence, next, leased: None }
}
