//! Shares: what of a [pack](super::pack) is together ready, or leased by one claim.
//!
//! Those that a step looks for are read once and written back at its end, so that the tasks of one share that are settled together
//! cost one row. **Whoever changes one saves it ([`save_shares`](Steps::save_shares)) before the step ends**, and before anything reads
//! shares from the database.

use std::rc::Rc;

use rusqlite::Row;

use super::{
    Steps,
    pack::{Pack, SPAN, stored},
    take::Taking,
};
use crate::{
    ClaimedTask, Lease, QueueName, TaskId,
    backends::local::{
        keys::{holder, int, state, uint},
        statements,
    },
    crash::{Point, at},
    sabotage::{Defect, planted},
};

/// An id as it is stored; in a share all are UUIDs.
pub(super) type Id = [u8; 16];

/// Who holds a share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) by: Id,
    pub(super) until: i64,
    pub(super) epoch: u64,
}

/// A share as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Share {
    key: i64,
    pub(super) queue: i64,
    /// The sequence of its first task.
    first: u64,
    pub(super) pack: i64,
    /// Which of the pack its first task is.
    start: usize,
    ids: Vec<u8>,
    /// `1` for each task that is still here, `0` for others.
    members: Vec<u8>,
    pub(super) held: Option<Held>,
    /// Those whose lease was renewed in this step.
    beaten: Vec<usize>,
    /// Whether some left in this step.
    left: bool,
}

/// One of the shares that a step has read, and one of its tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) share: usize,
    pub(super) task: usize,
}

impl Share {
    /// How many columns [`read`](Self::read) takes.
    const COLUMNS: usize = 10;

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (by, until) = (row.get::<_, Option<Id>>(7)?, row.get::<_, Option<i64>>(8)?);
        let epoch = uint(row.get(9)?);
        Ok(Self {
            key: row.get(0)?,
            queue: row.get(1)?,
            first: uint(row.get(2)?),
            pack: row.get(3)?,
            start: row.get::<_, u32>(4)? as usize,
            ids: row.get(5)?,
            members: row.get_ref(6)?.as_bytes()?.to_vec(),
            held: by.map(|by| Held { by, until: until.unwrap_or_default(), epoch }),
            beaten: Vec::new(),
            left: false,
        })
    }

    fn id(&self, task: usize) -> Option<&Id> {
        self.ids.as_chunks().0.get(task)
    }

    /// The id of one of its tasks.
    pub(super) fn task_id(&self, task: usize) -> rusqlite::Result<TaskId> {
        let id = self.id(task).ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        Ok(TaskId::from(uuid::Uuid::from_bytes(*id)))
    }

    /// Which of its tasks has an id and is still here.
    pub(super) fn position(&self, id: &Id) -> Option<usize> {
        let task = self.ids.as_chunks::<16>().0.binary_search(id).ok()?;
        self.has(task).then_some(task)
    }

    fn has(&self, task: usize) -> bool {
        self.members.get(task) == Some(&b'1')
    }

    /// Those of its tasks that are still here, in their order.
    pub(super) fn members(&self) -> impl Iterator<Item = usize> {
        (0..self.members.len()).filter(|task| self.has(*task))
    }

    /// The sequence of one of its tasks, which is its place, too.
    pub(super) fn sequence(&self, task: usize) -> u64 {
        self.first + task as u64
    }

    /// The sequence of the first task that is still here.
    pub(super) fn next_sequence(&self) -> u64 {
        self.sequence(self.members().next().unwrap_or_default())
    }

    /// Which task of its pack one of its own is.
    pub(super) fn of_pack(&self, task: usize) -> usize {
        self.start + task
    }
}

/// The last id that a share can end with that has this one: see [`SPAN`].
fn reach(id: Id) -> Id {
    u128::from_be_bytes(id).saturating_add(SPAN << 80).to_be_bytes()
}

impl Steps<'_, '_> {
    /// The task of this id, if it is in a share.
    pub(super) fn member(&mut self, queue: i64, id: &Id) -> rusqlite::Result<Option<Member>> {
        let known = |shares: &[Share]| {
            let of = |(share, row): (usize, &Share)| {
                let task = row.position(id).filter(|_| row.queue == queue)?;
                Some(Member { share, task })
            };
            shares.iter().enumerate().rev().find_map(of)
        };
        if let Some(found) = known(&self.shares) {
            return Ok(Some(found));
        }
        self.load_shares(queue, *id, *id)?;
        Ok(known(&self.shares))
    }

    /// Whether any of these ids, from the least to the most, is that of a task in a share.
    pub(super) fn any_member(
        &mut self,
        queue: i64,
        ids: &[u8],
        least: Id,
        most: Id,
    ) -> rusqlite::Result<bool> {
        self.load_shares(queue, least, most)?;
        let ids = ids.as_chunks::<16>().0;
        let mut near = self.shares.iter().filter(|share| share.queue == queue);
        Ok(near.any(|share| {
            share.members().filter_map(|task| share.id(task)).any(|id| ids.binary_search(id).is_ok())
        }))
    }

    /// Reads the shares that may have ids between these two.
    fn load_shares(&mut self, queue: i64, least: Id, most: Id) -> rusqlite::Result<()> {
        for key in self.shares_around(queue, least, most)? {
            if self.shares.iter().all(|share| share.key != key)
                && let Some(share) = self.find(statements::SHARE, [key], Share::read)?
            {
                self.shares.push(share);
            }
        }
        Ok(())
    }

    /// The shares that may have ids between these two, nearest first.
    pub(super) fn shares_around(&self, queue: i64, least: Id, most: Id) -> rusqlite::Result<Vec<i64>> {
        self.list(statements::SHARES_AROUND, (queue, least, most, reach(most)), |row| row.get(0))
    }

    /// Whether a task of this id is in a share.
    pub(super) fn is_packed(&mut self, queue: i64, id: &TaskId) -> rusqlite::Result<bool> {
        let Some(id) = id.as_uuid() else { return Ok(false) };
        Ok(self.member(queue, id.as_bytes())?.is_some())
    }

    /// The task of a lease, if it is held by that lease in a share.
    pub(super) fn leased_member(&mut self, lease: &Lease) -> rusqlite::Result<Option<Member>> {
        let Some(id) = lease.id.as_uuid() else { return Ok(None) };
        let Some(queue) = self.load_queue(&lease.queue)?.filter(|queue| queue.shared > 0) else {
            return Ok(None);
        };
        let queue = queue.key;
        let found = self.member(queue, id.as_bytes())?;
        let is_his = |held: &Held| held.by == holder(lease.incarnation) && held.epoch == lease.epoch;
        Ok(found.filter(|found| self.shares[found.share].held.as_ref().is_some_and(is_his)))
    }

    /// A task leaves its share, for good or to become a row. Its queue still counts it as ready or leased.
    pub(super) fn leave_share(&mut self, name: &QueueName, member: Member) -> rusqlite::Result<()> {
        let share = &mut self.shares[member.share];
        share.members[member.task] = b'0';
        share.left = true;
        let leased = share.held.is_some();
        let queue = self.queue_or_new(name)?;
        *if leased { &mut queue.shared } else { &mut queue.packed } -= 1;
        Ok(())
    }

    /// Makes a task of a share a row of its own, in the state in which it is.
    pub(super) fn unpack(&mut self, name: &QueueName, member: Member) -> rusqlite::Result<()> {
        let number = self.shares[member.share].pack;
        let pack = match self.unpacked.take() {
            Some((unpacked, pack)) if unpacked == number => pack,
            _ => Rc::new(self.pack(number)?),
        };
        self.unpacked = Some((number, Rc::clone(&pack)));
        self.unpack_of(name, member, &pack)
    }

    fn unpack_of(&mut self, name: &QueueName, member: Member, pack: &Pack) -> rusqlite::Result<()> {
        let (share, task) = (&self.shares[member.share], member.task);
        let (id, sequence) = (share.id(task), int(share.sequence(task)));
        let payload = pack.payload(share.of_pack(task)).ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let params = rusqlite::params![
            share.queue,
            id,
            pack.name.as_str(),
            payload,
            if share.held.is_some() { state::LEASED } else { state::READY },
            sequence,
            share.held.map(|held| held.by),
            share.held.map(|held| held.until),
            share.held.map_or(0, |held| int(held.epoch)),
            pack.max_attempts,
            pack.max_crashes,
        ];
        self.execute(statements::UNPACK, params)?;
        at(Point::StepUnpacked);
        self.leave_share(name, member)
    }

    /// Makes a task a row if it is in a share, whatever its state.
    pub(super) fn unpack_id(&mut self, name: &QueueName, id: &TaskId) -> rusqlite::Result<()> {
        let Some(id) = id.as_uuid() else { return Ok(()) };
        let Some(queue) = self.load_queue(name)?.filter(|queue| queue.has_packs()) else {
            return Ok(());
        };
        let queue = queue.key;
        match self.member(queue, id.as_bytes())? {
            Some(member) => self.unpack(name, member),
            None => Ok(()),
        }
    }

    /// Makes all tasks of a share rows.
    pub(super) fn unpack_share(&mut self, name: &QueueName, share: Share) -> rusqlite::Result<()> {
        let pack = self.pack(share.pack)?;
        let members: Vec<usize> = share.members().collect();
        self.shares.push(share);
        let share = self.shares.len() - 1;
        members.into_iter().try_for_each(|task| self.unpack_of(name, Member { share, task }, &pack))
    }

    /// A lease is renewed with those of its share, or, at the end of the step, alone.
    pub(super) fn beat_member(&mut self, member: Member) {
        self.shares[member.share].beaten.push(member.task);
    }

    /// Renews the leases of shares whose tasks were all beaten; where only some were, those become rows.
    pub(super) fn renew_shares(&mut self, until: i64) -> rusqlite::Result<()> {
        for at in 0..self.shares.len() {
            let beaten = std::mem::take(&mut self.shares[at].beaten);
            let share = &mut self.shares[at];
            let Some(held) = &mut share.held else { continue };
            if beaten.is_empty() {
                continue;
            }
            held.until = until;
            if share.members().all(|task| beaten.contains(&task)) || planted(Defect::OneBeatKeepsAll) {
                let key = share.key;
                self.execute(statements::RENEW_SHARE, (key, until))?;
                continue;
            }
            let name = self.name_of(self.shares[at].queue)?;
            for task in beaten {
                // It may have been named twice, or have become a row since.
                if self.shares[at].has(task) {
                    self.unpack(&name, Member { share: at, task })?;
                }
            }
        }
        Ok(())
    }

    /// Writes back the shares of which tasks left. The end of a step that may have let some leave.
    pub(super) fn save_shares(&mut self) -> rusqlite::Result<()> {
        self.unpacked = None;
        for share in std::mem::take(&mut self.shares).into_iter().filter(|share| share.left) {
            if share.members().next().is_some() {
                let members = String::from_utf8_lossy(&share.members);
                self.execute(statements::SAVE_MEMBERS, (share.key, members))?;
                at(Point::StepShareSaved);
            } else {
                self.execute(statements::DROP_SHARE, [share.key])?;
                at(Point::StepShareSaved);
                self.execute(statements::DROP_PACK, [share.pack])?;
                at(Point::StepPackDropped);
            }
        }
        Ok(())
    }

    /// The first of the shares that are ready, and the generation.
    pub(super) fn first_ready_share(&self, queue: i64) -> rusqlite::Result<Option<(Share, u64)>> {
        self.find(statements::FIRST_READY_SHARE, [queue], |row| {
            Ok((Share::read(row)?, uint(row.get(Share::COLUMNS)?)))
        })
    }

    /// Leases the first tasks of a ready share, as many as may be taken, and none that stands behind `before`.
    pub(super) fn lease_share(
        &mut self,
        taking: &mut Taking<'_>,
        share: &Share,
        generation: u64,
        before: Option<u64>,
    ) -> rusqlite::Result<()> {
        let pack = self.pack(share.pack)?;
        let mut progress = pack.progress();
        progress.claim(generation);
        let reached = |task: &usize| before.is_none_or(|before| share.sequence(*task) < before);
        let taken: Vec<usize> = share.members().take_while(reached).take(taking.left()).collect();
        let Some(last) = taken.last() else { return Ok(()) };
        let Taking { claim, incarnation, until, .. } = *taking;
        for task in &taken {
            let id = share.task_id(*task)?;
            taking.tasks.push(ClaimedTask {
                batch: None,
                lease: Lease { queue: claim.queue.clone(), id, epoch: progress.epoch, incarnation },
                name: pack.name.clone(),
                payload: stored(pack.payload(share.of_pack(*task)))?,
                attempts: progress.attempts,
                max_attempts: progress.max_attempts,
                crashes: progress.crashes,
                deaths: progress.deaths,
                result_wanted: false,
                run_limit: None,
                alone: progress.alone,
            });
        }
        let held = Held { by: holder(incarnation), until: int(until), epoch: progress.epoch };
        self.cut(share, last + 1, &held)?;
        at(Point::StepLeased);
        let queue = self.queue_or_new(&claim.queue)?;
        queue.packed -= taken.len() as u64;
        queue.shared += taken.len() as u64;
        Ok(())
    }

    /// Makes the first `count` tasks of a ready share a leased one.
    fn cut(&self, share: &Share, count: usize, held: &Held) -> rusqlite::Result<()> {
        let rest = share.members.get(count..).unwrap_or_default();
        let Some(next) = rest.iter().position(|member| *member == b'1') else {
            self.execute(statements::LEASE_SHARE, (share.key, held.by, held.until, int(held.epoch)))?;
            return Ok(());
        };
        let (ids, cut) = (&share.ids, count * size_of::<Id>());
        // What is gone in between is of neither.
        let from = count + next;
        let params = rusqlite::params![
            share.key,
            int(share.sequence(from)),
            share.of_pack(from).cast_signed(),
            &ids[from * size_of::<Id>()..],
            String::from_utf8_lossy(&share.members[from..]),
            share.id(from),
        ];
        self.execute(statements::CUT_SHARE, params)?;
        at(Point::StepShareSaved);
        let params = rusqlite::params![
            share.queue,
            int(share.first),
            share.pack,
            share.start.cast_signed(),
            &ids[..cut],
            String::from_utf8_lossy(&share.members[..count]),
            share.id(0),
            share.id(count - 1),
            held.by,
            held.until,
            int(held.epoch),
        ];
        self.execute(statements::ADD_SHARE, params)?;
        Ok(())
    }
}
