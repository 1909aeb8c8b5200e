//! A handler that is a number of warm children.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use manyhands_broker::Payload;
use tokio::sync::{Mutex, Notify, mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Children, Outfit,
    failures::Failures,
    keeper::Keeper,
    protocol::MOST_AHEAD,
    room::Room,
    spawner::{Spawner, Start},
    verdict::stopped,
};
use crate::{
    Context, TaskError,
    handler::{Handler, Mode, Run},
};

/// Warm children of one program.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    processes: usize,
}

/// What the children of a pool have in common.
///
/// Invariant: what is free of `room` and the tasks in `jobs` are together as many as the living children have room for, and as those
/// *owe* that died while a task was on its way to them.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) outfit: Outfit,
    pub(super) start: Start,
    pub(super) spawner: Spawner,
    pub(super) ending: CancellationToken,
    /// Children that are on their way out.
    pub(super) leaving: TaskTracker,
    pub(super) room: Room,
    /// Rung when there is room again.
    pub(super) news: Arc<Notify>,
    pub(super) jobs: Mutex<mpsc::UnboundedReceiver<Job>>,
    pub(super) to_jobs: mpsc::UnboundedSender<Job>,
    pub(super) failures: Failures,
    /// How many children have nothing to do: while there is one, no other is given a task ahead of its time.
    pub(super) idle: watch::Sender<usize>,
}

/// A task for a child.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) payload: Payload,
    pub(super) context: Context,
    /// How many children were gone before they had it.
    pub(super) refused: u32,
    /// Whether a child has it. While none has, whoever waits for it may take it back.
    pub(super) begun: Arc<AtomicBool>,
    pub(super) reply: oneshot::Sender<Result<Option<Payload>, TaskError>>,
}

impl Pool {
    /// Describes the children, which are started by [`Children::begin`].
    pub(crate) fn new(
        children: &Children,
        outfit: Outfit,
        start: Start,
        processes: usize,
        news: Arc<Notify>,
    ) -> Self {
        let (to_jobs, jobs) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            outfit,
            start,
            spawner: children.spawner.clone(),
            ending: children.ending.clone(),
            leaving: children.kept.clone(),
            room: Room::new(0),
            news,
            jobs: Mutex::new(jobs),
            to_jobs,
            failures: Failures::default(),
            idle: watch::Sender::new(0),
        });
        for _ in 0..processes {
            children.add(Keeper::new(Arc::clone(&shared)));
        }
        Self { shared, processes }
    }
}

impl Handler for Pool {
    fn mode(&self) -> Mode {
        Mode::Process
    }

    fn room(&self) -> Option<usize> {
        Some(self.shared.room.free())
    }

    fn reserve(&self) {
        self.shared.room.reserve();
    }

    fn run_limit(&self) -> Option<Duration> {
        self.shared.outfit.limit
    }

    fn processes(&self) -> usize {
        self.processes
    }

    fn slots(&self) -> usize {
        self.processes * (1 + MOST_AHEAD)
    }

    fn run(&self, payload: &Payload, context: Context) -> Run {
        let (shared, payload) = (Arc::clone(&self.shared), payload.clone());
        Box::pin(async move {
            tokio::select! {
                biased;
                // The room is this task's until it has an answer, or its child is gone.
                () = shared.room.enter() => {}
                () = context.stopped() => return Err(stopped()),
            }
            let (reply, mut answer) = oneshot::channel();
            let begun = Arc::new(AtomicBool::new(false));
            let told = context.clone();
            let job = Job { payload, context, refused: 0, begun: Arc::clone(&begun), reply };
            shared.to_jobs.send(job).map_err(|_| stopped())?;
            tokio::select! {
                biased;
                answer = &mut answer => return answer.map_err(|_| stopped())?,
                () = told.stopped() => {}
            }
            if begun.swap(true, Ordering::SeqCst) {
                // A child has it, and is killed.
                return answer.await.map_err(|_| stopped())?;
            }
            Err(stopped())
        })
    }
}

impl Job {
    /// Takes the task for a child; false if it was taken back meanwhile.
    pub(super) fn begin(&self) -> bool {
        !self.begun.swap(true, Ordering::SeqCst)
    }

    /// Lets it be taken back again, as no child has it any more; `None` if it was to be stopped meanwhile, which it is hereby.
    pub(super) fn put_back(self) -> Option<Self> {
        self.begun.store(false, Ordering::SeqCst);
        // Whoever waits for it was told before and found it begun, or will be and finds it is not.
        if self.context.cancelled() && self.begin() {
            self.answer(Err(stopped()));
            return None;
        }
        Some(self)
    }

    pub(super) fn answer(self, answer: Result<Option<Payload>, TaskError>) {
        // Whoever ran it may be gone; the lease runs out then.
        let _ = self.reply.send(answer);
    }
}
