//! Results one after the other, while the calls go on.

use std::{
    collections::VecDeque,
    fmt,
    iter::FusedIterator,
    marker::PhantomData,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use manyhands_broker::TaskName;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Shared,
    unit::{Ended, Part, Sink},
};
use crate::CallError;

/// The most calls that are under way beside what was asked for, unless units are larger.
const AHEAD: usize = 2048;

/// The most bytes of results that may wait to be asked for, as far as can be told by the largest that came: what bounds the memory.
const BYTES: usize = 64 * 1024 * 1024;

/// How many units are under way before any result is known.
const FIRST: usize = 32;

/// The results of [`imap`](crate::Pool::imap) and [`imap_unordered`](crate::Pool::imap_unordered).
///
/// It takes from its source only as much as keeps the processes busy, whenever it is asked for a result. Dropped, calls that have not begun are
/// not made.
pub struct Results<I, A, R> {
    /// Where calls come from, and what is called.
    source: Option<(I, TaskName)>,
    pool: Arc<Shared>,
    gather: Arc<Gather>,
    chunk: usize,
    /// Results that were read and not asked for yet.
    read: VecDeque<Result<R, CallError>>,
    /// The sizes of the units that were added and not received; in their order, where that matters.
    under_way: VecDeque<usize>,
    added: usize,
    /// How many units may be under way: more from one time to the next.
    window: usize,
    /// The most bytes that the results of a unit had.
    widest: usize,
    /// An error that ends it, once all before it is told.
    last: Option<CallError>,
    calls: PhantomData<fn(A)>,
}

/// Collects the ends of units as they come.
pub(super) struct Gather {
    state: Mutex<State>,
    changed: Condvar,
    ordered: bool,
}

#[derive(Default)]
struct State {
    /// The place of the first of `slots`.
    first: usize,
    /// In order, those that are not received.
    slots: VecDeque<Option<Ended>>,
    /// In no order.
    arrived: VecDeque<(usize, Ended)>,
    waiting: bool,
    abandoned: bool,
}

impl Gather {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next end, in order or not; `None` after the deadline.
    fn next(&self, deadline: Option<Instant>, into: &mut Vec<(usize, Ended)>) -> bool {
        let mut state = self.lock();
        loop {
            into.extend(state.arrived.drain(..));
            while let Some(ended) = state.slots.front_mut().and_then(Option::take) {
                state.slots.pop_front();
                into.push((state.first, ended));
                state.first += 1;
            }
            if !into.is_empty() {
                return true;
            }
            state.waiting = true;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.waiting = false;
        }
    }
}

impl Sink for Gather {
    fn ended(&self, at: usize, ended: Ended) {
        let mut state = self.lock();
        let wake = if self.ordered {
            let slot = at - state.first;
            if state.slots.len() <= slot {
                state.slots.resize_with(slot + 1, || None);
            }
            state.slots[slot] = Some(ended);
            slot == 0
        } else {
            state.arrived.push_back((at, ended));
            true
        };
        if wake && state.waiting {
            self.changed.notify_one();
        }
    }

    fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }
}

impl<I, A, R> Results<I, A, R>
where
    I: Iterator<Item = A>,
    A: Serialize,
    R: DeserializeOwned,
{
    pub(super) fn new(
        pool: Arc<Shared>,
        function: Result<TaskName, CallError>,
        source: I,
        chunk: usize,
        ordered: bool,
    ) -> Self {
        let gather = Gather { state: Mutex::default(), changed: Condvar::new(), ordered };
        let (source, last) = match function {
            Ok(function) => (Some((source, function)), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            source,
            pool,
            gather: Arc::new(gather),
            chunk: chunk.max(1),
            read: VecDeque::new(),
            under_way: VecDeque::new(),
            added: 0,
            window: FIRST,
            widest: 1,
            last,
            calls: PhantomData,
        }
    }

    /// As [`Iterator::next`], and waits at most so long: then the answer is [`CallError::TimedOut`], and it can be asked again.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<R, CallError>> {
        match self.receive(Instant::now().checked_add(timeout)) {
            Ok(result) => result,
            Err(()) => Some(Err(CallError::TimedOut(timeout))),
        }
    }

    fn receive(&mut self, deadline: Option<Instant>) -> Result<Option<Result<R, CallError>>, ()> {
        let mut ends = Vec::new();
        loop {
            if let Some(result) = self.read.pop_front() {
                return Ok(Some(result));
            }
            self.top_up();
            if self.under_way.is_empty() {
                return Ok(self.last.take().map(Err));
            }
            if !self.gather.next(deadline, &mut ends) {
                return Err(());
            }
            for (at, ended) in ends.drain(..) {
                let count = self.received(at);
                self.widest = self.widest.max(ended.bytes());
                self.read.extend(ended.read::<R>(count));
            }
        }
    }

    /// The size of a unit that was received.
    fn received(&mut self, at: usize) -> usize {
        if self.gather.ordered {
            return self.under_way.pop_front().unwrap_or_default();
        }
        // All units have the same size but for the last one.
        let last = at + 1 == self.added && self.source.is_none();
        let size = if last { self.under_way.pop_back() } else { self.under_way.pop_front() };
        size.unwrap_or_default()
    }

    /// Adds calls, where half of what may be under way is done.
    fn top_up(&mut self) {
        let most = self.window.min(AHEAD / self.chunk).min(BYTES / self.widest).max(4 * self.pool.hands);
        if self.under_way.len() > most / 2 {
            return;
        }
        self.window = (2 * self.window).min(AHEAD);
        let mut units = Vec::new();
        let mut sizes = Vec::new();
        while let Some((source, function)) = &mut self.source
            && self.under_way.len() + units.len() < most
        {
            let (calls, function): (Vec<(A,)>, _) =
                (source.take(self.chunk).map(|item| (item,)).collect(), function.clone());
            if calls.len() < self.chunk {
                self.source = None;
            }
            if calls.is_empty() {
                break;
            }
            match Part::of(&calls) {
                Ok(part) => {
                    let sink = Arc::clone(&self.gather) as Arc<dyn Sink>;
                    units.push(part.unit(&function, &sink, self.added + units.len()));
                    sizes.push(calls.len());
                }
                Err(error) => (self.source, self.last) = (None, Some(error)),
            }
        }
        let count = units.len();
        if count == 0 {
            return;
        }
        match self.pool.add(units) {
            Ok(()) => {
                self.added += count;
                self.under_way.extend(sizes);
            }
            Err(error) => (self.source, self.last) = (None, Some(error)),
        }
    }
}

impl<I, A, R> Iterator for Results<I, A, R>
where
    I: Iterator<Item = A>,
    A: Serialize,
    R: DeserializeOwned,
{
    type Item = Result<R, CallError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Without a deadline none passes.
        self.receive(None).unwrap_or_default()
    }
}

impl<I, A, R> FusedIterator for Results<I, A, R>
where
    I: Iterator<Item = A>,
    A: Serialize,
    R: DeserializeOwned,
{
}

impl<I, A, R> Drop for Results<I, A, R> {
    fn drop(&mut self) {
        self.gather.lock().abandoned = true;
    }
}

impl<I, A, R> fmt::Debug for Results<I, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").field("added", &self.added).finish_non_exhaustive()
    }
}
