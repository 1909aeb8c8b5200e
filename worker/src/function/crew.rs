//! The threads of a worker that call functions, and how much they are given ahead.
//!
//! Functions are quick more often than not, and a claim for each would cost more than they do: so a worker claims as many as its threads do in a
//! millisecond. Which will be the slow one nobody knows: a task that has waited here behind it for some time is given back, uncharged,
//! for others to take.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use manyhands_broker::{
    Payload, limits,
    sabotage::{Defect, planted},
};
use tokio::sync::oneshot;

use super::{Calls, Pace};
use crate::{Context, TaskError};

/// How long a task waits behind others before it is given back.
const PATIENCE: Duration = Duration::from_millis(10);

/// How many tasks a worker has at most for all its threads.
pub(crate) const SLOTS: usize = 512;

/// The threads, and the tasks that wait for them.
#[derive(Debug)]
pub(crate) struct Crew {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Debug)]
struct State {
    jobs: VecDeque<Arc<Job>>,
    /// How many threads there are to be, are, and have nothing to do.
    threads: usize,
    started: usize,
    idle: usize,
    /// Tasks that were promised a place, and have not ended.
    taken: usize,
    pace: Pace,
}

/// What a thread does.
struct Job {
    calls: Arc<dyn Calls>,
    payload: Payload,
    /// Until the job is begun or given back.
    reply: Mutex<Option<oneshot::Sender<Result<Payload, TaskError>>>>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("payload", &self.payload).finish_non_exhaustive()
    }
}

impl Default for Crew {
    /// One thread a core.
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (jobs, pace) = (VecDeque::new(), Pace::default());
        let state = State { jobs, threads, started: 0, idle: 0, taken: 0, pace };
        Self { state: Mutex::new(state), work: Condvar::new() }
    }
}

impl Crew {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how many threads there are to be.
    pub(crate) fn set_threads(&self, threads: usize) {
        self.lock().threads = threads;
    }

    /// How many more tasks there is room for.
    pub(crate) fn room(&self) -> usize {
        let state = self.lock();
        (state.pace.window() * state.threads).min(SLOTS).saturating_sub(state.taken)
    }

    /// Promises a place to a task that is about to run.
    pub(crate) fn reserve(&self) {
        self.lock().taken += 1;
    }

    /// Does the calls of a task, whose place was promised.
    ///
    /// # Cancel safety
    /// If they have begun they go on, and nobody is told.
    pub(crate) async fn run(
        self: Arc<Self>,
        calls: Arc<dyn Calls>,
        payload: Payload,
        context: Context,
    ) -> Result<Option<Payload>, TaskError> {
        let _place = Place(&self);
        let (reply, mut answer) = oneshot::channel();
        let job = Arc::new(Job { calls, payload, reply: Mutex::new(Some(reply)) });
        self.add(&job)?;
        let ended = tokio::select! {
            biased;
            ended = &mut answer => Some(ended),
            () = context.stopped() => None,
            () = tokio::time::sleep(PATIENCE), if !planted(Defect::CallsStayBehind) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            // Nobody has begun it, and nobody will.
            None if job.take().is_some() => {
                let mut state = self.lock();
                state.jobs.retain(|other| !Arc::ptr_eq(other, &job));
                state.pace.slow();
                return Err(TaskError::release());
            }
            // A thread can only be told.
            None => answer.await,
        };
        // A thread answers whatever it began.
        let reply = ended.map_err(|_| TaskError::retry("the thread of the function has ended"))??;
        Ok(context.result_wanted().then_some(reply))
    }

    fn add(self: &Arc<Self>, job: &Arc<Job>) -> Result<(), TaskError> {
        let mut state = self.lock();
        if state.idle == 0 && state.started < state.threads {
            let crew = Arc::downgrade(self);
            let work = move || {
                while let Some(job) = crew.upgrade().and_then(|crew| crew.next()) {
                    if let Some(crew) = crew.upgrade() {
                        crew.done(job.run());
                    }
                }
            };
            let started = thread::Builder::new().name("functions".to_owned()).spawn(work);
            if let (Err(error), 0) = (&started, state.started) {
                return Err(TaskError::retry(format!("no thread can be started: {error}")));
            }
            state.started += usize::from(started.is_ok());
        }
        state.jobs.push_back(Arc::clone(job));
        if state.idle > 0 {
            self.work.notify_one();
        }
        Ok(())
    }

    /// The next job; waits for it a while, and then looks whether the crew is still there.
    fn next(&self) -> Option<Arc<Job>> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state.idle += 1;
            let (after, waited) = self
                .work
                .wait_timeout(state, Duration::from_secs(10))
                .unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                // It is started again when it is needed.
                state.started -= 1;
                return None;
            }
        }
    }

    /// A job took so long, if it was done.
    fn done(&self, took: Option<Duration>) {
        if let Some(took) = took {
            self.lock().pace.took(took);
        }
    }
}

impl Job {
    fn take(&self) -> Option<oneshot::Sender<Result<Payload, TaskError>>> {
        self.reply.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Does it, unless it was given back, and tells how long that took.
    fn run(&self) -> Option<Duration> {
        let reply = self.take()?;
        let began = Instant::now();
        let result = self.call();
        let took = began.elapsed();
        // Nobody waits where the worker is ending.
        let _ = reply.send(result);
        Some(took)
    }

    fn call(&self) -> Result<Payload, TaskError> {
        let mut out = Vec::new();
        self.calls.call_all(self.payload.as_str().as_bytes(), &mut out).map_err(TaskError::bury)?;
        if out.len() > limits::MAX_PAYLOAD {
            let message = format!(
                "it ran, but its results of {} bytes cannot be kept: at most 1 MiB; use smaller chunks, or store them elsewhere",
                out.len()
            );
            return Err(TaskError::bury(message));
        }
        let text = String::from_utf8(out).map_err(|e| TaskError::bury(e.to_string()))?;
        Ok(Payload::from_stored(text))
    }
}

/// A place that is given up when this is dropped.
struct Place<'c>(&'c Crew);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        // Where a handler has a process of its own, nobody asks for places.
        state.taken = state.taken.saturating_sub(1);
    }
}
