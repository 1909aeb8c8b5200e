//! The leases that this process holds, for those who renew them and those who must stop without them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use manyhands_broker::{Beat, ClaimedTask, Lease, Payload, TaskName};
use slab::Slab;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// All leases of a worker.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: Mutex<Slab<Arc<Hold>>>,
    /// Rung when there is progress to tell.
    news: Notify,
    /// Rung when a lease is held of which some time is over already.
    late: Notify,
}

/// From how old on a lease is late when it is claimed: the answer took its time.
const LATE: Duration = Duration::from_millis(10);

/// One of them. Its run shares it, so that a look at it takes no search: there are several for each task.
#[derive(Debug)]
pub(crate) struct Hold {
    name: TaskName,
    /// When its task was claimed.
    began: Instant,
    /// Stops the handler.
    cancel: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Another one when the run was adopted.
    lease: Lease,
    /// How often the task had failed when it was claimed.
    attempts: u32,
    /// It was settled, so that it is not to be adopted any more.
    over: bool,
    /// When the broker last confirmed it: the beginning of that call, as the lease counts from some time after it.
    renewed: Instant,
    lost: bool,
    /// Whether somebody cancelled the task.
    cancelled: bool,
    /// What the handler said of its progress, until the broker knows it.
    progress: Option<Payload>,
}

/// A lease that is to be confirmed, or whose progress is to be told.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) hold: Arc<Hold>,
    pub(crate) beat: Beat,
}

/// A lease that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    leases: Arc<Leases>,
    place: usize,
    hold: Arc<Hold>,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, Slab<Arc<Hold>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a lease that was claimed by a call that began at `renewed`.
    pub(crate) fn hold(self: &Arc<Self>, task: &ClaimedTask, renewed: Instant) -> Held {
        let (lease, attempts) = (task.lease.clone(), task.attempts);
        let state =
            State { lease, attempts, over: false, renewed, lost: false, cancelled: false, progress: None };
        let (name, cancel) = (task.name.clone(), CancellationToken::new());
        let hold = Arc::new(Hold { name, began: renewed, cancel, state: Mutex::new(state) });
        let place = self.lock().insert(Arc::clone(&hold));
        if renewed.elapsed() >= LATE {
            self.late.notify_one();
        }
        Held { leases: Arc::clone(self), place, hold }
    }

    /// The run of this task that goes on here, if it was claimed again meanwhile.
    pub(crate) fn run_of(&self, task: &ClaimedTask) -> Option<Arc<Hold>> {
        let is_it = |hold: &Hold| {
            let State { lease, attempts, lost, over, .. } = &*hold.lock();
            let same = lease.id == task.lease.id && lease.queue == task.lease.queue;
            same && *attempts == task.attempts && !lost && !over
        };
        self.lock().iter().map(|(_, hold)| hold).find(|hold| is_it(hold)).cloned()
    }

    /// The leases that are to be renewed.
    pub(crate) fn to_renew(&self) -> Vec<Due> {
        self.due(|state| (!state.lost).then_some(None))
    }

    /// What is to be told of progress.
    pub(crate) fn to_tell(&self) -> Vec<Due> {
        self.due(|state| state.progress.clone().filter(|_| !state.lost).map(Some))
    }

    fn due(&self, told: impl Fn(&State) -> Option<Option<Payload>>) -> Vec<Due> {
        let due = |(_, hold): (usize, &Arc<Hold>)| {
            let state = hold.lock();
            let progress = told(&state)?;
            Some(Due { hold: Arc::clone(hold), beat: Beat { lease: state.lease.clone(), progress } })
        };
        self.lock().iter().filter_map(due).collect()
    }

    /// Completes when a handler has said something of its progress, or had before this was called.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Completes when a lease was claimed that may be due before others.
    pub(crate) async fn late(&self) {
        self.late.notified().await;
    }

    /// Gives up what was not confirmed for so long, before the broker may give it to another; returns how many.
    pub(crate) fn lose_unconfirmed(&self, after: Duration) -> usize {
        let late = |hold: &Hold| {
            let state = hold.lock();
            !state.lost && state.renewed.elapsed() >= after
        };
        let held = self.lock();
        held.iter().filter(|(_, hold)| late(hold)).map(|(_, hold)| hold.give_up()).count()
    }

    /// How long ago the lease was confirmed that was not for the longest time.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        let age = |(_, hold): (usize, &Arc<Hold>)| {
            let state = hold.lock();
            (!state.lost).then(|| state.renewed.elapsed())
        };
        self.lock().iter().filter_map(age).max()
    }

    /// What runs: since when, under which lease, and its name.
    pub(crate) fn running(&self) -> Vec<(Instant, Lease, TaskName)> {
        let running = |(_, hold): (usize, &Arc<Hold>)| {
            let state = hold.lock();
            (!state.over).then(|| (hold.began, state.lease.clone(), hold.name.clone()))
        };
        self.lock().iter().filter_map(running).collect()
    }

    /// Stops all handlers, without losing the leases.
    pub(crate) fn cancel_all(&self) {
        self.lock().iter().for_each(|(_, hold)| hold.cancel.cancel());
    }
}

impl Hold {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lease(&self) -> Lease {
        self.lock().lease.clone()
    }

    /// Lets the run go on under another lease of its task in the place of this one, which is over; tells whether it does.
    pub(crate) fn adopt(&self, old: &Lease, lease: Lease, renewed: Instant) -> bool {
        let mut state = self.lock();
        let goes_on = !state.lost && !state.over && state.lease == *old;
        if goes_on {
            (state.lease, state.renewed) = (lease, renewed);
        }
        goes_on
    }

    /// The broker confirmed a beat that was made at this time.
    pub(crate) fn renewed(&self, beat: &Beat, at: Instant) {
        let mut state = self.lock();
        if state.lease != beat.lease {
            return;
        }
        state.renewed = state.renewed.max(at);
        // Unless the handler has said more meanwhile.
        if state.progress == beat.progress {
            state.progress = None;
        }
    }

    /// Somebody cancelled the task: its handler is to stop, and the lease is given back.
    pub(crate) fn cancelled(&self) {
        self.lock().cancelled = true;
        self.cancel.cancel();
    }

    /// The broker gave it to another: whoever runs the task must stop, unless it has another lease by now.
    pub(crate) fn lose(&self, lease: &Lease) {
        if self.lock().lease == *lease {
            self.give_up();
        }
    }

    fn give_up(&self) {
        self.lock().lost = true;
        self.cancel.cancel();
    }
}

/// By which one handler says how far it is.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    leases: Arc<Leases>,
    hold: Arc<Hold>,
}

impl Teller {
    /// Takes the place of what was said before and not told yet.
    pub(crate) fn tell(&self, progress: Payload) {
        self.hold.lock().progress = Some(progress);
        self.leases.news.notify_one();
    }
}

impl Held {
    pub(crate) fn teller(&self) -> Teller {
        Teller { leases: Arc::clone(&self.leases), hold: Arc::clone(&self.hold) }
    }

    /// The lease under which the run is to be settled.
    pub(crate) fn lease(&self) -> Lease {
        self.hold.lease()
    }

    /// Notes that the run was settled under this lease; false if it has another one by now, under which it is to be settled, too.
    pub(crate) fn conclude(&self, lease: &Lease) -> bool {
        let mut state = self.hold.lock();
        state.over = state.lease == *lease;
        state.over
    }

    /// What stops the handler.
    pub(crate) fn cancel(&self) -> &CancellationToken {
        &self.hold.cancel
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.hold.lock().cancelled
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.hold.lock().lost
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.leases.lock().remove(self.place);
    }
}

#[cfg(test)]
mod tests {
    use manyhands_broker::{Incarnation, Payload, QueueName, TaskId};

    use super::*;

    fn claimed(id: &TaskId, epoch: u64, attempts: u32) -> ClaimedTask {
        let queue = QueueName::new("q").unwrap();
        ClaimedTask {
            lease: Lease { queue, id: id.clone(), epoch, incarnation: Incarnation::generate() },
            name: TaskName::new("work").unwrap(),
            payload: Payload::null(),
            attempts,
            max_attempts: 5,
            crashes: 0,
            deaths: 1,
            batch: None,
            result_wanted: false,
            run_limit: None,
            alone: false,
        }
    }

    #[test]
    fn a_run_goes_on_under_another_lease_of_its_task() {
        let leases = Arc::new(Leases::default());
        let id = TaskId::generate();
        let (first, second) = (claimed(&id, 1, 2), claimed(&id, 2, 2));
        let held = leases.hold(&first, Instant::now());
        assert!(leases.run_of(&claimed(&id, 2, 3)).is_none(), "it failed meanwhile: that run is over");
        assert!(leases.run_of(&claimed(&TaskId::generate(), 2, 2)).is_none());
        let run = leases.run_of(&second).unwrap();
        assert!(run.adopt(&first.lease, second.lease.clone(), Instant::now()));
        assert!(!run.adopt(&first.lease, second.lease.clone(), Instant::now()), "once");
        run.lose(&first.lease);
        assert_eq!((held.is_lost(), held.lease()), (false, second.lease.clone()), "the old one is over");
        assert!(!held.conclude(&first.lease), "it is to be settled under the new one");
        assert!(held.conclude(&second.lease));
        assert!(leases.run_of(&claimed(&id, 3, 2)).is_none(), "it was settled");
    }

    #[test]
    fn a_run_that_must_stop_is_not_adopted() {
        let leases = Arc::new(Leases::default());
        let first = claimed(&TaskId::generate(), 1, 0);
        let held = leases.hold(&first, Instant::now());
        let run = leases.run_of(&first).unwrap();
        run.lose(&first.lease);
        assert!(held.is_lost() && held.cancel().is_cancelled());
        assert!(
            leases.run_of(&first).is_none() && !run.adopt(&first.lease, first.lease.clone(), Instant::now())
        );
    }
}
