//! Packs: the tasks of one call as one row, where they ask for nothing and are alike.
//!
//! A task costs a row and a place in each of its indexes, four times in its life. Most are sent many at a time, claimed many at a
//! time and completed: as long as nothing else happens to them they cost a part of a row.
//!
//! A pack is written once, and holds what they were given. Which of them are still in it, and how far they came, is in its
//! [shares](super::share). What happens to one of them alone makes it a row like all others first.

use super::{Steps, share::Id};
use crate::{
    NewTask, Order, Payload, TaskName, Wanted,
    backends::local::{keys::StoredName, statements},
    crash::{Point, at},
    machine::Progress,
    sabotage::{Defect, planted},
};

/// The fewest tasks of a pack.
const LEAST: usize = 2;

/// The most bytes of their payloads: a pack is read whole by everyone who claims some of it.
const MOST_BYTES: usize = 64 * 1024;

/// How far apart their ids may be made, in milliseconds. So whoever looks for an id need not look far; see
/// [`Steps::member`].
pub(super) const SPAN: u128 = 100;

/// Whether a queue may refuse tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Room {
    /// One that is full or closed does.
    AsThereIs,
    /// Children are always accepted.
    Always,
}

/// What the tasks of a pack were given.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) name: TaskName,
    pub(super) max_attempts: u32,
    pub(super) max_crashes: u32,
    ends: Vec<u8>,
    payloads: String,
}

impl Pack {
    /// The payload of one of its tasks. `None` of a pack that is damaged.
    pub(super) fn payload(&self, task: usize) -> Option<&str> {
        payload(&self.ends, &self.payloads, task)
    }

    /// What is known of a task to which nothing happened.
    pub(super) fn progress(&self) -> Progress {
        Progress::new(self.max_attempts, self.max_crashes)
    }
}

/// The payload of a task of a pack, by where they end. `None` of a pack that is damaged.
pub(in super::super) fn payload<'p>(ends: &[u8], payloads: &'p str, task: usize) -> Option<&'p str> {
    let ends = ends.as_chunks().0;
    let end = |task: usize| ends.get(task).map(|end| u32::from_le_bytes(*end) as usize);
    let start = match task.checked_sub(1) {
        Some(before) => end(before)? + 1,
        None => 0,
    };
    payloads.get(start..end(task)?)
}

/// How many of these, from the first on, can be in one pack.
fn alike(tasks: &[NewTask], wall: u64) -> usize {
    let Some(first) = tasks.first().filter(|task| is_plain(task, wall)) else { return 0 };
    let (mut bytes, mut last) = (0, None);
    let fits = |task: &&NewTask| {
        bytes += task.payload.as_str().len() + 1;
        // In the order of their ids, so that one is found in its share without looking at all.
        let id = task.id.as_uuid().map(|id| id.as_u128());
        let ascends = last.is_none_or(|last| Some(last) < id);
        let near = id
            .zip(first.id.as_uuid())
            .is_some_and(|(id, first)| (id >> 80) <= (first.as_u128() >> 80) + SPAN);
        last = id;
        let same = task.queue == first.queue
            && task.name == first.name
            && (task.max_attempts, task.max_crashes) == (first.max_attempts, first.max_crashes);
        same && ascends && near && bytes <= MOST_BYTES && is_plain(task, wall)
    };
    tasks.iter().take_while(fits).count()
}

/// Whether a task asks for nothing but to be run, and its id is not one that the user knows.
fn is_plain(task: &NewTask, wall: u64) -> bool {
    !task.id_given
        && task.start.due(wall).is_none()
        && task.priority.is_none()
        && task.expires.is_none()
        && task.unique.is_none()
        && task.key.is_none()
        && task.batch.is_none()
        && task.run_limit.is_none()
        && task.result == Wanted::No
}

impl Steps<'_, '_> {
    /// Adds the tasks of a call: those that can be in one pack together, and the others by `one`.
    pub(super) fn add_in_packs<T: Clone>(
        &mut self,
        mut tasks: &[NewTask],
        room: Room,
        added: &T,
        one: fn(&mut Self, &NewTask) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let mut answers = Vec::with_capacity(tasks.len());
        while !tasks.is_empty() {
            let (run, rest) = tasks.split_at(alike(tasks, self.now.wall).max(1));
            if run.len() >= LEAST && self.add_pack(run, room)? {
                answers.resize(answers.len() + run.len(), added.clone());
            } else {
                for task in run {
                    answers.push(one(self, task)?);
                }
            }
            tasks = rest;
        }
        Ok(answers)
    }

    /// Adds tasks as a pack. `false`, and nothing, where they are not all to be added, or something is to be looked at for
    /// each.
    fn add_pack(&mut self, tasks: &[NewTask], room: Room) -> rusqlite::Result<bool> {
        let (Some(first), Some(last)) = (tasks.first(), tasks.last()) else { return Ok(false) };
        let (Some(least), Some(most)) = (first.id.as_uuid(), last.id.as_uuid()) else { return Ok(false) };
        let (least, most) = (least.into_bytes(), most.into_bytes());
        let count = tasks.len() as u64;
        let queue = self.queue_or_new(&first.queue)?;
        let has_room =
            !queue.closed && queue.status().unsettled() + count <= queue.configuration.options.capacity;
        let fits = queue.order() == Order::Fifo && (room == Room::Always || has_room);
        if !fits || planted(Defect::OneInTenThousandDropped) {
            return Ok(false);
        }
        let (key, packs, sequence) = (queue.key, queue.has_packs(), queue.sequence + 1);
        let traces = queue.remembered + queue.results > 0;
        let mut ids: Vec<u8> = Vec::with_capacity(tasks.len() * size_of::<Id>());
        for task in tasks {
            ids.extend_from_slice(task.id.as_uuid().unwrap_or_default().as_bytes());
        }
        let any = |sql| Ok::<_, rusqlite::Error>(self.find(sql, (key, least, most), |_| Ok(()))?.is_some());
        if any(statements::HAS_ROWS)?
            || traces && any(statements::HAS_TRACES)?
            || packs && self.any_member(key, &ids, least, most)?
        {
            return Ok(false);
        }
        let (mut ends, mut payloads) = (Vec::with_capacity(tasks.len() * 4), String::new());
        for task in tasks {
            payloads.push_str(task.payload.as_str());
            // No more than `MOST_BYTES`.
            ends.extend_from_slice(&u32::try_from(payloads.len()).unwrap_or_default().to_le_bytes());
            payloads.push('\n');
        }
        let params = rusqlite::params![
            key,
            sequence.cast_signed(),
            tasks.len().cast_signed(),
            first.name.as_str(),
            first.max_attempts,
            first.max_crashes,
            ends,
            payloads
        ];
        let pack: Option<i64> = self.find(statements::ADD_PACK, params, |row| row.get(0))?;
        at(Point::StepPackAdded);
        let members = "1".repeat(tasks.len());
        let params = rusqlite::params![
            key,
            sequence.cast_signed(),
            pack,
            0,
            ids,
            members,
            least,
            most,
            None::<[u8; 16]>,
            None::<i64>,
            0
        ];
        self.execute(statements::ADD_SHARE, params)?;
        at(Point::StepShareSaved);
        self.news = true;
        let queue = self.queue_or_new(&first.queue)?;
        queue.sequence += count;
        queue.ready += count;
        queue.packed += count;
        Ok(true)
    }

    /// What the tasks of a pack were given.
    pub(super) fn pack(&self, pack: i64) -> rusqlite::Result<Pack> {
        let found = self.find(statements::PACK, [pack], |row| {
            Ok(Pack {
                name: row.get::<_, StoredName>(0)?.0,
                max_attempts: row.get(1)?,
                max_crashes: row.get(2)?,
                ends: row.get(3)?,
                payloads: row.get(4)?,
            })
        })?;
        found.ok_or(rusqlite::Error::QueryReturnedNoRows)
    }
}

/// A payload of a pack, for whoever gets it.
pub(super) fn stored(payload: Option<&str>) -> rusqlite::Result<Payload> {
    payload.map(Payload::from_stored).ok_or(rusqlite::Error::QueryReturnedNoRows)
}
