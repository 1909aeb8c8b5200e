//! Enqueueing: what is published is confirmed before it is answered for.
//!
//! What is ready comes to its queue by an exchange that finds only those that are not closed. So the server itself refuses what comes after a
//! close, and nobody needs to be asked before.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
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
    live.check_run_limits(&link, "enqueue", &tasks).await?;
    live.declare_open("enqueue").await?;
    let mut call = Call { link: &link, live: &live, tasks: &tasks, gates: HashMap::new(), left: Vec::new() };
    let mut answers = call.pass_gates().await?;
    if let Err(error) = call.publish(&mut answers).await {
        // Any of them may be there. Who repeats the call may double them, and then they say so.
        let mut doubtful = link.doubtful();
        tasks.iter().for_each(|task| doubtful.add(&task.id));
        return Err(error);
    }
    for (queue, Gate { coming, .. }) in call.gates.iter().filter(|(_, gate)| gate.coming > 0) {
        live.deepen(queue, *coming);
        live.tell_later(Interest::Ready, queue);
    }
    Ok(answers)
}

/// One call of `enqueue`.
struct Call<'a> {
    link: &'a Link,
    live: &'a Arc<Live>,
    tasks: &'a [NewTask],
    /// What is known of the queues of its tasks.
    gates: HashMap<&'a QueueName, Gate>,
    /// The tasks that are to be published.
    left: Vec<usize>,
}

/// What a call knows of a queue.
struct Gate {
    closed: bool,
    order: Order,
    /// How many more fit, as far as was read of it.
    room: u64,
    /// How many of the call's tasks will be ready there.
    coming: u64,
    /// Where those of each class go, if the queue is not closed.
    ways: Vec<To>,
}

impl Call<'_> {
    /// Decides which tasks may come in, and answers as if those that may are stored.
    async fn pass_gates(&mut self) -> Result<Vec<Enqueued>> {
        let mut answers = Vec::with_capacity(self.tasks.len());
        for (index, task) in self.tasks.iter().enumerate() {
            let gate = match self.gates.entry(&task.queue) {
                Entry::Occupied(gate) => gate.into_mut(),
                Entry::Vacant(place) => place.insert(self.live.gate(&task.queue).await?),
            };
            answers.push(if gate.closed {
                Enqueued::Closed
            } else if gate.coming >= gate.room
                && self.live.is_full("enqueue", &task.queue, gate.coming).await?
            {
                Enqueued::Full
            } else {
                gate.coming += u64::from(task.start == Start::Now);
                self.left.push(index);
                Enqueued::Enqueued
            });
        }
        Ok(answers)
    }

    /// Publishes what is left, until all of it is stored or refused.
    async fn publish(&mut self, answers: &mut [Enqueued]) -> Result<()> {
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
            self.find_ways(answers).await?;
        }
        refused.map_or(Ok(()), Err)
    }

    async fn message(&self, task: &NewTask) -> Result<Outgoing> {
        let repeated = self.link.doubtful().has(&task.id);
        let ready = || {
            let gate = self.gates.get(&task.queue).filter(|_| task.start == Start::Now)?;
            gate.ways.get(Class::of_task(gate.order, task.priority).index()).cloned()
        };
        let to = match ready() {
            Some(way) => way,
            None => self.live.way_in(self.link, "enqueue", task).await?,
        };
        Ok(self.live.sent(self.link, task, repeated).copy_for(to))
    }

    /// For some tasks there was no way: their queue was closed or removed, or nobody has opened it yet.
    async fn find_ways(&mut self, answers: &mut [Enqueued]) -> Result<()> {
        self.live.sync("enqueue").await?;
        let queues: HashSet<_> = self.left.iter().map(|index| &self.tasks[*index].queue).collect();
        for queue in queues.into_iter().filter(|queue| !self.live.is_closed(queue)) {
            // It may be missing: what was known of it is forgotten.
            self.live.ensure_queue("enqueue", queue).await?;
            self.live.open("enqueue", queue).await?;
        }
        self.left.retain(|index| {
            let closed = self.live.is_closed(&self.tasks[*index].queue);
            if closed {
                answers[*index] = Enqueued::Closed;
            }
            !closed
        });
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

    /// Makes sure of a queue, and tells what there is to be known of it.
    async fn gate(self: &Arc<Self>, queue: &QueueName) -> Result<Gate> {
        self.use_queue("enqueue", queue).await?;
        let (order, open) = (self.order(queue), self.names.open());
        let way = |class| To::exchange(open.clone(), waiting::short_key(queue, class));
        let ways = Class::of_queue(order).map(way).collect();
        Ok(Gate { closed: self.is_closed(queue), order, room: self.room(queue), coming: 0, ways })
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

    /// How many more tasks fit into a queue, by what was read of it a moment ago.
    fn room(&self, queue: &QueueName) -> u64 {
        let capacity = self.entry(queue).map_or(u64::MAX, |entry| entry.configuration().options.capacity);
        let depths = self.depths();
        let known = depths.get(queue).filter(|(at, _)| at.elapsed() < BELIEVED);
        known.map_or(0, |(_, depth)| capacity.saturating_sub(*depth))
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
        if self.room(queue) > coming {
            return Ok(false);
        }
        // One of several calls at a time looks, and the others believe it.
        let _alone = self.gauging.lock().await;
        if self.room(queue) > coming || self.entry(queue).is_none() {
            return Ok(false);
        }
        let ready = self.look_at_work(operation, queue).await?.ready;
        self.depths().insert(queue.clone(), (Instant::now(), ready));
        Ok(self.room(queue) <= coming)
    }

    /// Counts tasks that were published.
    pub(super) fn deepen(&self, queue: &QueueName, by: u64) {
        if let Some((_, depth)) = self.depths().get_mut(queue) {
            *depth += by;
        }
    }
}
