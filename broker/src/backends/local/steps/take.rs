//! What a claim takes: rows, and parts of packs, in the order of their places.

use std::time::Duration;

use rusqlite::{Params, Row};

use super::{QueueRow, Steps, TaskRow};
use crate::{
    Claim, ClaimedTask, Incarnation, Lease, Payload, TaskName, Wanted,
    backends::local::{
        keys::{StoredName, holder, int, uint},
        statements,
    },
    clock::{millis, wall},
    crash::{Point, at},
    sabotage::{Defect, planted},
};

/// A claim, and what it has taken so far.
pub(super) struct Taking<'a> {
    pub(super) claim: &'a Claim,
    pub(super) incarnation: Incarnation,
    /// When its leases run out, in steady milliseconds.
    pub(super) until: u64,
    pub(super) tasks: Vec<ClaimedTask>,
}

impl Taking<'_> {
    /// How many more it may take.
    pub(super) fn left(&self) -> usize {
        self.claim.max.saturating_sub(self.tasks.len())
    }
}

/// A ready row with what its holder is told, and the generation.
struct ReadyRow {
    task: TaskRow,
    name: TaskName,
    payload: String,
    generation: u64,
    run_limit: Option<Duration>,
}

impl ReadyRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            task: TaskRow::read(row)?,
            name: row.get::<_, StoredName>(TaskRow::COLUMNS)?.0,
            payload: row.get(TaskRow::COLUMNS + 1)?,
            generation: uint(row.get(TaskRow::COLUMNS + 2)?),
            run_limit: row
                .get::<_, Option<i64>>(TaskRow::COLUMNS + 3)?
                .map(|ms| Duration::from_millis(uint(ms))),
        })
    }
}

impl Steps<'_, '_> {
    pub(super) fn take(
        &mut self,
        claim: &Claim,
        incarnation: Incarnation,
    ) -> rusqlite::Result<Vec<ClaimedTask>> {
        let Some(queue) = self.peek_queue(&claim.queue)?.filter(|queue| queue.ready > 0) else {
            return Ok(Vec::new());
        };
        let from = if planted(Defect::LeaseByClientsClock) { wall() } else { self.now.steady };
        let until = from.saturating_add(millis(claim.lease));
        let mut taking = Taking { claim, incarnation, until, tasks: Vec::new() };
        let now = int(self.now.wall);
        let alone = claim.idle && queue.ready_alone > 0 && self.alone_is_first(&queue)?;
        if alone {
            self.take_rows(&mut taking, statements::READY, (queue.key, true, now, 1))?;
        } else if queue.packed == 0 {
            // There may be more whose time is over than one claim takes care of.
            let most = int(claim.max as u64);
            self.take_rows(&mut taking, statements::READY, (queue.key, false, now, most))?;
        } else {
            self.take_in_order(&mut taking, &queue)?;
        }
        let taken = taking.tasks.len() as u64;
        let queue = self.queue_or_new(&claim.queue)?;
        queue.ready -= taken;
        queue.ready_alone -= if alone { taken } else { 0 };
        queue.leased += taken;
        Ok(taking.tasks)
    }

    /// Takes rows and parts of packs: a row may stand before a share, behind it, or where one of its tasks was.
    fn take_in_order(&mut self, taking: &mut Taking<'_>, queue: &QueueRow) -> rusqlite::Result<()> {
        let (key, now) = (queue.key, int(self.now.wall));
        while taking.left() > 0 {
            let (before, rows) = (taking.tasks.len(), queue.ready > queue.packed);
            let most = int(taking.left() as u64);
            let Some((share, generation)) = self.first_ready_share(key)? else {
                return self.take_rows(taking, statements::READY, (key, false, now, most));
            };
            if rows {
                let place = int(share.next_sequence());
                self.take_rows(taking, statements::READY_BEFORE, (key, false, now, most, place))?;
            }
            if taking.left() > 0 {
                let other = if rows { self.first_ready(queue, false)? } else { None };
                self.lease_share(taking, &share, generation, other.map(|(_, place)| uint(place)))?;
            }
            if taking.tasks.len() == before {
                break;
            }
        }
        Ok(())
    }

    /// Leases the rows that a statement reads.
    fn take_rows(
        &mut self,
        taking: &mut Taking<'_>,
        sql: &'static str,
        params: impl Params,
    ) -> rusqlite::Result<()> {
        for ReadyRow { task, name, payload, generation, run_limit } in
            self.list(sql, params, ReadyRow::read)?
        {
            let TaskRow { key, id, mut progress, wanted, limit, batch, .. } = task;
            let Taking { claim, incarnation, until, .. } = *taking;
            progress.claim(generation);
            let params = (key, holder(incarnation), int(until), int(progress.epoch), progress.alone);
            self.execute(statements::LEASE, params)?;
            if let Some(limit) = &limit {
                self.lease_in_line(&claim.queue, limit)?;
            }
            at(Point::StepLeased);
            taking.tasks.push(ClaimedTask {
                batch,
                lease: Lease { queue: claim.queue.clone(), id, epoch: progress.epoch, incarnation },
                name,
                payload: Payload::from_stored(payload),
                attempts: progress.attempts,
                max_attempts: progress.max_attempts,
                crashes: progress.crashes,
                deaths: progress.deaths,
                result_wanted: wanted != Wanted::No,
                run_limit,
                alone: progress.alone,
            });
        }
        Ok(())
    }

    /// Rank and place of the first ready row of those that must run alone, or of the others.
    fn first_ready(&self, queue: &QueueRow, alone: bool) -> rusqlite::Result<Option<(i64, i64)>> {
        let params = (queue.key, alone, int(self.now.wall));
        self.find(statements::FIRST_READY, params, |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Whether a task that must run alone stands before all others.
    fn alone_is_first(&self, queue: &QueueRow) -> rusqlite::Result<bool> {
        let Some(alone) = self.first_ready(queue, true)? else { return Ok(false) };
        if queue.packed > 0
            && let Some((share, _)) = self.first_ready_share(queue.key)?
            && (0, int(share.next_sequence())) < alone
        {
            return Ok(false);
        }
        Ok(self.first_ready(queue, false)?.is_none_or(|other| alone < other))
    }
}
