//! Arrow `enqueue`: (new) → ready, or scheduled. And the options of queues.

use super::{Machine, place::check_fits};
use crate::{
    Enqueued, NewTask, QueueName, QueueOptions, QueueStatus, Result, Token,
    clock::Now,
    sabotage::{Defect, planted},
};

impl Machine {
    /// Makes sure that a queue exists, with these options if any are given.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) when it is configured otherwise.
    pub fn declare(&mut self, name: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        let queue = self.queue(name);
        if let Some(options) = options {
            let unsettled = queue.status().unsettled();
            queue.configuration.configure(name, options, unsettled)?;
        }
        Ok(queue.status())
    }

    /// Puts tasks on their queues and answers for each in order.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when one does not fit its queue, or the token is that of another call.
    pub fn enqueue(&mut self, tasks: &[NewTask], token: Option<Token>, now: Now) -> Result<Vec<Enqueued>> {
        if let Some(answers) = self.answered(token, tasks, now)? {
            return Ok(answers);
        }
        self.check_fit("enqueue", tasks)?;
        let early: Option<Vec<_>> = planted(Defect::CapacityOutsideTheStep)
            .then(|| tasks.iter().map(|task| self.queue(&task.queue).status().is_full()).collect());
        let mut answers = Vec::with_capacity(tasks.len());
        for (number, task) in tasks.iter().enumerate() {
            let full = self.queue(&task.queue).status().is_full();
            let full = early.as_ref().map_or(full, |early| early[number]);
            answers.push(self.enqueue_one(task, full, now));
        }
        if let Some(token) = token {
            self.keep_answers(token, &answers, now);
        }
        Ok(answers)
    }

    pub(super) fn check_fit(&self, operation: &'static str, tasks: &[NewTask]) -> Result<()> {
        let default = QueueOptions::default();
        tasks.iter().try_for_each(|task| {
            let queue = self.queues.get(&task.queue);
            check_fits(operation, task, queue.map_or(&default, |queue| &queue.configuration.options))
        })
    }

    /// Adds a task, whose id and key are free, to its queue and its batch.
    fn add(&mut self, task: &NewTask, now: Now) {
        let batch = task.batch.as_ref().map(|batch| self.batches.join(batch));
        self.queue(&task.queue).add(task, batch, now);
    }

    fn enqueue_one(&mut self, task: &NewTask, full: bool, now: Now) -> Enqueued {
        let queue = self.queue(&task.queue);
        if queue.tasks.contains_key(&task.id) || queue.remembers(&task.id, now) {
            Enqueued::Exists
        } else if queue.closed {
            Enqueued::Closed
        } else if let Some(other) = queue.holder_of(task.unique.as_ref(), now) {
            Enqueued::Duplicate(other)
        } else if full {
            Enqueued::Full
        } else {
            self.add(task, now);
            Enqueued::Enqueued
        }
    }

    /// Puts the children of a completed task on their queues, whatever the capacity, closed or not.
    pub(super) fn enqueue_children(&mut self, children: &[NewTask], now: Now) {
        for child in children {
            let queue = self.queue(&child.queue);
            let known = queue.tasks.contains_key(&child.id) || queue.remembers(&child.id, now);
            if !known && queue.holder_of(child.unique.as_ref(), now).is_none() {
                self.add(child, now);
            }
        }
    }
}
