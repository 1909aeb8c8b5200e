//! Packs and shares: each is what the other says, and no task is in two places.
//!
//! Where anything is wrong with a share, its tasks become rows, and the rules about rows see to the rest.

use rusqlite::{Row, types::Value};

use super::{Books, MOST};
use crate::{
    TaskName,
    backends::local::{
        keys::{int, uint},
        steps::payload,
    },
    clock::millis,
    fsck::{Finding, Report},
    limits,
};

const REPAIR: &str = "its tasks become rows, ready and uncharged";

/// Every share with what there is of its pack. Ordered so that those whose ids may be the same follow one another.
const SHARES: &str = "SELECT share, shares.queue, shares.first, start, ids, members, least, most, leased_by, leased_until, \
    epoch, packs.queue, packs.first, size, name, max_attempts, max_crashes, ends, octet_length(payloads), \
    EXISTS (SELECT 1 FROM queues WHERE queues.queue = shares.queue) \
    FROM shares NOT INDEXED LEFT JOIN packs ON packs.pack = shares.pack ORDER BY shares.queue, least, share";

/// Rows that have an id, or ready ones that have a place, of a share's range.
const ROWS_BETWEEN: &str = "SELECT id, -1 FROM tasks WHERE queue = ?1 AND id BETWEEN ?2 AND ?3 UNION ALL \
    SELECT NULL, place FROM tasks WHERE state = 0 AND queue = ?1 AND must_alone = 0 AND rank = 0 AND place BETWEEN ?4 AND ?5";

/// 1 share. What there is of its pack.
const PACK: &str = "SELECT start, packs.first, size, coalesce(name, ''), coalesce(max_attempts, 0), coalesce(max_crashes, 0), \
    ends, payloads \
    FROM shares LEFT JOIN packs ON packs.pack = shares.pack WHERE share = ?1";

/// 1 queue, 2 id, 3 name, 4 payload, 5 sequence, 6 max_attempts, 7 max_crashes. Unless there is a row of that id.
const UNPACK: &str = "INSERT OR IGNORE INTO tasks (queue, id, id_given, name, payload, state, sequence, must_alone, epoch, \
    attempts, max_attempts, crashes, max_crashes, deaths, alone, parks, parked_since, place) \
    VALUES (?1, ?2, 0, ?3, ?4, 0, ?5, 0, 0, 0, ?6, 0, ?7, 0, 0, 0, 0, ?5)";

/// Packs of which nothing is left.
const EMPTY: &str =
    "SELECT pack, queue FROM packs WHERE NOT EXISTS (SELECT 1 FROM shares WHERE shares.pack = packs.pack)";

struct Share {
    key: i64,
    queue: i64,
    first: i64,
    ids: Vec<u8>,
    members: Vec<u8>,
    most: Vec<u8>,
}

impl Share {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            key: row.get(0)?,
            queue: row.get(1)?,
            first: row.get(2)?,
            ids: row.get(4)?,
            members: row.get_ref(5)?.as_bytes()?.to_vec(),
            most: row.get(7)?,
        })
    }

    /// The ids of those that are here, as far as there is an id for each, with their places in the share.
    fn members(&self) -> impl Iterator<Item = (usize, &[u8; 16])> {
        let ids = self.ids.as_chunks().0;
        ids.iter().enumerate().filter(|(task, _)| self.members.get(*task) != Some(&b'0'))
    }

    fn has(&self, id: &[u8]) -> bool {
        self.members().any(|(_, member)| member == id)
    }

    /// What is wrong with it, beside all others.
    fn wrong(&self, row: &Row<'_>, latest: i64) -> rusqlite::Result<Option<&'static str>> {
        let number = |at| row.get::<_, Option<i64>>(at).map(Option::unwrap_or_default);
        let (ids, count) = (self.ids.as_chunks::<16>(), int(self.members.len() as u64));
        let least: Vec<u8> = row.get(6)?;
        if row.get::<_, Option<i64>>(11)?.is_none() {
            return Ok(Some("a share of a pack that is not there"));
        }
        let (start, size, first) = (number(3)?, number(13)?, number(12)?);
        let inside =
            start >= 0 && start.saturating_add(count) <= size && first.checked_add(start) == Some(self.first);
        if number(11)? != self.queue || !inside || !(1..=MOST).contains(&first) {
            return Ok(Some("a share that is no part of its pack"));
        }
        if !row.get::<_, bool>(19)? {
            return Ok(Some("a share of a queue that does not exist"));
        }
        let known = self.members.iter().all(|member| b"01".contains(member)) && self.members.contains(&b'1');
        if !known || ids.0.len() != self.members.len() || !ids.1.is_empty() {
            return Ok(Some("a share of which is not known what is here"));
        }
        let ends = (ids.0.first().map(<[u8; 16]>::as_slice), ids.0.last().map(<[u8; 16]>::as_slice));
        if !ids.0.is_sorted_by(|a, b| a < b) || ends != (Some(&least), Some(&self.most)) {
            return Ok(Some("a share whose ids are not in their order"));
        }
        let epoch = number(10)?;
        let held = match (row.get::<_, Option<Vec<u8>>>(8)?, row.get::<_, Option<i64>>(9)?) {
            (None, None) => epoch == 0,
            (Some(by), Some(until)) => by.len() == 16 && until <= latest && (1..=MOST).contains(&epoch),
            _ => false,
        };
        if !held {
            return Ok(Some("a share that is leased, but nobody can hold it"));
        }
        let count = |at| number(at).map(|count| (1..=i64::from(u32::MAX)).contains(&count));
        let name = row.get_ref(14)?.as_str().ok().is_some_and(|name| TaskName::new(name).is_ok());
        if !name || !count(15)? || !count(16)? || !whole(row.get_ref(17)?.as_blob()?, size, number(18)?) {
            return Ok(Some("a share of a pack that cannot be read"));
        }
        Ok(None)
    }
}

/// What there is of the pack of a share.
struct Pack {
    /// Which task of the pack is the first of the share: as the share says, or its sequence. `None` where each of them may be
    /// right, or none: a task is not run with what another was given.
    start: Option<usize>,
    name: String,
    limits: (i64, i64),
    ends: Vec<u8>,
    payloads: String,
}

impl Pack {
    fn read(row: &Row<'_>, share: &Share) -> rusqlite::Result<Self> {
        let number = |at| row.get::<_, Option<i64>>(at).map(Option::unwrap_or_default);
        let bytes = |at| Ok::<_, rusqlite::Error>(row.get_ref(at)?.as_bytes_or_null()?.unwrap_or_default());
        let (first, size) = (number(1)?, number(2)?);
        let last = size.saturating_sub(int(share.members.len() as u64));
        let mut starts = vec![number(0)?, share.first.saturating_sub(first)];
        starts.dedup();
        starts.retain(|start| (0..=last).contains(start));
        Ok(Self {
            start: if let [start] = starts[..] { usize::try_from(start).ok() } else { None },
            name: row.get(3)?,
            limits: (row.get(4)?, row.get(5)?),
            ends: bytes(6)?.to_vec(),
            payloads: String::from_utf8_lossy(bytes(7)?).into_owned(),
        })
    }
}

/// Whether so many payloads end one after the other, the last one with the text.
fn whole(ends: &[u8], size: i64, bytes: i64) -> bool {
    let ends: Vec<i64> = ends.as_chunks().0.iter().map(|end| i64::from(u32::from_le_bytes(*end))).collect();
    int(ends.len() as u64) == size
        && ends.is_sorted_by(|a, b| a < b)
        && ends.last().is_some_and(|last| last + 1 == bytes)
}

impl Books<'_> {
    fn wrong_shares(&self) -> rusqlite::Result<Vec<(Share, &'static str)>> {
        let latest = int(self.now.steady.saturating_add(millis(limits::MAX_LEASE)));
        let mut rows_between = self.connection.prepare(ROWS_BETWEEN)?;
        let (mut wrong, mut near): (Vec<(Share, &str)>, Vec<Share>) = (Vec::new(), Vec::new());
        let mut statement = self.connection.prepare(SHARES)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let share = Share::read(row)?;
            if let Some(what) = share.wrong(row, latest)? {
                wrong.push((share, what));
                continue;
            }
            let last = share.first + int(share.members.len() as u64) - 1;
            let params = (share.queue, &share.ids[..16], &share.most, share.first, last);
            let twice = |row: &Row<'_>| {
                let task = usize::try_from(row.get::<_, i64>(1)?.saturating_sub(share.first));
                let here = share.members().any(|(member, _)| Ok(member) == task);
                Ok(here || row.get_ref(0)?.as_blob().is_ok_and(|id| share.has(id)))
            };
            let rows: Vec<bool> = rows_between.query_map(params, twice)?.collect::<rusqlite::Result<_>>()?;
            near.retain(|other| other.queue == share.queue && *other.most >= share.ids[..16]);
            let among = |other: &Share| {
                let (others, mine) =
                    (other.first..other.first + int(other.members.len() as u64), share.first..=last);
                let meets = mine.contains(&others.start) || others.contains(mine.start());
                meets || share.members().any(|(_, id)| other.has(id))
            };
            if rows.contains(&true) || near.iter().any(among) {
                wrong.push((share, "a share with tasks that are elsewhere, too"));
            } else {
                near.push(share);
            }
        }
        Ok(wrong)
    }

    pub(super) fn look_at_packs(&self, report: &mut Report) -> rusqlite::Result<()> {
        let count = "SELECT coalesce(sum(length(replace(members, '0', ''))), 0) FROM shares NOT INDEXED";
        report.tasks += self.connection.query_row(count, [], |row| row.get(0)).map(uint)?;
        for (share, what) in self.wrong_shares()? {
            let id = share.ids.get(..16).map_or(Value::Null, |id| Value::Blob(id.to_vec()));
            report.add(self.about(share.queue, &id, what).repair(REPAIR));
        }
        for (_, queue) in self.empty_packs()? {
            report.add(
                Finding::new(self.name(queue), "a pack of which nothing is left").repair("it is removed"),
            );
        }
        Ok(())
    }

    fn empty_packs(&self) -> rusqlite::Result<Vec<(i64, i64)>> {
        self.list(EMPTY, |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Before the rows. What cannot be read of a task is found among them: it becomes dead, and is kept.
    pub(super) fn mend_packs(&self) -> rusqlite::Result<()> {
        let wrong = self.wrong_shares()?;
        if wrong.is_empty() && self.empty_packs()?.is_empty() {
            return Ok(());
        }
        // What was leased is taken from its holder, and none of its epochs may be given again.
        self.raise_generation()?;
        let mut unpack = self.connection.prepare(UNPACK)?;
        for (share, _) in wrong {
            let pack = self.connection.query_row(PACK, [share.key], |row| Pack::read(row, &share))?;
            for (task, id) in share.members() {
                let payload = pack.start.and_then(|start| payload(&pack.ends, &pack.payloads, start + task));
                let name = if payload.is_some() { pack.name.as_str() } else { "" };
                let sequence = share.first.saturating_add(int(task as u64));
                let payload = payload.unwrap_or("null");
                let (attempts, crashes) = pack.limits;
                unpack.execute((share.queue, id, name, payload, sequence, attempts, crashes))?;
            }
            self.connection.execute("DELETE FROM shares WHERE share = ?1", [share.key])?;
        }
        for (pack, _) in self.empty_packs()? {
            self.connection.execute("DELETE FROM packs WHERE pack = ?1", [pack])?;
        }
        Ok(())
    }
}
