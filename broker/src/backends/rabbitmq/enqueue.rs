//! Enqueueing: what is published is confirmed before it is answered for.
//!
//! What is ready comes to its queue by an exchange that finds only those that are not closed. So the server itself refuses what comes after a
//! close, and nobody needs to be asked before.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    class::Class,
    link::Link,
    live::Live,
    publish::{Fate, Outgoing, Published, To},
    waiting,
};
use crate::{Enqueued, Interest, NewTask, Order, QueueName, Result, Start, machine::check_fits};

/// How long what was read of a queue's depth is believed, if it says that there is room.
const BELIEVED: Duration = Duration::from_millis(100);

/// How often a message is published again for which there was no way.
const TRIES: usize = 3;

pub(super) async fn enqueue(link: Arc<Link>, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
    let live = link.live("enqueue").await?;
    if live.must_know_more(&tasks) {
        live.sync("enqueue").await?;
    }
    live.check_fit("enqueue", &tasks)?;
    live.declare_open("enqueue").await?;
    let mut call = Call { link: &link, live: &live, tasks: &tasks, answers: Vec::new(), left: Vec::new() };
    let mut coming: HashMap<&QueueName, u64> = HashMap::new();
    for (index, task) in tasks.iter().enumerate() {
        live.use_queue("enqueue", &task.queue).await?;
        let before = coming.entry(&task.queue).or_default();
        call.answers.push(if live.is_closed(&task.queue) {
            Enqueued::Closed
        } else if live.is_full("enqueue", &task.queue, *before).await? {
            Enqueued::Full
        } else {
            *before += u64::from(task.start == Start::Now);
            call.left.push(index);
            Enqueued::Enqueued
        });
    }
    if let Err(error) = call.publish().await {
        // Any of them may be there. Who repeats the call may double them, and then they say so.
        let mut doubtful = link.doubtful();
        tasks.iter().for_each(|task| doubtful.add(&task.id));
        return Err(error);
    }
    for (queue, count) in coming.into_iter().filter(|(_, count)| *count > 0) {
        live.deepen(queue, count);
        live.tell_later(Interest::Ready, queue);
    }
    Ok(call.answers)
}

/// One call of `enqueue`.
struct Call<'a> {
    link: &'a Link,
    live: &'a Arc<Live>,
    tasks: &'a [NewTask],
    answers: Vec<Enqueued>,
    /// The tasks that are to be published.
    left: Vec<usize>,
}

impl Call<'_> {
    /// Publishes what is left, until all of it is stored or refused.
    async fn publish(&mut self) -> Result<()> {
        let mut refused = None;
        for _ in 0..TRIES {
            let mut messages = Vec::with_capacity(self.left.len());
            for index in &self.left {
                messages.push(self.message(&self.tasks[*index]).await?);
            }
            let Published { fates, error } = self.live.publish_each("enqueue", messages).await?;
            if fates.contains(&Fate::Rejected) {
                return error.map_or(Ok(()), Err);
            }
            let sent = std::mem::take(&mut self.left).into_iter().zip(fates);
            self.left = sent.filter(|(_, fate)| *fate == Fate::Unroutable).map(|(index, _)| index).collect();
            if self.left.is_empty() {
                return Ok(());
            }
            refused = error;
            self.find_ways().await?;
        }
        refused.map_or(Ok(()), Err)
    }

    async fn message(&self, task: &NewTask) -> Result<Outgoing> {
        let repeated = self.link.doubtful().has(&task.id);
        let (way_in, ready) = self.live.way_in(self.link, "enqueue", task).await?;
        let class = self.live.class(&task.queue, task.priority);
        let to = if ready { self.live.way_if_open(&task.queue, class) } else { way_in };
        Ok(self.live.sent(self.link, task, repeated).copy_for(to))
    }

    /// For some tasks there was no way: their queue was closed or removed, or nobody has opened it yet.
    async fn find_ways(&mut self) -> Result<()> {
        self.live.sync("enqueue").await?;
        let mut left = Vec::new();
        for index in std::mem::take(&mut self.left) {
            let queue = &self.tasks[index].queue;
            if !self.live.is_closed(queue) {
                // It may be missing: what was known of it is forgotten.
                self.live.ensure_queue("enqueue", queue).await?;
                self.live.open("enqueue", queue).await?;
            }
            if self.live.is_closed(queue) {
                self.answers[index] = Enqueued::Closed;
            } else {
                left.push(index);
            }
        }
        self.left = left;
        Ok(())
    }
}

impl Live {
    /// Whether these tasks need what others may have said of their queues since this session last heard of it: the server looks at no
    /// priority, and at no close where a task comes by waiting lines.
    fn must_know_more(&self, tasks: &[NewTask]) -> bool {
        tasks.iter().any(|task| {
            let ranked = task.priority.is_some() && self.order(&task.queue) != Order::Priority;
            ranked || task.start != Start::Now || self.entry(&task.queue).is_none()
        })
    }

    /// Where a task of this class goes that is ready, if its queue is not closed.
    fn way_if_open(&self, queue: &QueueName, class: Class) -> To {
        To::exchange(self.names.open(), waiting::short_key(queue, class))
    }

    /// Refuses what does not fit its queue. A missing one would be first in, first out.
    pub(super) fn check_fit<'a>(
        &self,
        operation: &'static str,
        tasks: impl IntoIterator<Item = &'a NewTask>,
    ) -> Result<()> {
        for task in tasks.into_iter().filter(|task| task.priority.is_some()) {
            let options = self.entry(&task.queue).map(|entry| entry.configuration().options);
            check_fits(operation, task, &options.unwrap_or_default())?;
        }
        Ok(())
    }

    pub(super) fn is_closed(&self, queue: &QueueName) -> bool {
        self.entry(queue).is_some_and(|entry| entry.closed)
    }

    /// Whether a queue has no room for one more than `coming`. What was read of it is believed for a moment, with what this
    /// session added since; but nobody is refused for what may be over.
    pub(super) async fn is_full(
        &self,
        operation: &'static str,
        queue: &QueueName,
        coming: u64,
    ) -> Result<bool> {
        let Some(capacity) = self.entry(queue).map(|entry| entry.configuration().options.capacity) else {
            return Ok(false);
        };
        let has_room = || {
            let depths = self.depths();
            let known = depths.get(queue).filter(|(at, _)| at.elapsed() < BELIEVED);
            known.is_some_and(|(_, depth)| depth + coming < capacity)
        };
        if has_room() {
            return Ok(false);
        }
        // One of several calls at a time looks, and the others believe it.
        let _alone = self.gauging.lock().await;
        if has_room() {
            return Ok(false);
        }
        let ready = self.look_at_work(operation, queue).await?.ready;
        self.depths().insert(queue.clone(), (Instant::now(), ready));
        Ok(ready + coming >= capacity)
    }

    /// Counts tasks that were published.
    pub(super) fn deepen(&self, queue: &QueueName, by: u64) {
        if let Some((_, depth)) = self.depths().get_mut(queue) {
            *depth += by;
        }
    }
}
