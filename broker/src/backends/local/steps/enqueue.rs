//! Arrow `enqueue`: (new) → ready, scheduled or held.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::params;

use super::{HOLD_OF_BATCH, Steps, pack::Room};
use crate::{
    BatchName, Enqueued, Hold, LimitKey, NewTask, QueueName, Result, TaskId, Token,
    backends::local::{
        error::sqlite,
        keys::{IdKey, int, state, uint},
        statements,
    },
    clock::millis,
    crash::{Point, at},
    machine::{check_fits, place},
    sabotage::{Defect, planted},
};

impl Steps<'_, '_> {
    /// As `Machine::enqueue`.
    pub(in super::super) fn enqueue(
        &mut self,
        tasks: &[NewTask],
        token: Option<Token>,
    ) -> Result<Vec<Enqueued>> {
        if let Some(answers) = self.answered(token, tasks)? {
            return Ok(answers);
        }
        self.check_fit("enqueue", tasks)?;
        let answers = self.add_in_packs(tasks, Room::AsThereIs, &Enqueued::Enqueued, Self::enqueue_one);
        let answers = answers.map_err(|e| sqlite("enqueue", e))?;
        // It only looked at them.
        self.shares.clear();
        if let Some(token) = token {
            self.keep_answers(token, &answers).map_err(|e| sqlite("enqueue", e))?;
        }
        Ok(answers)
    }

    /// Refuses a whole call, before it changes anything, for a priority in a queue of another order, or a key in one that
    /// limits none.
    pub(super) fn check_fit(&mut self, operation: &'static str, tasks: &[NewTask]) -> Result<()> {
        for task in tasks.iter().filter(|task| task.priority.is_some() || task.key.is_some()) {
            let queue = self.load_queue(&task.queue).map_err(|e| sqlite(operation, e))?;
            let options = queue.map(|queue| queue.configuration.options.clone()).unwrap_or_default();
            check_fits(operation, task, &options)?;
        }
        Ok(())
    }

    fn enqueue_one(&mut self, task: &NewTask) -> rusqlite::Result<Enqueued> {
        if let Some(answer) = self.add_plain(task)? {
            return Ok(answer);
        }
        if self.exists(&task.queue, &task.id)? {
            return Ok(Enqueued::Exists);
        }
        let queue = self.queue_or_new(&task.queue)?;
        let (key, full) = (queue.key, queue.status().is_full());
        if queue.closed {
            return Ok(Enqueued::Closed);
        }
        if let Some(other) = self.holder_of(key, task.unique.as_ref())? {
            return Ok(Enqueued::Duplicate(other));
        }
        if full {
            return Ok(Enqueued::Full);
        }
        if !drops_one() {
            self.add(task)?;
        }
        Ok(Enqueued::Enqueued)
    }

    /// As `Machine::enqueue_children`.
    pub(super) fn enqueue_children(&mut self, children: &[NewTask]) -> rusqlite::Result<()> {
        self.add_in_packs(children, Room::Always, &(), Self::enqueue_child)?;
        Ok(())
    }

    fn enqueue_child(&mut self, child: &NewTask) -> rusqlite::Result<()> {
        if self.exists(&child.queue, &child.id)? {
            return Ok(());
        }
        let key = self.queue_or_new(&child.queue)?.key;
        if self.holder_of(key, child.unique.as_ref())?.is_none() {
            self.add(child)?;
            at(Point::StepChildAdded);
        }
        Ok(())
    }

    /// Whether the id is on the queue or remembered. One whose time is over is forgotten here, so that its row is not in
    /// the way when the task is settled again.
    fn exists(&mut self, name: &QueueName, id: &TaskId) -> rusqlite::Result<bool> {
        let now = self.now.wall;
        let Some(queue) = self.load_queue(name)? else { return Ok(false) };
        let (key, any_remembered, packs) = (queue.key, queue.remembered > 0, queue.has_packs());
        if packs && self.is_packed(key, id)? {
            return Ok(true);
        }
        if self.find(statements::HAS_TASK, (key, IdKey(id)), |_| Ok(()))?.is_some() {
            return Ok(true);
        }
        if !any_remembered {
            return Ok(false);
        }
        match self.find(statements::REMEMBERED_UNTIL, (key, IdKey(id)), |row| row.get(0).map(uint))? {
            Some(until) if until > now => Ok(true),
            Some(_) => {
                self.execute(statements::FORGET, (key, IdKey(id)))?;
                at(Point::StepForgotten);
                self.queue_or_new(name)?.remembered -= 1;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    /// Adds a task that asks for nothing to a queue that refuses nothing and remembers nothing: whether its id is there is seen
    /// by adding it. `None` where that is not all that is to be looked at.
    fn add_plain(&mut self, task: &NewTask) -> rusqlite::Result<Option<Enqueued>> {
        let plain = task.unique.is_none() && task.batch.is_none() && task.key.is_none();
        let Some(queue) = self.load_queue(&task.queue)?.filter(|_| plain) else { return Ok(None) };
        if queue.closed || queue.remembered + queue.results > 0 || queue.status().is_full() {
            return Ok(None);
        }
        let (key, packs) = (queue.key, queue.has_packs());
        if packs && self.is_packed(key, &task.id)? {
            return Ok(Some(Enqueued::Exists));
        }
        Ok(Some(if drops_one() || self.insert(task)? { Enqueued::Enqueued } else { Enqueued::Exists }))
    }

    /// As `Queue::add`.
    fn add(&mut self, task: &NewTask) -> rusqlite::Result<()> {
        self.drop_result(&task.queue, &task.id)?;
        self.take_key(&task.queue, task.unique.as_ref())?;
        if let Some(batch) = &task.batch {
            self.join_batch(batch)?;
        }
        self.insert(task).map(drop)
    }

    /// Adds the row of a task and counts it; `false` and nothing if there is one of its id.
    fn insert(&mut self, task: &NewTask) -> rusqlite::Result<bool> {
        let wall = self.now.wall;
        let due = task.start.due(wall);
        let state = match (due, &task.key) {
            (Some(_), _) => state::SCHEDULED,
            (None, Some(_)) => state::HELD,
            (None, None) => state::READY,
        };
        let queue = self.queue_or_new(&task.queue)?;
        let sequence = queue.sequence + 1;
        let keep = task.result.kept().map(|time| int(millis(time)));
        let (key, place) = (queue.key, place(queue.order(), sequence, false));
        let params = params![
            key,
            IdKey(&task.id),
            task.id_given,
            task.name.as_str(),
            task.payload.as_str(),
            state,
            int(sequence),
            task.priority.unwrap_or_default(),
            place,
            due.map(int),
            task.expires.map(|time| int(wall.saturating_add(millis(time)))),
            task.unique.as_ref().map(|unique| unique.key.as_str()),
            task.unique.as_ref().map(|unique| match unique.hold {
                Hold::For(time) => int(millis(time)),
                Hold::Batch => HOLD_OF_BATCH,
            }),
            keep,
            task.max_attempts,
            task.max_crashes,
            task.key.as_ref().map(LimitKey::as_str),
            task.batch.as_ref().map(BatchName::as_str),
            task.run_limit.map(|limit| int(millis(limit))),
        ];
        if self.execute(statements::ADD_TASK, params)? == 0 {
            return Ok(false);
        }
        at(Point::StepTaskAdded);
        self.news = true;
        let queue = self.queue_or_new(&task.queue)?;
        queue.next_sequence();
        *match state {
            state::SCHEDULED => &mut queue.scheduled,
            state::HELD => &mut queue.held,
            _ => &mut queue.ready,
        } += 1;
        if let Some(key) = task.key.as_ref().filter(|_| state == state::HELD) {
            at(Point::StepHeld);
            self.admit(&task.queue, key, None)?;
        }
        Ok(true)
    }
}

/// Whether this task is the one that a planted defect drops.
fn drops_one() -> bool {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    planted(Defect::OneInTenThousandDropped) && COUNT.fetch_add(1, Ordering::Relaxed).is_multiple_of(10_000)
}
