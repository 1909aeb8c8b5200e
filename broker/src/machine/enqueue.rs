//! Arrow `enqueue`: (new) → ready. And the options of queues.

use super::Machine;
use crate::{Enqueued, Error, ErrorKind, NewTask, QueueName, QueueOptions, QueueStatus, Result, clock::Now};

impl Machine {
    /// Makes sure that a queue exists, with these options if any are given.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when it is configured otherwise.
    pub fn declare(&mut self, name: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        let queue = self.queue(name);
        if let Some(options) = options {
            if !queue.configured {
                queue.revision += u64::from(queue.options != *options);
                queue.options = options.clone();
                queue.configured = true;
            } else if queue.options != *options {
                return Err(conflict(name, &queue.options, options));
            }
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

/// The error of a queue that is configured otherwise, with both values.
pub(crate) fn conflict(name: &QueueName, stored: &QueueOptions, asked: &QueueOptions) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "declare",
        format!("queue \"{name}\" is configured otherwise: it has {stored}; this process asks for {asked}"),
    )
    .advise("give every process that configures this queue the same options, or use another queue name")
}
