//! Tasks that start later wait in a line of 1, 2, 4 … seconds, from where the server hands them over to their queue.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lapin::types::ShortString;

use super::{link::Link, live::Live};
use crate::{NewTask, QueueName, Result, TaskId};

/// How long the server may take to hand over what has waited, until nobody answers for it any more.
const HANDOVER: Duration = Duration::from_secs(1);

impl Live {
    /// Where a new task goes first, and whether it is ready there. A time to come is measured by this process's clock: there is
    /// no other one that could be asked.
    pub(super) async fn way_in(
        self: &Arc<Self>,
        link: &Link,
        operation: &'static str,
        task: &NewTask,
    ) -> Result<(ShortString, bool)> {
        let queue = &task.queue;
        let wall = link.config.clock.now().wall;
        let delay = task.start.due(wall).map_or(Duration::ZERO, |due| Duration::from_millis(due - wall));
        if delay > Duration::ZERO {
            // While it is handed over, it is in no line: who asks then must hear of it from here.
            self.become_holder(operation, queue).await?;
        }
        let waiting = self.put_off(operation, queue, &task.id, delay).await?;
        let ready = waiting.is_none();
        Ok((waiting.unwrap_or_else(|| self.names.work(queue)), ready))
    }

    /// The line in which a task of the queue waits for so long, and notes that it does; none where it need not wait.
    pub(super) async fn put_off(
        self: &Arc<Self>,
        operation: &'static str,
        queue: &QueueName,
        id: &TaskId,
        delay: Duration,
    ) -> Result<Option<ShortString>> {
        let Some(level) = level(delay) else { return Ok(None) };
        let waiting = self.ensure_waiting(operation, queue, level).await?;
        // Before it is published: who asks at any moment must hear of it.
        let over = Instant::now() + Duration::from_secs(1 << level) + HANDOVER;
        self.intake().put_off(queue, id.clone(), over);
        Ok(Some(waiting))
    }
}

/// The shortest of the waiting lines that is not too short; none for what need not wait.
fn level(delay: Duration) -> Option<u32> {
    let seconds = delay.as_millis().div_ceil(1000);
    (seconds > 0).then(|| u64::try_from(seconds).unwrap_or(u64::MAX >> 1).next_power_of_two().ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn nobody_waits_too_short_or_more_than_twice_as_long() {
        let of = |ms| level(Duration::from_millis(ms));
        assert_eq!(
            [of(0), of(1), of(1000), of(1001), of(2000), of(2001), of(5000)],
            [None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(3)]
        );
        assert_eq!(level(limits::MAX_DOUBLING_DELAY), Some(20));
    }
}
