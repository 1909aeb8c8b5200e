//! The tasks, and how a worker runs them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use manyhands_broker::{
    BatchName, LimitKey, NewTask, Payload, Settled, Task, TaskName, Unique,
    crash::{Point, passed},
};
use manyhands_worker::{App, Context, Observer, Running, TaskError};
use serde::{Deserialize, Serialize};

use crate::{
    queue,
    told::{Diary, How, Line, Name, Run},
    until,
};

/// What a task carries.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Work {
    /// How it ends first; the next time it is completed.
    pub(crate) how: How,
    /// What it hands on when it is completed.
    pub(crate) children: Vec<Name>,
    /// Whether its handler waits until leases were renewed.
    pub(crate) long: bool,
}

impl Task for Work {
    const NAME: &'static str = "work";
    const QUEUE: &'static str = "work";
    type Output = ();
}

impl Work {
    pub(crate) fn new(how: How) -> Self {
        Self { how, children: Vec::new(), long: false }
    }

    /// One that hands on so many tasks to each of these queues.
    pub(crate) fn parent(task: &Name, queues: &[&str]) -> Self {
        let child = |(number, queue): (usize, &&str)| Name::new(queue, format!("{}/{number}", task.id));
        Self { children: queues.iter().enumerate().map(child).collect(), ..Self::new(How::Complete) }
    }
}

/// The task of a name.
pub(crate) fn new_task(name: &Name, work: &Work) -> NewTask {
    let payload = Payload::encode(work).unwrap();
    let task = NewTask::new(queue(&name.queue), TaskName::new(Work::NAME).unwrap(), payload);
    task.with_id(name.id())
}

/// The batch of the tasks that belong together.
pub(crate) fn batch() -> BatchName {
    BatchName::new("together").unwrap()
}

/// A task of a queue with limits: of one key and one batch, seen by that.
pub(crate) fn keyed_task(name: &Name) -> NewTask {
    let task = new_task(name, &Work::new(How::Complete)).with_key(LimitKey::new("key").unwrap());
    task.in_batch(batch()).with_unique(Unique::in_batch(&name.id).unwrap())
}

/// The tasks that follow from one.
pub(crate) fn children(work: &Work) -> Vec<NewTask> {
    work.children.iter().map(|child| new_task(child, &Work::new(How::Complete))).collect()
}

/// Somebody who writes down what becomes of the runs of a worker. Without a diary, only which there were.
#[derive(Debug)]
pub(crate) struct Clerk {
    pub(crate) diary: Option<Arc<Diary>>,
    pub(crate) runs: Mutex<Vec<Run>>,
}

impl Clerk {
    pub(crate) fn new(diary: Option<Arc<Diary>>) -> Arc<Self> {
        Arc::new(Self { diary, runs: Mutex::default() })
    }

    fn note(&self, line: &Line) {
        if let Some(diary) = &self.diary {
            diary.note(line);
        }
    }
}

impl Observer for Clerk {
    fn started(&self, run: &Running<'_>) {
        let run = Run::of(&run.task.lease);
        self.note(&Line::Claimed(run.clone()));
        self.runs.lock().unwrap().push(run);
    }

    fn settled(&self, run: &Running<'_>, answer: Settled) {
        if answer == Settled::Settled {
            self.note(&Line::Settled(Run::of(&run.task.lease)));
        }
    }
}

/// The handler. With a diary, ends tasks as they say; without, completes them all.
pub(crate) fn app(clerk: &Arc<Clerk>) -> App {
    let clerk = Arc::clone(clerk);
    App::new().handle(move |work: Work, ctx: Context| {
        let clerk = Arc::clone(&clerk);
        async move {
            let first = clerk.diary.is_some() && ctx.attempt() == 1;
            if first && work.long {
                until("leases are renewed", async || passed(Point::BeatsAnswered) > 0).await;
            }
            let how = if first { work.how } else { How::Complete };
            let handed = if how == How::Complete { work.children.clone() } else { Vec::new() };
            let of = |run: &&Run| run.task == Name::new(ctx.queue(), ctx.id()) && run.epoch == ctx.fence();
            let run = clerk.runs.lock().unwrap().iter().find(of).unwrap().clone();
            clerk.note(&Line::Settle { run, how, children: handed });
            match how {
                How::Retry => Err(TaskError::retry("it failed").after(Duration::from_millis(1))),
                How::Bury => Err(TaskError::bury("it cannot succeed")),
                How::Complete | How::Release | How::Park => {
                    children(&work).into_iter().try_for_each(|child| ctx.then_task(child))
                }
            }
        }
    })
}
