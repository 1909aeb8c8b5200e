//! Arrow `cancel`: ready, scheduled or held → (gone). And `pause`, which stops `claim` until `resume`.

use super::{Fate, Machine, Phase, Queue};
use crate::{
    Cancel, Pause, QueueName, TaskId,
    clock::{Now, time},
};

impl Machine {
    /// Cancels tasks and answers for each in order.
    pub fn cancel(&mut self, queue: &QueueName, ids: &[TaskId], now: Now) -> Vec<Cancel> {
        let answers = match self.queues.get_mut(queue) {
            Some(queue) => ids.iter().map(|id| queue.cancel(id, now)).collect(),
            None => vec![Cancel::Unknown; ids.len()],
        };
        self.count_settled(now);
        answers
    }

    /// Stops claims, if nobody has yet. Creates a missing queue.
    pub fn pause(&mut self, queue: &QueueName, by: &str, now: Now) {
        let pause = || Pause { by: by.to_owned(), at: time(now.wall) };
        self.queue(queue).paused.get_or_insert_with(pause);
    }

    /// Lets claims go on. Creates a missing queue.
    pub fn resume(&mut self, queue: &QueueName) {
        self.queue(queue).paused = None;
    }
}

impl Queue {
    pub(super) fn cancel(&mut self, id: &TaskId, now: Now) -> Cancel {
        let Some(record) = self.tasks.get_mut(id) else { return Cancel::Unknown };
        match record.phase {
            Phase::Ready | Phase::Scheduled(_) | Phase::Held => {
                self.go(id, Fate::Cancelled, now);
                Cancel::Cancelled
            }
            Phase::Leased(..) => {
                record.progress.cancelled = true;
                Cancel::Asked
            }
            Phase::Dead(..) => Cancel::Unknown,
        }
    }
}
