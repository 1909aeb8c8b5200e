//! Tasks in packs as an operator sees them.
//!
//! Reads the database only: who has changed shares in this transaction has saved them.

use std::time::Duration;

use rusqlite::Params;
use uuid::Uuid;

use super::{
    QueueRow, Steps,
    lookup::Look,
    pack::{Pack, stored},
    share::Share,
};
use crate::{
    Mark, Payload, Standing, State, TaskId, TaskInfo,
    backends::local::{
        keys::{int, uint},
        statements,
    },
    limits,
};

/// How many shares are read at a time.
const PAGE: i64 = 8;

impl Steps<'_, '_> {
    /// A task that is in a share, with its payload.
    pub(super) fn look_packed(
        &self,
        queue: &QueueRow,
        id: &TaskId,
    ) -> rusqlite::Result<Option<(Look, Payload)>> {
        let Some((share, task)) = self.find_packed(queue, id)? else { return Ok(None) };
        let pack = self.pack(share.pack)?;
        let payload = stored(pack.payload(share.of_pack(task)))?;
        Ok(Some((self.packed_look(&share, task, &pack)?, payload)))
    }

    /// Which task of which share has an id.
    pub(super) fn find_packed(
        &self,
        queue: &QueueRow,
        id: &TaskId,
    ) -> rusqlite::Result<Option<(Share, usize)>> {
        let Some(id) = id.as_uuid().filter(|_| queue.has_packs()) else { return Ok(None) };
        let id = id.into_bytes();
        for share in self.shares_around(queue.key, id, id)? {
            if let Some(share) = self.find(statements::SHARE, [share], Share::read)?
                && let Some(task) = share.position(&id)
            {
                return Ok(Some((share, task)));
            }
        }
        Ok(None)
    }

    /// The first tasks of packs that are in a state, after a mark, in the order of the list of that state.
    pub(super) fn packed_looks(
        &self,
        queue: &QueueRow,
        state: State,
        after: (i64, i64),
        max: usize,
    ) -> rusqlite::Result<Vec<Look>> {
        let mut found = Vec::new();
        if !queue.has_packs() {
            return Ok(found);
        }
        // The one before may have tasks after the mark.
        let mut from = (after.0, after.1.saturating_sub(limits::MAX_BATCH.cast_signed() as i64));
        loop {
            let shares = match state {
                State::Ready => self.shares(statements::READY_SHARES, (queue.key, from.1, PAGE))?,
                State::Leased => self.shares(statements::LEASED_SHARES, (queue.key, from.0, from.1, PAGE))?,
                State::Scheduled | State::Held | State::Dead => Vec::new(),
            };
            let Some(last) = shares.last() else { return Ok(found) };
            from = (last.held.map_or(0, |held| held.until), int(last.sequence(0)));
            for share in &shares {
                let first = share.held.map_or(0, |held| held.until);
                let behind = |task: &usize| (first, int(share.sequence(*task))) > after;
                let mut tasks = share.members().filter(behind).peekable();
                if tasks.peek().is_some() {
                    let pack = self.pack(share.pack)?;
                    for task in tasks.take(max - found.len()) {
                        found.push(self.packed_look(share, task, &pack)?);
                    }
                }
                if found.len() >= max {
                    return Ok(found);
                }
            }
        }
    }

    /// How many ready tasks of packs stand before a place, up to `most`.
    pub(super) fn packed_ahead(&self, queue: &QueueRow, place: i64, most: u64) -> rusqlite::Result<u64> {
        let (mut count, mut from) = (0, -1);
        if queue.packed == 0 {
            return Ok(0);
        }
        loop {
            let shares = self.shares(statements::READY_SHARES, (queue.key, from, PAGE))?;
            let Some(last) = shares.last() else { return Ok(count) };
            from = int(last.sequence(0));
            for share in &shares {
                count += share.members().filter(|task| int(share.sequence(*task)) < place).count() as u64;
            }
            if count >= most || from >= place {
                return Ok(count.min(most));
            }
        }
    }

    fn shares(&self, sql: &'static str, params: impl Params) -> rusqlite::Result<Vec<Share>> {
        self.list(sql, params, Share::read)
    }

    fn packed_look(&self, share: &Share, task: usize, pack: &Pack) -> rusqlite::Result<Look> {
        let sequence = int(share.sequence(task));
        let (standing, mark) = match &share.held {
            None => (Standing::Ready { alone: false }, Mark::new(0, sequence, None)),
            Some(held) => {
                let left = Duration::from_millis(uint(held.until).saturating_sub(self.now.steady));
                let by = Uuid::from_bytes(held.by).into();
                (Standing::Leased { by, left, cancelled: false }, Mark::new(held.until, sequence, None))
            }
        };
        let payload = pack.payload(share.of_pack(task)).map_or(0, str::len);
        let info = TaskInfo {
            max_attempts: pack.max_attempts,
            max_crashes: pack.max_crashes,
            epoch: share.held.map_or(0, |held| held.epoch),
            payload_bytes: payload,
            ..TaskInfo::new(share.task_id(task)?, pack.name.clone(), standing)
        };
        Ok(Look { info, mark, history: Vec::new() })
    }
}
