//! Where a task goes that leaves its state: every arrow that is no claim and no promotion ends here.

use rusqlite::params;

use super::{QueueRow, Steps, TaskRow};
use crate::{
    QueueName,
    backends::local::{
        keys::{history_text, int, state},
        statements,
    },
    crash::{Point, at},
    machine::{Fate, Progress, held_place, place},
};

/// The state in which a task arrives, with what only that state has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arrival {
    /// With its place.
    Ready(i64),
    /// With its place, and whether it was given back under its sequence.
    Held(i64, bool),
    /// With its due time.
    Scheduled(u64),
    /// With its order of death.
    Dead(u64),
}

impl QueueRow {
    /// A task leaves its state.
    pub(super) fn leave(&mut self, task: &TaskRow) {
        match task.state {
            state::READY => {
                self.ready -= 1;
                self.ready_alone -= u64::from(task.must_alone);
            }
            state::SCHEDULED => self.scheduled -= 1,
            state::LEASED => self.leased -= 1,
            state::HELD => self.held -= 1,
            _ => self.dead -= 1,
        }
    }
}

impl Steps<'_, '_> {
    /// Sends a task where its fate says, as `Queue::go`.
    pub(super) fn go(&mut self, name: &QueueName, task: &TaskRow, fate: Fate) -> rusqlite::Result<()> {
        self.news = true;
        let queue = self.queue_or_new(name)?;
        queue.leave(task);
        match fate {
            Fate::Ready => {
                let (order, sequence) = (queue.order(), task.sequence);
                let arrival = match task.limit {
                    Some(_) => Arrival::Held(held_place(order, sequence, true), true),
                    None => Arrival::Ready(place(order, sequence, true)),
                };
                self.arrive(name, task, &task.progress, arrival)?;
            }
            Fate::Scheduled(due) => self.arrive(name, task, &task.progress, Arrival::Scheduled(due))?,
            Fate::Dead => {
                queue.last_death += 1;
                let death = queue.last_death;
                self.let_go_of_key(name, task)?;
                self.arrive(name, task, &task.progress, Arrival::Dead(death))?;
                self.forget_dead(name)?;
            }
            Fate::Done | Fate::Cancelled => {
                self.execute(statements::REMOVE_TASK, [task.key])?;
                self.let_go_of_key(name, task)?;
                if task.id_given {
                    self.remember(name, &task.id)?;
                }
                if fate == Fate::Cancelled {
                    self.keep_outcome(name, task, None)?;
                }
            }
        }
        if let (Some(batch), Fate::Done | Fate::Cancelled | Fate::Dead) = (&task.batch, fate) {
            self.settled.push((batch.clone(), fate));
        }
        match &task.limit {
            Some(key) => self.admit(name, key, Some(task.state)),
            None => Ok(()),
        }
    }

    /// Counts and writes a task, which left its old state, in another one.
    pub(super) fn arrive(
        &mut self,
        name: &QueueName,
        task: &TaskRow,
        progress: &Progress,
        arrival: Arrival,
    ) -> rusqlite::Result<()> {
        let wall = int(self.now.wall);
        let queue = self.queue_or_new(name)?;
        let must_alone =
            matches!(arrival, Arrival::Ready(_) | Arrival::Held(..)) && progress.must_run_alone();
        let (mut place, mut due, mut death, mut died, mut returned) = (None, None, None, None, false);
        let state = match arrival {
            Arrival::Ready(at) => {
                queue.ready += 1;
                queue.ready_alone += u64::from(must_alone);
                place = Some(at);
                state::READY
            }
            Arrival::Held(at, again) => {
                queue.held += 1;
                (place, returned) = (Some(at), again);
                state::HELD
            }
            Arrival::Scheduled(time) => {
                queue.scheduled += 1;
                due = Some(int(time));
                state::SCHEDULED
            }
            Arrival::Dead(order) => {
                queue.dead += 1;
                (death, died) = (Some(int(order)), Some(wall));
                state::DEAD
            }
        };
        let Progress { attempts, crashes, deaths, parks, parked_since, error, cancelled, history, .. } =
            progress;
        let params = params![
            task.key,
            state,
            must_alone,
            place,
            due,
            death,
            died,
            attempts,
            crashes,
            deaths,
            parks,
            int(*parked_since),
            error.as_deref(),
            cancelled,
            history_text(history)?,
            returned,
        ];
        self.execute(statements::MOVE_TASK, params)?;
        if state == state::HELD {
            at(Point::StepHeld);
        }
        Ok(())
    }
}
