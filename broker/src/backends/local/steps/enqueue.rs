//! Arrow `enqueue`: (new) → ready.

use super::Steps;
use crate::{
    Enqueued, NewTask, QueueName, TaskId,
    backends::local::{
        keys::{IdKey, int, uint},
        statements,
    },
    crash::{Point, at},
};

impl Steps<'_> {
    /// As `Machine::enqueue`.
    pub(in super::super) fn enqueue(&mut self, tasks: &[NewTask]) -> rusqlite::Result<Vec<Enqueued>> {
        tasks.iter().map(|task| self.enqueue_one(task)).collect()
    }

    fn enqueue_one(&mut self, task: &NewTask) -> rusqlite::Result<Enqueued> {
        if self.exists(&task.queue, &task.id)? {
            return Ok(Enqueued::Exists);
        }
        let queue = self.queue_or_new(&task.queue)?;
        if queue.closed {
            return Ok(Enqueued::Closed);
        }
        if queue.status().is_full() {
            return Ok(Enqueued::Full);
        }
        self.add(task)?;
        Ok(Enqueued::Enqueued)
    }

    /// As `Machine::enqueue_children`.
    pub(super) fn enqueue_children(&mut self, children: &[NewTask]) -> rusqlite::Result<()> {
        for child in children {
            if !self.exists(&child.queue, &child.id)? {
                self.add(child)?;
                at(Point::StepChildAdded);
            }
        }
        Ok(())
    }

    /// Whether the id is on the queue or remembered. One whose time is over is forgotten here, so that its row is not in
    /// the way when the task is settled again.
    fn exists(&mut self, name: &QueueName, id: &TaskId) -> rusqlite::Result<bool> {
        let now = self.now.wall;
        let Some(queue) = self.peek_queue(name)? else { return Ok(false) };
        if self.find(statements::HAS_TASK, (queue.key, IdKey(id)), |_| Ok(()))?.is_some() {
            return Ok(true);
        }
        if queue.remembered == 0 {
            return Ok(false);
        }
        match self.find(statements::REMEMBERED_UNTIL, (queue.key, IdKey(id)), |row| row.get(0).map(uint))? {
            Some(until) if until > now => Ok(true),
            Some(_) => {
                self.execute(statements::FORGET, (queue.key, IdKey(id)))?;
                at(Point::StepForgotten);
                self.queue_or_new(name)?.remembered -= 1;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    fn add(&mut self, task: &NewTask) -> rusqlite::Result<()> {
        let queue = self.queue_or_new(&task.queue)?;
        let (key, sequence) = (queue.key, queue.next_sequence());
        queue.ready += 1;
        let params = (
            key,
            IdKey(&task.id),
            task.id_given,
            task.name.as_str(),
            task.payload.as_str(),
            int(sequence),
            task.max_attempts,
            task.max_crashes,
        );
        self.execute(statements::ADD_TASK, params)?;
        at(Point::StepTaskAdded);
        self.news = true;
        Ok(())
    }
}
