//! Dead tasks, as an operator sees them.
//!
//! Nothing of a quorum queue can be read without taking it. So whoever looks takes all that is there, by one consumer of one
//! channel, and lets the channel go: then the server puts back what was not acknowledged, in its old order (tried on 3.10: it
//! does not after `basic.get`, nor after a `basic.nack` of all). One session looks at a time, else each would see a part.
//!
//! The order is that of the marks, which a task is given when it dies, by the clock of whoever buries it: what the server knows of
//! the order changes with what is taken out.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;

use super::{
    RabbitMqBroker,
    link::Link,
    live::Live,
    looking::{Look, Seen},
    message::{self, Obituary, Stored},
    publish::{Fate, Outgoing, Published, To},
};
use crate::{
    DeadLetters, DeadTask, Interest, Payload, QueueName, Result, Revived, TaskId, TaskName,
    clock::time,
    crash::{Point, at},
    machine::failures,
};

/// How a dead message is listed that names no handler.
const NAMELESS: &str = "foreign";

#[async_trait]
impl DeadLetters for RabbitMqBroker {
    async fn list(&self, queue: &QueueName, after: Option<u64>, max: usize) -> Result<Vec<DeadTask>> {
        let queue = queue.clone();
        self.on_thread("list", move |link| list(link, queue, after, max)).await
    }

    async fn revive(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Revived>> {
        let (queue, ids) = (queue.clone(), ids.to_vec());
        self.on_thread("revive", move |link| revive(link, queue, ids)).await
    }

    async fn purge(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<bool>> {
        let (queue, ids) = (queue.clone(), ids.to_vec());
        self.on_thread("purge", move |link| purge(link, queue, ids)).await
    }
}

async fn list(link: Arc<Link>, queue: QueueName, after: Option<u64>, max: usize) -> Result<Vec<DeadTask>> {
    let Some(live) = live(&link, "list", &queue).await? else { return Ok(Vec::new()) };
    let from = after.map_or(0, |mark| mark.saturating_add(1));
    // No more than are asked for, and one by which it is seen that there are more.
    let mut first: BTreeMap<(u64, TaskId), DeadTask> = BTreeMap::new();
    live.look_at_dead(&link, "list", &queue, async |look| {
        while let Some(seen) = look.next().await? {
            let place = (seen.obituary.mark, seen.id.clone());
            let last = first.last_key_value().filter(|_| first.len() > max).map(|(last, _)| last);
            if place.0 >= from && last.is_none_or(|last| place < *last) {
                first.insert(place, dead_task(seen)?);
                if first.len() > max + 1 {
                    first.pop_last();
                }
            }
        }
        Ok(())
    })
    .await?;
    Ok(page(first.into_values().collect(), max))
}

async fn revive(link: Arc<Link>, queue: QueueName, ids: Vec<TaskId>) -> Result<Vec<Revived>> {
    let Some(live) = live(&link, "revive", &queue).await? else {
        return Ok(vec![Revived::Unknown; ids.len()]);
    };
    let mut answers = vec![Revived::Unknown; ids.len()];
    let revived = live
        .look_at_dead(&link, "revive", &queue, async |look| {
            let mut found = take(look, &ids).await?;
            at(Point::RabbitMqDeadSeen);
            let (mut messages, mut whose) = (Vec::new(), Vec::new());
            for (id, answer) in ids.iter().zip(&mut answers) {
                let Some(of) = found.get_mut(id) else { continue };
                if live.is_full("revive", &queue, messages.len() as u64).await? {
                    *answer = Revived::Full;
                } else if let Some(seen) = of.seen.take() {
                    let priority = seen.task.as_ref().ok().and_then(|stored| stored.priority);
                    let to = live.names.work(&queue, live.class(&queue, priority));
                    messages.push(revived(seen, To::queue(to)));
                    whose.push((answer, std::mem::take(&mut of.tags)));
                    found.remove(id);
                }
            }
            // A death from here on leaves them among the dead, too.
            let Published { fates, error } = live.publish_each("revive", messages).await?;
            at(Point::RabbitMqRevivedStored);
            for ((answer, tags), _) in whose.into_iter().zip(fates).filter(|(_, fate)| *fate == Fate::Stored)
            {
                *answer = Revived::Revived;
                look.remove(tags).await?;
                at(Point::RabbitMqRevivedRemoved);
            }
            error.map_or(Ok(()), Err)
        })
        .await;
    let count = answers.iter().filter(|answer| **answer == Revived::Revived).count();
    if count > 0 {
        live.deepen(&queue, count as u64);
        live.tell_later(Interest::Ready, &queue);
    }
    revived.map(|()| answers)
}

async fn purge(link: Arc<Link>, queue: QueueName, ids: Vec<TaskId>) -> Result<Vec<bool>> {
    let Some(live) = live(&link, "purge", &queue).await? else { return Ok(vec![false; ids.len()]) };
    let mut answers = Vec::with_capacity(ids.len());
    live.look_at_dead(&link, "purge", &queue, async |look| {
        let mut found = take(look, &ids).await?;
        for id in &ids {
            let of = found.remove(id);
            answers.push(of.is_some());
            look.remove(of.map(|of| of.tags).unwrap_or_default()).await?;
        }
        Ok(())
    })
    .await?;
    Ok(answers)
}

/// The connections, if there is such a queue.
async fn live(link: &Link, operation: &'static str, queue: &QueueName) -> Result<Option<Arc<Live>>> {
    let live = link.live(operation).await?;
    live.sync(operation).await?;
    if live.entry(queue).is_none() {
        return Ok(None);
    }
    live.ensure_queue(operation, queue).await?;
    Ok(Some(live))
}

/// The messages of one dead task: several, where a death left it there twice.
struct Found {
    seen: Option<Seen>,
    tags: Vec<u64>,
}

/// Looks for these tasks.
async fn take(look: &mut Look<'_>, ids: &[TaskId]) -> Result<HashMap<TaskId, Found>> {
    let wanted: HashSet<&TaskId> = ids.iter().collect();
    let mut found: HashMap<TaskId, Found> = HashMap::new();
    while let Some(seen) = look.next().await? {
        if wanted.contains(&seen.id) {
            let id = seen.id.clone();
            let of = found.entry(id).or_insert_with(|| Found { seen: None, tags: Vec::new() });
            of.tags.push(seen.tag);
            // The one that died last went furthest.
            if of.seen.as_ref().is_none_or(|other| other.obituary.mark <= seen.obituary.mark) {
                of.seen = Some(seen);
            }
        }
    }
    Ok(found)
}

/// The message of a task that begins anew; of what is no task, the same that was found.
fn revived(Seen { task, data, properties, .. }: Seen, to: To) -> Outgoing {
    match task {
        Ok(stored) => Stored { progress: stored.progress.revived(), ..stored }.copy_for(to),
        Err(_) => Outgoing::new(to, data, message::as_it_was(properties)),
    }
}

fn dead_task(Seen { id, task, data, properties, obituary, .. }: Seen) -> Result<DeadTask> {
    let Obituary { died, mark } = obituary;
    match task {
        Ok(stored) => Ok(DeadTask {
            crashes: stored.crashes(),
            id: stored.id,
            name: stored.name,
            payload: stored.payload,
            // What the server gave up by itself, for a policy of its operator, has no error of ours.
            error: stored.progress.error.unwrap_or_else(|| "RabbitMQ gave it up".to_owned()),
            history: failures(stored.progress.history),
            attempts: stored.progress.attempts,
            died: time(died),
            mark,
        }),
        Err(unreadable) => {
            let name = properties.kind().as_ref().and_then(|kind| TaskName::new(kind.as_str()).ok());
            Ok(DeadTask {
                id,
                name: name.map_or_else(|| TaskName::new(NAMELESS), Ok)?,
                payload: Payload::encode(&String::from_utf8_lossy(&data)).unwrap_or_else(|_| Payload::null()),
                error: message::error(&properties).unwrap_or_else(|| unreadable.report()),
                history: Vec::new(),
                attempts: 0,
                crashes: 0,
                died: time(died),
                mark,
            })
        }
    }
}

/// The first `max` of these, and one more is there if there are more. None of those with one mark are left out: who asks for
/// those after it would never see them.
fn page(mut tasks: Vec<DeadTask>, max: usize) -> Vec<DeadTask> {
    if tasks.len() > max
        && let Some(next) = tasks.pop()
    {
        let before = tasks.iter().take_while(|task| task.mark < next.mark).count();
        if before > 0 {
            tasks.truncate(before);
        }
    }
    tasks
}
