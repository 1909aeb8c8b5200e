//! The tasks that were sent and whose results were not collected.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use manyhands_broker::{Outcome, TaskId, TaskName};
use tokio::sync::Notify;

use crate::pool::unit::Unit;

/// How many tasks are under way at most.
const MOST: usize = 2048;

/// Tasks in the order in which they were sent: most end in that order, too.
#[derive(Default)]
pub(super) struct UnderWay {
    tasks: Mutex<VecDeque<(TaskId, Unit)>>,
    /// There is more; or no more will be.
    pub(super) more: Notify,
    /// There is less.
    pub(super) less: Notify,
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(TaskId, Unit)>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, tasks: Vec<(TaskId, Unit)>) {
        self.lock().extend(tasks);
        self.more.notify_one();
    }

    /// For how many more there is room.
    pub(super) fn room(&self) -> usize {
        MOST.saturating_sub(self.len())
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The ids of `max` tasks from one on.
    pub(super) fn ids(&self, from: usize, max: usize) -> Vec<TaskId> {
        self.lock().iter().skip(from).take(max).map(|(id, _)| id.clone()).collect()
    }

    /// The functions that are called.
    pub(super) fn functions(&self) -> Vec<TaskName> {
        let mut names: Vec<_> = self.lock().iter().map(|(_, unit)| unit.function.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Takes those out that have ended, of those from one on for which there are outcomes. Only who collects takes any out, so that they stand where
    /// they stood when their ids were asked for.
    pub(super) fn take(&self, from: usize, outcomes: Vec<Outcome>) -> Vec<(TaskId, Unit, Outcome)> {
        let mut tasks = self.lock();
        let count = tasks.len();
        let mut after = tasks.split_off(from.min(count));
        let mut ended = Vec::new();
        for outcome in outcomes {
            let Some((id, unit)) = after.pop_front() else { break };
            match outcome {
                Outcome::Pending { .. } => tasks.push_back((id, unit)),
                outcome => ended.push((id, unit, outcome)),
            }
        }
        tasks.append(&mut after);
        if !ended.is_empty() {
            self.less.notify_one();
        }
        ended
    }

    /// Takes out all.
    pub(super) fn drain(&self) -> Vec<(TaskId, Unit)> {
        self.lock().drain(..).collect()
    }
}
