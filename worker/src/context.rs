//! What a handler knows of its task, and what it can do besides returning.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use manyhands_broker::{
    BatchName, Broker, BrokerExt, ClaimedTask, Enqueued, ErrorKind, NewTask, Payload, QueueName, Task,
    TaskId, capabilities::Control, limits,
};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    TaskError,
    leases::{Held, Teller},
    run_time,
};

/// The surroundings of one run of a handler. Clones share it.
#[derive(Clone, Debug)]
pub struct Context(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    link: Link,
    /// For handlers on threads.
    runtime: Handle,
    id: TaskId,
    queue: QueueName,
    epoch: u64,
    attempt: u32,
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "only handlers in processes ask"))]
    alone: bool,
    batch: Option<BatchName>,
    result_wanted: bool,
    run_limit: Option<Duration>,
    cancelled: CancellationToken,
    /// Enqueued with the settlement; dropped if the handler fails.
    children: Mutex<Vec<NewTask>>,
}

/// The way to the broker.
#[derive(Debug)]
enum Link {
    /// The handler runs in the worker.
    Here { around: Around, teller: Teller },
    /// It runs in a process of the worker's.
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "only programs of their own start such"))]
    Away(Arc<dyn Parent>),
}

/// The broker of a worker, and what it said when the worker began.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    pub(crate) broker: Arc<dyn Broker>,
    /// How long a run may take, whoever allows more.
    pub(crate) max_run: Option<Duration>,
}

/// The worker, as it is reached from a process that it started.
pub(crate) trait Parent: Debug + Send + Sync {
    /// As [`Context::progress`].
    fn tell(&self, id: &TaskId, progress: &Payload);

    /// As [`Context::put`].
    fn put(&self, id: &TaskId, task: NewTask) -> BoxFuture<'_, Result<Enqueued, TaskError>>;
}

/// What a handler in a process of its own is told of its task.
#[cfg(feature = "cli")]
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) id: TaskId,
    pub(crate) queue: QueueName,
    pub(crate) epoch: u64,
    pub(crate) attempt: u32,
    pub(crate) batch: Option<BatchName>,
    pub(crate) result_wanted: bool,
}

impl Context {
    pub(crate) fn new(around: Around, task: &ClaimedTask, held: &Held) -> Self {
        Self(Arc::new(Inner {
            link: Link::Here { around, teller: held.teller() },
            runtime: Handle::current(),
            id: task.lease.id.clone(),
            queue: task.lease.queue.clone(),
            epoch: task.lease.epoch,
            attempt: task.attempts + 1,
            alone: task.alone,
            batch: task.batch.clone(),
            result_wanted: task.result_wanted,
            run_limit: task.run_limit,
            cancelled: held.cancel().clone(),
            children: Mutex::new(Vec::new()),
        }))
    }

    /// In a process that a worker started for the handler.
    #[cfg(feature = "cli")]
    pub(crate) fn away(parent: Arc<dyn Parent>, told: Told) -> Self {
        let Told { id, queue, epoch, attempt, batch, result_wanted } = told;
        Self(Arc::new(Inner {
            link: Link::Away(parent),
            runtime: Handle::current(),
            id,
            queue,
            epoch,
            attempt,
            alone: false,
            batch,
            result_wanted,
            run_limit: None,
            cancelled: CancellationToken::new(),
            children: Mutex::new(Vec::new()),
        }))
    }

    /// The id of the task.
    #[must_use]
    pub fn id(&self) -> &TaskId {
        &self.0.id
    }

    /// The queue that the task came from.
    #[must_use]
    pub fn queue(&self) -> &QueueName {
        &self.0.queue
    }

    /// Counts the attempts, from 1. A run that ended with the death of its process is not counted.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// The fence: it grows with every claim of this task. Hand it to what the handler writes to, and let that refuse a
    /// lower one than it has seen: then a run that was given up for dead and was not can do no harm.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.0.epoch
    }

    /// The batch that the task belongs to; what it hands on belongs to it too, unless that is put into another.
    #[must_use]
    pub fn batch(&self) -> Option<&BatchName> {
        self.0.batch.as_ref()
    }

    /// Tells how far the handler is, in whatever words it has: anything that can be written as at most 4 KiB of JSON. Whoever asks for
    /// the task's outcome gets what was told last; the broker hears of it within about a second. It is gone when the run ends.
    ///
    /// # Errors
    /// A burial, when it is larger or cannot be written as JSON, or when the broker has nobody who could ask (RabbitMQ); from a process of
    /// its own that is a line of the worker's log instead.
    pub fn progress<T: Serialize + ?Sized>(&self, progress: &T) -> Result<(), TaskError> {
        self.tell(Payload::encode(progress).map_err(|e| TaskError::bury(e.report()))?)
    }

    /// As [`Context::progress`], for what is JSON already.
    pub(crate) fn tell(&self, progress: Payload) -> Result<(), TaskError> {
        if let Link::Here { around: Around { broker, .. }, .. } = &self.0.link
            && broker.capabilities().control == Control::None
        {
            let message = format!("{} cannot tell how far a task is", broker.backend());
            return Err(TaskError::bury(message));
        }
        if progress.len() > limits::MAX_PROGRESS {
            let (len, most) = (progress.len(), limits::MAX_PROGRESS);
            let message = format!("the progress has {len} bytes, at most {most} are allowed");
            return Err(TaskError::bury(message));
        }
        match &self.0.link {
            Link::Here { teller, .. } => teller.tell(progress),
            Link::Away(parent) => parent.tell(&self.0.id, &progress),
        }
        Ok(())
    }

    /// Whether somebody wants the result: one that is dear to make may be left out where nobody does.
    #[must_use]
    pub fn result_wanted(&self) -> bool {
        self.0.result_wanted
    }

    /// Whether the handler should stop: somebody cancelled the task, the lease is lost, so what it returns will be refused,
    /// the worker is made to end, or the task's own run limit is over. A blocking handler that then returns an error is given back uncharged,
    /// unless it buries the task; at the limit it has failed. An
    /// async handler is dropped instead of being told.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.0.cancelled.is_cancelled()
    }

    /// Enqueues a task together with the completion of this one: both happen or neither does. If the handler
    /// fails, the task is not enqueued.
    ///
    /// # Errors
    /// A burial, when the task cannot be written as JSON, or when it is one too many: a settlement carries at most
    /// 256 tasks and 4 MiB. Send more by a task that sends them. Also when its run limit is longer than the broker lets a task run
    /// ([`Broker::max_run`]); from a process of its own that is found when it ends.
    pub fn then<T: Task>(&self, task: T) -> Result<(), TaskError> {
        self.then_task(NewTask::of(&task).map_err(|e| TaskError::bury(e.report()))?)
    }

    /// As [`Context::then`], for a task that is built by hand: on another queue, with an id.
    ///
    /// # Errors
    /// As [`Context::then`].
    pub fn then_task(&self, task: NewTask) -> Result<(), TaskError> {
        let mut children = self.0.children.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: usize = children.iter().map(|child| child.payload.len()).sum();
        if children.len() >= limits::MAX_BATCH || bytes + task.payload.len() > limits::MAX_BATCH_BYTES {
            return Err(TaskError::bury(
                "a task can hand on at most 256 tasks and 4 MiB with its settlement",
            ));
        }
        if task.payload.len() > limits::MAX_PAYLOAD {
            let message =
                format!("a task of {} bytes cannot be handed on: at most 1 MiB", task.payload.len());
            return Err(TaskError::bury(message));
        }
        if let Link::Here { around: Around { broker, max_run: Some(longest) }, .. } = &self.0.link {
            let what = || format!("task {} for queue \"{}\"", task.id, task.queue);
            let fits = run_time::fits("settle", what, task.run_limit, *longest, broker.backend());
            // It would be refused with the settlement, when all is done.
            fits.map_err(|e| TaskError::bury(e.report()))?;
        }
        children.push(self.of_batch(task));
        Ok(())
    }

    /// Enqueues a task now, not with the settlement, and waits for room in its queue for as long as that takes: where a queue's
    /// capacity must hold exactly. If the handler fails after it, or its process dies, the task is there all the same, and
    /// once more after the next run, unless it has an id of its own.
    ///
    /// # Errors
    /// A burial, when the task is wrong or its queue is closed; a retry, when the broker cannot be reached or the handler is
    /// to stop ([`Context::cancelled`]).
    ///
    /// # Cancel safety
    /// The task may be enqueued.
    pub async fn put(&self, task: NewTask) -> Result<Enqueued, TaskError> {
        let task = self.of_batch(task);
        let broker = match &self.0.link {
            Link::Here { around, .. } => &around.broker,
            Link::Away(parent) => return parent.put(&self.0.id, task).await,
        };
        let room = broker.enqueue_when_room(&task, Duration::MAX, limits::PATIENCE);
        let answer = tokio::select! {
            answer = room => answer,
            () = self.stopped() => return Err(TaskError::retry("it was told to stop while it waited for room")),
        };
        match answer {
            Ok(Enqueued::Closed) => {
                Err(TaskError::bury(format!("queue \"{}\", which it hands on to, is closed", task.queue)))
            }
            Ok(answer) => Ok(answer),
            Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unsupported) => {
                Err(TaskError::bury(error.report()))
            }
            Err(error) => Err(TaskError::retry(error.report())),
        }
    }

    /// As [`Context::put`], for a handler that blocks.
    ///
    /// # Errors
    /// As [`Context::put`].
    pub fn put_blocking(&self, task: NewTask) -> Result<Enqueued, TaskError> {
        self.0.runtime.block_on(self.put(task))
    }

    /// What is handed on belongs to the batch that handed it on.
    fn of_batch(&self, mut task: NewTask) -> NewTask {
        task.batch = task.batch.or_else(|| self.0.batch.clone());
        task
    }

    /// How long this run may take: as long as who sent the task said, or the handler's own limit where that is shorter.
    pub(crate) fn limit(&self, own: Option<Duration>) -> Option<Duration> {
        self.0.run_limit.into_iter().chain(own).min()
    }

    /// Whether the task is to run alone in its process: it may have killed one.
    #[cfg(feature = "cli")]
    pub(crate) fn alone(&self) -> bool {
        self.0.alone
    }

    /// Tells the handler to stop.
    pub(crate) fn stop(&self) {
        self.0.cancelled.cancel();
    }

    /// Completes when the handler should stop.
    pub(crate) async fn stopped(&self) {
        self.0.cancelled.cancelled().await;
    }

    pub(crate) fn take_children(&self) -> Vec<NewTask> {
        std::mem::take(&mut *self.0.children.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
