//! Looking a namespace's keys through, and mending them.
//!
//! In many small steps, so that nobody who works meanwhile waits long for one. First all entries are listed, some at a time, and then
//! each id is looked at in one step (`lua/fsck_tasks.lua`). Whether an entry is in the list of those that are ready cannot be asked in short
//! time; what seems wrong by what was listed, as it does when a task was claimed since, is looked at again with the list, in one step that
//! takes some 10 ms for each million that wait. Only what is wrong then is a finding, and is mended in that same step.

mod batches;
mod kept;

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use redis::Script;

use self::batches::Batches;
use super::{RedisBroker, keys, scripts};
use crate::{
    Error, ErrorKind, Fsck, QueueName, Result,
    fsck::{Finding, Report},
};

/// The keys in which entries are, each a sequence and an id.
const ENTRIES: [&str; 5] = ["ready", "returned", "alone", "due", HELD];

/// The key in which an entry begins with another key, a zero byte, a rank and a place.
const HELD: &str = "held";

/// The keys in which ids are, besides `body`. Those of `gone` may be no task's.
const IDS: [&str; 5] = ["state", "lease", "dead", "expiring", "gone"];

/// How many ids one step lists at most, and at least.
const MOST: usize = 64;
const LEAST: usize = 4;

/// About how many bytes of tasks one step reads.
const BYTES: usize = 256 * 1024;

/// How many entries one step reads.
const CHUNK: usize = 1000;

/// How many places of the list one step compares.
const COMPARED: usize = 100_000;

#[async_trait]
impl Fsck for RedisBroker {
    async fn fsck(&self, repair: bool) -> Result<Report> {
        let mut report = Report::default();
        let (queues, calls) = self.list_queues(repair, &mut report).await?;
        let mut batches = self.look_at_batches(repair, &mut report).await?;
        // Where a queue cannot be looked through, its tasks are missing among those of the batches.
        let mut all = true;
        for queue in queues {
            match self.look_at_queue(&queue, repair, &mut batches, &mut report).await? {
                Looks::Through(tasks) => {
                    report.queues += 1;
                    report.tasks += tasks;
                }
                Looks::Foreign => {
                    report.queues += 1;
                    all = false;
                }
                Looks::Gone => {}
            }
        }
        if all {
            self.look_at_counts(batches, repair, &mut report).await?;
        }
        self.look_at_calls(calls, repair, &mut report).await?;
        Ok(report)
    }
}

/// An id as it is stored.
type Id = Vec<u8>;

/// The sequences of an id's entries, again of those in a list, each as often as it was seen there, and its entries in held.
#[derive(Clone, Debug, Default)]
struct Seen {
    all: Vec<u64>,
    listed: Vec<u64>,
    held: Vec<Id>,
}

/// What came of looking at a queue.
enum Looks {
    /// It has so many tasks.
    Through(u64),
    /// One of its keys is not ours.
    Foreign,
    /// There is no such queue any more.
    Gone,
}

/// How a queue stood before its entries were listed.
#[derive(Clone, Copy)]
struct Looked<'q> {
    queue: &'q QueueName,
    /// The last sequence given.
    added: u64,
    /// Whether `ready` is a list.
    list: bool,
    /// How many entries it has.
    waiting: usize,
}

impl RedisBroker {
    /// Every queue of which any key is there, and the keys of calls.
    async fn list_queues(
        &self,
        repair: bool,
        report: &mut Report,
    ) -> Result<(BTreeSet<QueueName>, BTreeSet<String>)> {
        let (mut queues, mut calls, mut cursor) = (BTreeSet::new(), BTreeSet::new(), "0".to_owned());
        let pattern = format!("{}*", self.keys.of_queues());
        loop {
            let arguments = vec![flag(repair), pattern.clone().into_bytes(), cursor.into_bytes()];
            let keys = vec![self.keys.namespace()];
            let (next, found, wrong): (String, Vec<String>, Vec<String>) =
                self.call("fsck", &scripts::FSCK_NAMESPACE, keys, arguments).await?;
            queues.extend(found.iter().filter_map(|key| self.keys.queue_of(key)));
            calls.extend(found.into_iter().filter(|key| self.keys.is_of_calls(key)));
            note(report, None, &wrong, repair);
            if next == "0" {
                return Ok((queues, calls));
            }
            cursor = next;
        }
    }

    async fn look_at_queue(
        &self,
        queue: &QueueName,
        repair: bool,
        batches: &mut Batches,
        report: &mut Report,
    ) -> Result<Looks> {
        let mut first = true;
        let (tasks, looked) = loop {
            let arguments = vec![self.keys.channel().into_bytes(), flag(repair)];
            let (tasks, waiting, usable, more, added, list, wrong): (
                i64,
                usize,
                i64,
                i64,
                u64,
                i64,
                Vec<String>,
            ) = self.step(&scripts::FSCK_QUEUE, queue, arguments).await?;
            if first {
                note(report, Some(queue), &wrong, repair);
            }
            let Ok(tasks) = u64::try_from(tasks) else { return Ok(Looks::Gone) };
            if usable == 0 {
                return Ok(Looks::Foreign);
            }
            if more == 0 {
                break (tasks, Looked { queue, added, list: list != 0, waiting });
            }
            first = false;
        };
        let mut entries = self.list_entries(looked).await?;
        let highest = entries.values().flat_map(|seen| seen.all.iter().copied()).max().unwrap_or(0);
        let arguments = vec![flag(repair), highest.to_string().into_bytes()];
        if self.step::<i64>(&scripts::FSCK_ADDED, queue, arguments).await? != 0 {
            let wrong = "the counter added is below what was given".to_owned();
            note(report, Some(queue), &[wrong, "it is set above all that were given".to_owned()], repair);
        }
        let mut doubtful = self.look_at_tasks(looked, &mut entries, batches).await?;
        // What is in a place, or left there a trace, and was no task's when the tasks were listed.
        for part in IDS {
            for id in self.list_strays(queue, part).await? {
                entries.entry(id).or_default();
            }
        }
        let rest: Vec<(Id, Seen)> = entries.into_iter().collect();
        for some in rest.chunks(MOST) {
            let (wrong, unsettled) = self.look_at(looked, some, false, false).await?;
            doubtful.extend(wrong.into_iter().map(|(number, ..)| some[number].clone()));
            unsettled.into_iter().for_each(|batch| batches.count(batch));
        }
        self.look_again(looked, doubtful, repair, report).await?;
        self.look_at_all_kept(queue, repair, report).await?;
        Ok(Looks::Through(tasks))
    }

    /// Every entry, by the id that it is of.
    async fn list_entries(&self, looked: Looked<'_>) -> Result<HashMap<Id, Seen>> {
        let mut entries: HashMap<Id, Seen> = HashMap::new();
        for part in ENTRIES {
            let mut cursor = "0".to_owned();
            loop {
                let (next, _, listed) = self.list(looked.queue, part, cursor, CHUNK).await?;
                for entry in listed {
                    if part == HELD {
                        if let Some(id) = id_of_held(&entry) {
                            entries.entry(id).or_default().held.push(entry);
                        }
                        continue;
                    }
                    let Some((sequence, id)) = entry.split_first_chunk::<8>() else { continue };
                    let (sequence, seen) =
                        (u64::from_be_bytes(*sequence), entries.entry(id.to_vec()).or_default());
                    if !seen.all.contains(&sequence) {
                        seen.all.push(sequence);
                    }
                    if looked.list && part == "ready" {
                        seen.listed.push(sequence);
                    }
                }
                if next == "0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(entries)
    }

    /// Looks at every task, and takes it out of the entries. Returns those that seem wrong.
    async fn look_at_tasks(
        &self,
        looked: Looked<'_>,
        entries: &mut HashMap<Id, Seen>,
        batches: &mut Batches,
    ) -> Result<HashMap<Id, Seen>> {
        let (mut doubtful, mut cursor, mut count) = (HashMap::new(), "0".to_owned(), LEAST * 4);
        // A listing may name an id twice; it is taken out only once.
        let mut had = BTreeSet::new();
        loop {
            let (next, bytes, ids) = self.list(looked.queue, "body", cursor, count).await?;
            // Steps of much the same length, whatever tasks weigh.
            count = (count * BYTES / bytes.max(1)).clamp(LEAST, (count * 2).min(MOST));
            for ids in ids.chunks(MOST) {
                let known: Vec<(Id, Seen)> = ids
                    .iter()
                    .filter(|id| had.insert((*id).clone()))
                    .map(|id| (id.clone(), entries.remove(id).unwrap_or_default()))
                    .collect();
                let (wrong, unsettled) = self.look_at(looked, &known, false, false).await?;
                unsettled.into_iter().for_each(|batch| batches.count(batch));
                doubtful.extend(wrong.into_iter().map(|(number, ..)| known[number].clone()));
            }
            if next == "0" {
                return Ok(doubtful);
            }
            cursor = next;
        }
    }

    /// The ids in one key that are no task's.
    async fn list_strays(&self, queue: &QueueName, part: &str) -> Result<BTreeSet<Id>> {
        let (mut strays, mut cursor) = (BTreeSet::new(), "0".to_owned());
        loop {
            let (next, _, ids) = self.list(queue, part, cursor, MOST).await?;
            strays.extend(ids);
            if next == "0" {
                return Ok(strays);
            }
            cursor = next;
        }
    }

    /// Looks at ids that seem wrong, each in one step with the list of those that are ready. What is wrong now is.
    async fn look_again(
        &self,
        looked: Looked<'_>,
        doubtful: HashMap<Id, Seen>,
        repair: bool,
        report: &mut Report,
    ) -> Result<()> {
        let doubtful: Vec<(Id, Seen)> = doubtful.into_iter().collect();
        for some in doubtful.chunks((COMPARED / looked.waiting.max(1)).clamp(1, LEAST * 4)) {
            for (number, wrong, how) in self.look_at(looked, some, repair, true).await?.0 {
                report.add(mended(looked.queue, wrong, how, repair).of(shown(&some[number].0)));
            }
        }
        Ok(())
    }

    /// Some ids of one key: the next cursor, the bytes that were read, the ids.
    async fn list(
        &self,
        queue: &QueueName,
        part: &str,
        cursor: String,
        count: usize,
    ) -> Result<(String, usize, Vec<Id>)> {
        let arguments = vec![part.as_bytes().to_vec(), cursor.into_bytes(), count.to_string().into_bytes()];
        self.step(&scripts::FSCK_IDS, queue, arguments).await
    }

    /// What is wrong with some ids: the number of the id, what, and how it is repaired; and of the unsettled ones the batches.
    async fn look_at(
        &self,
        looked: Looked<'_>,
        ids: &[(Id, Seen)],
        repair: bool,
        look: bool,
    ) -> Result<(Vec<(usize, String, String)>, Vec<Id>)> {
        if ids.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let added = looked.added.to_string().into_bytes();
        let mut arguments = vec![self.keys.channel().into_bytes(), flag(repair), flag(look), added];
        let commas = |all: &[u64]| all.iter().map(u64::to_string).collect::<Vec<_>>().join(",").into_bytes();
        for (id, seen) in ids {
            arguments.extend([id.clone(), commas(&seen.all), commas(&seen.listed)]);
            arguments.push(seen.held.len().to_string().into_bytes());
            arguments.extend(seen.held.iter().cloned());
        }
        let (wrong, unsettled): (Vec<Id>, Vec<Id>) =
            self.step(&scripts::FSCK_TASKS, looked.queue, arguments).await?;
        let wrong: Vec<String> =
            wrong.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        let read = |wrong: &[String]| match wrong {
            [number, what, how] => {
                let number = number.parse().ok().filter(|number| *number < ids.len())?;
                Some((number, what.clone(), how.clone()))
            }
            _ => None,
        };
        let wrong = wrong.chunks(3).map(|wrong| read(wrong).ok_or_else(unexpected));
        Ok((wrong.collect::<Result<_>>()?, unsettled))
    }

    async fn step<T: redis::FromRedisValue + Send + 'static>(
        &self,
        script: &'static Script,
        queue: &QueueName,
        arguments: Vec<Vec<u8>>,
    ) -> Result<T> {
        self.call("fsck", script, self.keys_of(queue), arguments).await
    }
}

/// The id in an entry of held; none in what is no entry.
fn id_of_held(entry: &[u8]) -> Option<Id> {
    let zero = entry.iter().position(|byte| *byte == 0)?;
    entry.get(zero + 17..).filter(|id| !id.is_empty()).map(<[u8]>::to_vec)
}

/// Reports pairs of what is wrong and how it is repaired; without the second it is not.
fn note(report: &mut Report, queue: Option<&QueueName>, wrong: &[String], repair: bool) {
    for pair in wrong.chunks(2) {
        let finding = Finding::new(queue.map(QueueName::as_str), pair[0].clone());
        report.add(match pair.get(1).filter(|how| !how.is_empty()) {
            Some(how) => Finding { repaired: repair, ..finding.repair(how) },
            None => finding,
        });
    }
}

/// A finding; without a word how it is repaired it is not.
fn mended(queue: &QueueName, wrong: String, how: String, repair: bool) -> Finding {
    let finding = Finding::new(Some(queue.as_str()), wrong);
    if how.is_empty() { finding } else { Finding { repaired: repair, ..finding.repair(how) } }
}

fn flag(set: bool) -> Vec<u8> {
    if set { b"1".to_vec() } else { b"0".to_vec() }
}

/// An id as it is stored, for people.
fn shown(id: &Id) -> String {
    keys::stored_id("fsck", id).map_or_else(|_| id.escape_ascii().to_string(), |id| id.to_string())
}

fn unexpected() -> Error {
    Error::new(ErrorKind::Corrupt, "fsck", "redis answered something else than was asked")
}
