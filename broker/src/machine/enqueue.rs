//! Arrow `enqueue`: (new) → ready. And the options of queues.

use super::Machine;
use crate::{Enqueued, NewTask, QueueName, QueueOptions, QueueStatus, Result, clock::Now};

impl Machine {
    /// Makes sure that a queue exists, with these options if any are given.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) when it is configured otherwise.
    pub fn declare(&mut self, name: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        let queue = self.queue(name);
        if let Some(options) = options {
            queue.configuration.configure(name, options)?;
        }
        Ok(queue.status())
    }

    /// Puts tasks on their queues and answers for each in order.
    pub fn enqueue(&mut self, tasks: &[NewTask], now: Now) -> Vec<Enqueued> {
        tasks.iter().map(|task| self.enqueue_one(task, now)).collect()
    }

    fn enqueue_one(&mut self, task: &NewTask, now: Now) -> Enqueued {
        let queue = self.queue(&task.queue);
        if queue.tasks.contains_key(&task.id) || queue.remembers(&task.id, now) {
            Enqueued::Exists
        } else if queue.closed {
            Enqueued::Closed
        } else if queue.status().is_full() {
            Enqueued::Full
        } else {
            queue.forget_past(now);
            queue.add(task);
            Enqueued::Enqueued
        }
    }

    /// Puts the children of a completed task on their queues, whatever the capacity, closed or not.
    pub(super) fn enqueue_children(&mut self, children: &[NewTask], now: Now) {
        for child in children {
            let queue = self.queue(&child.queue);
            if !queue.tasks.contains_key(&child.id) && !queue.remembers(&child.id, now) {
                queue.forget_past(now);
                queue.add(child);
            }
        }
    }
}
