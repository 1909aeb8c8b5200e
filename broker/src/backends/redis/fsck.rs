//! Looking a namespace's keys through, and mending them.
//!
//! In many small steps, so that nobody who works meanwhile waits long for one: ids are listed some at a time, and each is looked
//! at in one step (`lua/fsck_tasks.lua`). Whether an id is in the list of those that are ready cannot be asked in short time, so the list is read
//! before; what seems wrong by that, as it does when a task was claimed since, is looked at again with the list, in one step that
//! takes some 10 ms for each million that wait. Only what is wrong then is a finding, and is mended in that same step.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use redis::Script;

use super::{RedisBroker, keys, scripts};
use crate::{
    Error, ErrorKind, Fsck, QueueName, Result,
    fsck::{Finding, Report},
};

/// The keys in which ids are, besides `body` and `ready`.
const PARTS: [&str; 6] = ["state", "returned", "alone", "due", "lease", "dead"];

/// How many ids one step lists at most, and at least.
const MOST: usize = 64;
const LEAST: usize = 4;

/// About how many bytes of tasks one step reads.
const BYTES: usize = 256 * 1024;

/// How many ids of `ready` one step reads.
const CHUNK: usize = 1000;

/// How many places of the list one step compares.
const COMPARED: usize = 100_000;

#[async_trait]
impl Fsck for RedisBroker {
    async fn fsck(&self, repair: bool) -> Result<Report> {
        let mut report = Report::default();
        for queue in self.list_queues(repair, &mut report).await? {
            if let Some(tasks) = self.look_at_queue(&queue, repair, &mut report).await? {
                report.queues += 1;
                report.tasks += tasks;
            }
        }
        Ok(report)
    }
}

/// An id as it is stored.
type Id = Vec<u8>;

impl RedisBroker {
    /// Every queue of which any key is there.
    async fn list_queues(&self, repair: bool, report: &mut Report) -> Result<BTreeSet<QueueName>> {
        let (mut queues, mut cursor) = (BTreeSet::new(), "0".to_owned());
        let pattern = format!("{}*", self.keys.of_queues());
        loop {
            let arguments = vec![flag(repair), pattern.clone().into_bytes(), cursor.into_bytes()];
            let keys = vec![self.keys.namespace()];
            let (next, found, wrong): (String, Vec<String>, Vec<String>) =
                self.call("fsck", &scripts::FSCK_NAMESPACE, keys, arguments).await?;
            queues.extend(found.iter().filter_map(|key| self.keys.queue_of(key)));
            note(report, None, &wrong, repair);
            if next == "0" {
                return Ok(queues);
            }
            cursor = next;
        }
    }

    /// How many tasks a queue has; nothing when it is gone.
    async fn look_at_queue(
        &self,
        queue: &QueueName,
        repair: bool,
        report: &mut Report,
    ) -> Result<Option<u64>> {
        let mut first = true;
        let (tasks, waiting) = loop {
            let arguments = vec![self.keys.channel().into_bytes(), flag(repair)];
            let (tasks, waiting, usable, more, wrong): (i64, usize, i64, i64, Vec<String>) =
                self.step(&scripts::FSCK_QUEUE, queue, arguments).await?;
            if first {
                note(report, Some(queue), &wrong, repair);
            }
            let Ok(tasks) = u64::try_from(tasks) else { return Ok(None) };
            if usable == 0 {
                return Ok(Some(tasks));
            }
            if more == 0 {
                break (tasks, waiting);
            }
            first = false;
        };
        let mut ready = self.list_ready(queue).await?;
        let mut doubtful = self.look_at_tasks(queue, &mut ready).await?;
        // In the list, and no task's when the tasks were listed.
        doubtful.extend(ready.into_keys());
        for part in PARTS {
            doubtful.extend(self.list_strays(queue, part).await?);
        }
        self.look_again(queue, doubtful, waiting, repair, report).await?;
        Ok(Some(tasks))
    }

    /// What is ready, and how often each was seen.
    async fn list_ready(&self, queue: &QueueName) -> Result<HashMap<Id, usize>> {
        let (mut ready, mut cursor) = (HashMap::new(), "0".to_owned());
        loop {
            let (next, _, ids) = self.list(queue, "ready", cursor, CHUNK).await?;
            ids.into_iter().for_each(|id| *ready.entry(id).or_default() += 1);
            if next == "0" {
                return Ok(ready);
            }
            cursor = next;
        }
    }

    /// Looks at every task, and takes it out of what is ready. Returns those that seem wrong.
    async fn look_at_tasks(&self, queue: &QueueName, ready: &mut HashMap<Id, usize>) -> Result<BTreeSet<Id>> {
        let (mut doubtful, mut cursor, mut count) = (BTreeSet::new(), "0".to_owned(), LEAST * 4);
        // A listing may name an id twice; it is taken out only once.
        let mut seen = HashMap::new();
        loop {
            let (next, bytes, ids) = self.list(queue, "body", cursor, count).await?;
            // Steps of much the same length, whatever tasks weigh.
            count = (count * BYTES / bytes.max(1)).clamp(LEAST, (count * 2).min(MOST));
            for ids in ids.chunks(MOST) {
                let known: Vec<(Id, usize)> = ids
                    .iter()
                    .map(|id| {
                        let times = ready.remove(id).or_else(|| seen.get(id).copied()).unwrap_or(0);
                        if times > 0 {
                            seen.insert(id.clone(), times);
                        }
                        (id.clone(), times)
                    })
                    .collect();
                let wrong = self.look_at(queue, &known, false, false).await?;
                doubtful.extend(wrong.into_iter().map(|(number, ..)| known[number].0.clone()));
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
        queue: &QueueName,
        doubtful: BTreeSet<Id>,
        waiting: usize,
        repair: bool,
        report: &mut Report,
    ) -> Result<()> {
        let doubtful: Vec<(Id, usize)> = doubtful.into_iter().map(|id| (id, 0)).collect();
        for ids in doubtful.chunks((COMPARED / waiting.max(1)).clamp(1, LEAST * 4)) {
            for (number, wrong, how) in self.look_at(queue, ids, repair, true).await? {
                let finding = Finding::new(Some(queue.as_str()), wrong).of(shown(&ids[number].0));
                report.add(Finding { repaired: repair, ..finding.repair(how) });
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

    /// What is wrong with some ids: the number of the id, what, and how it is repaired.
    async fn look_at(
        &self,
        queue: &QueueName,
        ids: &[(Id, usize)],
        repair: bool,
        look: bool,
    ) -> Result<Vec<(usize, String, String)>> {
        let mut arguments = vec![self.keys.channel().into_bytes(), flag(repair), flag(look)];
        for (id, times) in ids {
            arguments.extend([id.clone(), times.to_string().into_bytes()]);
        }
        let wrong: Vec<String> = self.step(&scripts::FSCK_TASKS, queue, arguments).await?;
        let read = |wrong: &[String]| match wrong {
            [number, what, how] => {
                let number = number.parse().ok().filter(|number| *number < ids.len())?;
                Some((number, what.clone(), how.clone()))
            }
            _ => None,
        };
        wrong.chunks(3).map(|wrong| read(wrong).ok_or_else(unexpected)).collect()
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

fn flag(set: bool) -> Vec<u8> {
    if set { b"1".to_vec() } else { b"0".to_vec() }
}

/// An id as it is stored, for people.
fn shown(id: &Id) -> String {
    keys::stored_id(id).map_or_else(|_| id.escape_ascii().to_string(), |id| id.to_string())
}

fn unexpected() -> Error {
    Error::new(ErrorKind::Corrupt, "fsck", "redis answered something else than was asked")
}
