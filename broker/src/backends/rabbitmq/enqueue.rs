//! Enqueueing: what is published is confirmed before it is answered for.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{link::Link, live::Live};
use crate::{Enqueued, NewTask, QueueName, Result, machine::check_fits};

/// How long what was read of a queue's depth is believed, if it says that there is room.
const BELIEVED: Duration = Duration::from_millis(100);

pub(super) async fn enqueue(link: Arc<Link>, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
    let live = link.live("enqueue").await?;
    // A queue may have been closed elsewhere.
    live.sync("enqueue").await?;
    live.check_fit("enqueue", &tasks)?;
    let mut answers = Vec::with_capacity(tasks.len());
    let mut messages = Vec::with_capacity(tasks.len());
    let mut coming: HashMap<&QueueName, u64> = HashMap::new();
    for task in &tasks {
        if live.is_closed(&task.queue) {
            answers.push(Enqueued::Closed);
            continue;
        }
        live.use_queue("enqueue", &task.queue).await?;
        let before = coming.entry(&task.queue).or_default();
        if live.is_full("enqueue", &task.queue, *before).await? {
            answers.push(Enqueued::Full);
            continue;
        }
        let repeated = link.doubtful().has(&task.id);
        let (way_in, ready) = live.way_in(&link, "enqueue", task).await?;
        messages.push(live.sent(&link, task, repeated).copy_for(way_in));
        *before += u64::from(ready);
        answers.push(Enqueued::Enqueued);
    }
    if messages.is_empty() {
        return Ok(answers);
    }
    if let Err(error) = live.publish("enqueue", messages).await {
        // Any of them may be there. Who repeats the call may double them, and then they say so.
        let mut doubtful = link.doubtful();
        tasks.iter().for_each(|task| doubtful.add(&task.id));
        return Err(error);
    }
    coming.iter().for_each(|(queue, count)| live.deepen(queue, *count));
    live.tell_changed("enqueue").await;
    Ok(answers)
}

impl Live {
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

    fn is_closed(&self, queue: &QueueName) -> bool {
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
        let believed =
            self.depths().get(queue).filter(|(at, _)| at.elapsed() < BELIEVED).map(|(_, depth)| *depth);
        if believed.is_some_and(|depth| depth + coming < capacity) {
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
