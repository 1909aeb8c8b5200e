//! Outcomes that a server tells: who waits for what becomes of a task of its own is told, and need not ask.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::oneshot;

use crate::{NewTask, Outcome, OutcomeWaiter, TaskId};

/// Those of a session who wait.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    waiting: Arc<Mutex<Waiting>>,
    last: AtomicU64,
}

/// By the tasks that they wait for: which of those who waited, one after the other, and how it is told.
type Waiting = HashMap<TaskId, (u64, oneshot::Sender<Option<Outcome>>)>;

/// Forgets who waits, when it does no longer.
struct Registered {
    waiting: Arc<Mutex<Waiting>>,
    id: TaskId,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut waiting = lock(&self.waiting);
        if waiting.get(&self.id).is_some_and(|(number, _)| *number == self.number) {
            waiting.remove(&self.id);
        }
    }
}

impl Outcomes {
    /// Registers before it returns. Nothing for a task of which nothing is told: its result is not wanted, or its id may be given to another task, and what is told
    /// of one could be taken for what became of the other.
    pub(super) fn wait(&self, task: &NewTask) -> Option<OutcomeWaiter> {
        if task.id_given || task.result.kept().is_none() {
            return None;
        }
        let (tell, told) = oneshot::channel();
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).insert(task.id.clone(), (number, tell));
        let registered = Registered { waiting: Arc::clone(&self.waiting), id: task.id.clone(), number };
        Some(Box::pin(async move {
            let _registered = registered;
            // An error means that another one waits instead, or that it is to be asked.
            told.await.ok().flatten()
        }))
    }

    /// Whether somebody waits for what becomes of this task.
    pub(super) fn is_awaited(&self, task: &NewTask) -> bool {
        !task.id_given && lock(&self.waiting).contains_key(&task.id)
    }

    /// Tells who waits for it what became of a task; nothing, if it is to ask.
    pub(super) fn tell(&self, id: &TaskId, became: Option<Outcome>) {
        if let Some((_, tell)) = lock(&self.waiting).remove(id) {
            // Who does not wait any more need not hear it.
            let _ = tell.send(became);
        }
    }

    /// Has all who wait ask: what was told meanwhile was not heard.
    pub(super) fn have_all_asked(&self) {
        lock(&self.waiting).clear();
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    // A map is whole between any two changes.
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{Payload, QueueName, TaskName, Wanted};

    fn task() -> NewTask {
        let (queue, name) = (QueueName::new("films").unwrap(), TaskName::new("parse").unwrap());
        NewTask::new(queue, name, Payload::null()).with_result(Wanted::Reply)
    }

    #[test]
    fn each_hears_of_its_own_task() {
        let (outcomes, dead) = (Outcomes::default(), Outcome::Dead("no".to_owned()));
        let tasks = [task(), task(), task(), task()];
        let mut waiters = tasks.each_ref().map(|task| outcomes.wait(task).unwrap());
        outcomes.tell(&tasks[0].id, Some(Outcome::Cancelled));
        outcomes.tell(&tasks[2].id, None);
        outcomes.tell(&task().id, Some(Outcome::Unknown));
        outcomes.tell(&tasks[1].id, Some(dead.clone()));
        let heard = waiters.each_mut().map(FutureExt::now_or_never);
        assert_eq!(heard, [Some(Some(Outcome::Cancelled)), Some(Some(dead)), Some(None), None]);
        outcomes.have_all_asked();
        assert_eq!((&mut waiters[3]).now_or_never(), Some(None));
    }

    #[test]
    fn who_went_away_is_forgotten() {
        let (outcomes, task) = (Outcomes::default(), task());
        drop(outcomes.wait(&task));
        assert!(!outcomes.is_awaited(&task));
        let mut earlier = outcomes.wait(&task).unwrap();
        let later = outcomes.wait(&task).unwrap();
        assert_eq!((&mut earlier).now_or_never(), Some(None), "another one waits instead");
        drop(earlier);
        assert!(outcomes.is_awaited(&task));
        outcomes.tell(&task.id, Some(Outcome::Cancelled));
        assert_eq!(later.now_or_never(), Some(Some(Outcome::Cancelled)));
        assert!(!outcomes.is_awaited(&task));
    }

    #[test]
    fn nothing_is_told_of_what_may_be_another_task() {
        let outcomes = Outcomes::default();
        let given = task().with_id(TaskId::new("1").unwrap());
        assert!(outcomes.wait(&given).is_none() && !outcomes.is_awaited(&given));
        assert!(outcomes.wait(&task().with_result(Wanted::No)).is_none());
    }
}
