//! The line of units that wait for a process.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, futures::Notified};

use super::unit::{Ended, Unit};
use crate::CallError;

/// The units of a pool that are not given to a process, and how many are not ended.
#[derive(Default)]
pub(crate) struct Line {
    state: Mutex<State>,
    /// There may be something to be taken, or the line has ended.
    news: Notify,
    /// The last unit has ended, or the last process.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    units: VecDeque<Unit>,
    /// Those that were added and have not ended.
    unfinished: usize,
    /// No more is added.
    closed: bool,
    /// Nothing runs any more, for this reason.
    over: Option<CallError>,
    /// How many processes are there, or are to be.
    hands: usize,
}

/// What is taken from the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There may be more.
    Open,
    /// All that was added has ended, and nothing more will be.
    Closed,
    /// Nothing runs any more.
    Over,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl State {
    fn standing(&self) -> Standing {
        match self {
            _ if self.over.is_some() => Standing::Over,
            // What another process has may still come back.
            _ if self.closed && self.unfinished == 0 => Standing::Closed,
            _ => Standing::Open,
        }
    }
}

impl Line {
    pub(super) fn new(hands: usize) -> Self {
        Self { state: Mutex::new(State { hands, ..State::default() }), ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds units at the end.
    ///
    /// # Errors
    /// When the pool takes no more; then none was added.
    pub(super) fn add(&self, units: Vec<Unit>) -> Result<(), CallError> {
        {
            let mut state = self.lock();
            match &state.over {
                Some(why) => return Err(why.clone()),
                None if state.closed => return Err(CallError::Closed),
                None => {}
            }
            state.unfinished += units.len();
            state.units.extend(units);
        }
        self.news.notify_waiters();
        Ok(())
    }

    /// Puts units that were taken back to the beginning, in their order.
    pub(super) fn give_back(&self, units: Vec<Unit>) {
        let over = {
            let mut state = self.lock();
            match &state.over {
                Some(why) => Some((why.clone(), units)),
                None => {
                    for unit in units.into_iter().rev() {
                        state.units.push_front(unit);
                    }
                    None
                }
            }
        };
        match over {
            Some((why, units)) => {
                for unit in units {
                    self.end(unit, Ended::Failed(why.clone()));
                }
            }
            None => self.news.notify_waiters(),
        }
    }

    /// Counts a unit that was taken as several, which are given back instead of it.
    pub(super) fn took_apart(&self, parts: usize) {
        self.lock().unfinished += parts - 1;
    }

    /// Takes units from the beginning: as many as `room`, but no more than a fair share where there are few, nor more than `bytes`
    /// of arguments beside the first for who has none.
    pub(super) fn take(&self, room: usize, bytes: usize, idle: bool, into: &mut Vec<Unit>) -> Standing {
        let mut abandoned = Vec::new();
        let standing = {
            let mut state = self.lock();
            let fair = state.units.len().div_ceil(state.hands.max(1));
            let (most, mut left) = (room.min(fair.max(1)), bytes);
            while into.len() < most {
                let fits = |unit: &mut Unit| unit.calls.len() <= left || (idle && into.is_empty());
                let Some(unit) = state.units.pop_front_if(fits) else { break };
                if unit.sink.is_abandoned() {
                    abandoned.push(unit);
                    continue;
                }
                left = left.saturating_sub(unit.calls.len());
                into.push(unit);
            }
            state.standing()
        };
        for unit in abandoned {
            self.end(unit, Ended::Failed(CallError::Terminated));
        }
        standing
    }

    /// How it stands.
    pub(super) fn standing(&self) -> Standing {
        self.lock().standing()
    }

    /// Tells who waits for it how a unit ended, and counts it.
    pub(super) fn end(&self, unit: Unit, ended: Ended) {
        unit.end(ended);
        let last = {
            let mut state = self.lock();
            state.unfinished -= 1;
            state.unfinished == 0 && state.closed
        };
        if last {
            self.news.notify_waiters();
            self.changed.notify_all();
        }
    }

    /// Completes when there may be something to be taken that was not there when this was enabled.
    pub(super) fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_waiters();
        self.changed.notify_all();
    }

    /// Ends everything that waits to be taken, for this reason. More can be added.
    pub(super) fn give_up(&self, why: &CallError) {
        let units = std::mem::take(&mut self.lock().units);
        for unit in units {
            self.end(unit, Ended::Failed(why.clone()));
        }
    }

    /// Ends everything that waits, for this reason, and takes no more; only the first one counts.
    pub(super) fn stop(&self, why: CallError) {
        let why = {
            let mut state = self.lock();
            state.closed = true;
            state.over.get_or_insert(why).clone()
        };
        self.give_up(&why);
        self.news.notify_waiters();
        self.changed.notify_all();
    }

    /// Why nothing runs any more.
    pub(super) fn over(&self) -> Option<CallError> {
        self.lock().over.clone()
    }

    /// A process has ended, and gets no successor.
    pub(super) fn hand_left(&self) {
        self.lock().hands -= 1;
        self.changed.notify_all();
    }

    /// Waits until all units and all processes have ended; false after this time.
    pub(crate) fn join(&self, within: Option<Duration>) -> bool {
        let deadline = within.and_then(|within| Instant::now().checked_add(within));
        let mut state = self.lock();
        while state.unfinished > 0 || state.hands > 0 {
            state = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }

    /// Whether it was closed, or stopped.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }
}
