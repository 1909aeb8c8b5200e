//! The result of a call that is under way.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use super::unit::{Ended, Sink};
use crate::CallError;

/// What is made of the ends of all units of a call.
pub(super) type Read<T> = Box<dyn FnOnce(Vec<Ended>) -> Result<T, CallError> + Send>;

/// What is called with the result of a call.
type Callback<T> = Box<dyn FnOnce(&Result<T, CallError>) + Send>;

/// What the thread of callbacks does.
type Job = Box<dyn FnOnce() + Send>;

/// The result of a call that is under way, or ended: Python's `AsyncResult`, and the future of its executors.
///
/// It can also be awaited. Dropped, the call goes on.
pub struct AsyncResult<T>(Arc<Promise<T>>);

pub(super) struct Promise<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    phase: Phase<T>,
    callbacks: VecDeque<Callback<T>>,
    waker: Option<Waker>,
}

enum Phase<T> {
    /// Units have not ended: how many, and the ends of the others.
    Waiting(usize, Vec<Option<Ended>>, Read<T>),
    /// All have; nobody looked at what they came to.
    Arrived(Vec<Ended>, Read<T>),
    /// Callbacks are called.
    Calling,
    Ready(Result<T, CallError>),
    Taken,
}

impl<T: Send + 'static> Promise<T> {
    /// For so many units.
    pub(super) fn new(units: usize, read: Read<T>) -> Arc<Self> {
        let phase = match units {
            0 => Phase::Arrived(Vec::new(), read),
            _ => Phase::Waiting(units, (0..units).map(|_| None).collect(), read),
        };
        let state = State { phase, callbacks: VecDeque::new(), waker: None };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls callbacks on a thread of their own: one that waits holds up others like it, and nothing else.
    fn call_back(self: &Arc<Self>) {
        let promise = Arc::clone(self);
        let job = Box::new(move || promise.call_all());
        static CALLBACKS: OnceLock<Option<mpsc::Sender<Job>>> = OnceLock::new();
        let sender = CALLBACKS.get_or_init(|| {
            let (sender, jobs) = mpsc::channel::<Job>();
            let work = move || jobs.iter().for_each(|job| job());
            thread::Builder::new().name("pool-callbacks".to_owned()).spawn(work).ok().map(|_| sender)
        });
        match sender {
            Some(sender) => {
                if let Err(mpsc::SendError(job)) = sender.send(job) {
                    job();
                }
            }
            // No thread can be started: late is better than never.
            None => job(),
        }
    }

    fn call_all(&self) {
        let (result, mut callbacks) = {
            let mut state = self.lock();
            let result = match std::mem::replace(&mut state.phase, Phase::Calling) {
                Phase::Arrived(ends, read) => read(ends),
                Phase::Ready(result) => result,
                Phase::Taken => Err(CallError::Taken),
                // Somebody was quicker, and calls them.
                other => {
                    state.phase = other;
                    return;
                }
            };
            (result, std::mem::take(&mut state.callbacks))
        };
        loop {
            for callback in callbacks {
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| callback(&result))).is_err() {
                    tracing::error!("a callback of a pool panicked");
                }
            }
            let mut state = self.lock();
            if state.callbacks.is_empty() {
                state.phase = Phase::Ready(result);
                self.tell(&mut state);
                return;
            }
            callbacks = std::mem::take(&mut state.callbacks);
        }
    }

    fn tell(&self, state: &mut State<T>) {
        self.changed.notify_all();
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn add(self: &Arc<Self>, callback: Callback<T>) {
        let now = {
            let mut state = self.lock();
            state.callbacks.push_back(callback);
            !matches!(state.phase, Phase::Waiting(..) | Phase::Calling)
        };
        if now {
            self.call_back();
        }
    }
}

impl<T: Send + 'static> Sink for Arc<Promise<T>> {
    fn ended(&self, at: usize, ended: Ended) {
        let calls = {
            let mut state = self.lock();
            let Phase::Waiting(left, ends, _) = &mut state.phase else { return };
            ends[at] = Some(ended);
            *left -= 1;
            if *left > 0 {
                return;
            }
            if let Phase::Waiting(_, ends, read) = std::mem::replace(&mut state.phase, Phase::Taken) {
                state.phase = Phase::Arrived(ends.into_iter().flatten().collect(), read);
            }
            if state.callbacks.is_empty() {
                self.tell(&mut state);
            }
            !state.callbacks.is_empty()
        };
        if calls {
            self.call_back();
        }
    }
}

impl<T> State<T> {
    /// Whether the result is there, and all callbacks have seen it.
    fn is_over(&self) -> bool {
        self.callbacks.is_empty() && !matches!(self.phase, Phase::Waiting(..) | Phase::Calling)
    }

    /// The result, if it is there.
    fn take(&mut self) -> Option<Result<T, CallError>> {
        if !self.is_over() {
            return None;
        }
        Some(match std::mem::replace(&mut self.phase, Phase::Taken) {
            Phase::Arrived(ends, read) => read(ends),
            Phase::Ready(result) => result,
            _ => Err(CallError::Taken),
        })
    }
}

impl<T: Send + 'static> AsyncResult<T> {
    pub(super) fn new(promise: Arc<Promise<T>>) -> Self {
        Self(promise)
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// Why there is none.
    pub fn get(self) -> Result<T, CallError> {
        let mut state = self.0.lock();
        loop {
            if let Some(result) = state.take() {
                return result;
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the result at most so long.
    ///
    /// # Errors
    /// [`CallError::TimedOut`] when it is not there by then: the call goes on, and can be waited for again. Else why there is none.
    pub fn get_timeout(&mut self, timeout: Duration) -> Result<T, CallError> {
        if !self.wait(timeout) {
            return Err(CallError::TimedOut(timeout));
        }
        self.0.lock().take().unwrap_or(Err(CallError::Taken))
    }

    /// As [`AsyncResult::get`], under the name of executors' futures.
    ///
    /// # Errors
    /// Why there is none.
    pub fn result(self) -> Result<T, CallError> {
        self.get()
    }

    /// Waits until the call has ended, at most so long, and tells whether it has.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.0.lock();
        while !state.is_over() {
            let left =
                deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Whether the call has ended.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Whether the call has a result; `None` as long as it has not ended.
    #[must_use]
    pub fn successful(&self) -> Option<bool> {
        let mut state = self.0.lock();
        let result = state.take()?;
        let successful = result.is_ok();
        state.phase = match result {
            Err(CallError::Taken) => Phase::Taken,
            result => Phase::Ready(result),
        };
        Some(successful)
    }

    /// Lets `callback` be called with the result when it is there. It is called on a thread that all callbacks of this process share: it must
    /// not wait for the result of another call that has callbacks.
    #[must_use = "the result can still be waited for"]
    pub fn callback(self, callback: impl FnOnce(&T) + Send + 'static) -> Self {
        self.add_done_callback(|result| {
            if let Ok(result) = result {
                callback(result);
            }
        })
    }

    /// Lets `callback` be called if there will be no result, with the reason.
    #[must_use = "the result can still be waited for"]
    pub fn error_callback(self, callback: impl FnOnce(&CallError) + Send + 'static) -> Self {
        self.add_done_callback(|result| {
            if let Err(error) = result {
                callback(error);
            }
        })
    }

    /// Lets `callback` be called when the call has ended, however. Where there are several, they are called in their order.
    #[must_use = "the result can still be waited for"]
    pub fn add_done_callback(self, callback: impl FnOnce(&Result<T, CallError>) + Send + 'static) -> Self {
        self.0.add(Box::new(callback));
        self
    }
}

impl<T: Send + 'static> Future for AsyncResult<T> {
    type Output = Result<T, CallError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        match state.take() {
            Some(result) => Poll::Ready(result),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult").finish_non_exhaustive()
    }
}
