//! What is decided about one task when its lease begins and ends: who is to blame, and where it goes next.

use std::time::Duration;

use crate::{
    End,
    clock::{Now, millis},
    limits,
    sabotage::{Defect, planted},
};

/// What happened to one task so far.
///
/// Invariants: `epoch` never falls. `alone` is set only while the task is leased. `crashes` grows only
/// when a process died while this task was all that it ran. While the task is scheduled, `deaths` is 0, or at least 2 after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Counts the claims; the fence.
    pub epoch: u64,
    /// Counts the failures of the handler.
    pub attempts: u32,
    /// How many failures make it dead.
    pub max_attempts: u32,
    /// Counts the processes that died while they ran this task and no other.
    pub crashes: u32,
    /// How many crashes make it dead.
    pub max_crashes: u32,
    /// Counts the processes that died in a row while they held it, or of it; one that died of it counts as two if it is the first. Any other
    /// end of a lease sets it to 0, but for a release, which tells nothing about the task.
    pub deaths: u32,
    /// Whether the present lease is one to run alone.
    pub alone: bool,
    /// Counts how often it was parked in a row.
    pub parks: u32,
    /// When it was first parked, in wall-clock milliseconds; 0 while it is not.
    pub parked_since: u64,
    /// What went wrong last.
    pub error: Option<String>,
    /// What went wrong so far, each with its wall-clock millisecond, the oldest first: cut, and only the last
    /// [`limits::MAX_HISTORY`].
    pub history: Vec<(u64, String)>,
    /// Whether somebody cancelled it while it was leased: no end of the lease makes it ready again.
    pub cancelled: bool,
}

/// Where a task goes when its lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is settled and gone.
    Done,
    /// It is ready again under the sequence that it had.
    Ready,
    /// It becomes ready at this wall-clock millisecond: under a new sequence, unless it must run alone.
    Scheduled(u64),
    /// It was cancelled and is gone.
    Cancelled,
    /// It is given up and kept for somebody to look at.
    Dead,
}

/// Epochs of one generation lie between `generation × 2^20` and the next: exact in JSON, and more than one
/// process can claim in the second that a generation lasts at least.
const EPOCHS: u64 = 1 << 20;

/// Why a task is parked, and dead of it in the end.
const NO_HANDLER: &str = "no handler";

/// What the history says of a lease that its holder did not end.
const LOST: &str = "the process that held it died, or its lease ran out";

impl Progress {
    /// The progress of a task that nobody claimed yet.
    #[must_use]
    pub fn new(max_attempts: u32, max_crashes: u32) -> Self {
        Self {
            epoch: 0,
            attempts: 0,
            max_attempts,
            crashes: 0,
            max_crashes,
            deaths: 0,
            alone: false,
            parks: 0,
            parked_since: 0,
            error: None,
            history: Vec::new(),
            cancelled: false,
        }
    }

    /// Whether the task may be claimed only to run alone in its process.
    ///
    /// Not at the first death: then it is run again at once, beside others, as most processes die for
    /// reasons of their own (a deploy, the kernel, an operator) and a whole worker's tasks run one by one
    /// would be the dearer mistake. At the second in a row it is a suspect; only a crash while alone is charged. One that was charged
    /// because its holder outlived it leaves a suspect at once.
    #[must_use]
    pub fn must_run_alone(&self) -> bool {
        self.deaths >= 2
    }

    /// The claim: gives the task the next epoch, which a later generation raises above all that came before.
    pub fn claim(&mut self, generation: u64) {
        self.epoch = (self.epoch + 1).max(generation.saturating_mul(EPOCHS));
        self.alone = self.must_run_alone();
    }

    /// The process that held it died, or its lease ran out.
    #[must_use]
    pub fn expire(&mut self, now: Now) -> Fate {
        self.note(LOST, now);
        self.deaths = self.deaths.saturating_add(1);
        if std::mem::take(&mut self.alone) || planted(Defect::EveryoneIsBlamed) {
            self.crashes = self.crashes.saturating_add(1);
        }
        if self.crashes < self.max_crashes {
            return self.unless_cancelled(Fate::Ready);
        }
        self.error = Some(format!(
            "{} processes died in a row while they held it, {} of them while they ran nothing else",
            self.deaths, self.crashes
        ));
        Fate::Dead
    }

    /// Nobody claimed it in its time.
    #[must_use]
    pub fn lapse(&mut self, now: Now) -> Fate {
        self.fail("not claimed before it expired", now);
        Fate::Dead
    }

    /// Its holder settled it.
    #[must_use]
    pub fn settle(&mut self, end: &End, now: Now) -> Fate {
        self.alone = false;
        if matches!(end, End::Release) {
            return self.unless_cancelled(Fate::Ready);
        }
        if !matches!(end, End::Crash { .. }) {
            self.deaths = 0;
        }
        if let End::Park = end {
            let fate = self.park(now);
            return self.unless_cancelled(fate);
        }
        (self.parks, self.parked_since) = (0, 0);
        match end {
            End::Crash { error, delay } => self.crash(error, *delay, now),
            End::Retry { error, delay } => {
                self.attempts = self.attempts.saturating_add(1);
                self.fail(error, now);
                if self.attempts >= self.max_attempts { Fate::Dead } else { self.put_off(*delay, now) }
            }
            End::Bury { error } => {
                self.fail(error, now);
                Fate::Dead
            }
            End::Complete { .. } | End::Release | End::Park => Fate::Done,
        }
    }

    /// The process that ran it and no other died of it.
    fn crash(&mut self, error: &str, delay: Duration, now: Now) -> Fate {
        self.crashes = self.crashes.saturating_add(1);
        self.deaths = self.deaths.saturating_add(1).max(2);
        self.fail(error, now);
        if planted(Defect::CrashIsAnAttempt) {
            self.attempts = self.attempts.saturating_add(1);
        }
        if self.crashes < self.max_crashes {
            return self.put_off(delay, now);
        }
        let error = format!("crash {} of {}: {error}", self.crashes, self.max_crashes);
        self.error = Some(cut(&error, limits::MAX_ERROR));
        Fate::Dead
    }

    fn put_off(&self, delay: Duration, now: Now) -> Fate {
        self.unless_cancelled(Fate::Scheduled(now.wall.saturating_add(millis(delay))))
    }

    /// Takes down what went wrong last.
    fn fail(&mut self, error: &str, now: Now) {
        self.error = Some(cut(error, limits::MAX_ERROR));
        self.note(error, now);
    }

    /// Takes down in the history what went wrong.
    fn note(&mut self, error: &str, now: Now) {
        let too_many = (self.history.len() + 1).saturating_sub(limits::MAX_HISTORY);
        self.history.drain(..too_many);
        self.history.push((now.wall, cut(error, limits::MAX_HISTORY_ERROR)));
    }

    /// What would come back does not, if somebody cancelled it.
    fn unless_cancelled(&self, fate: Fate) -> Fate {
        match fate {
            Fate::Ready | Fate::Scheduled(_) if self.cancelled && !planted(Defect::CancelledComesBack) => {
                Fate::Cancelled
            }
            fate => fate,
        }
    }

    fn park(&mut self, now: Now) -> Fate {
        if self.parks == 0 {
            self.parked_since = now.wall;
        }
        self.error = Some(NO_HANDLER.to_owned());
        if now.wall.saturating_sub(self.parked_since) >= millis(limits::MAX_PARKED) {
            self.note(NO_HANDLER, now);
            return Fate::Dead;
        }
        let delay = park_delay(self.parks);
        self.parks = self.parks.saturating_add(1);
        Fate::Scheduled(now.wall.saturating_add(millis(delay)))
    }
}

/// How long a task is put off when it is parked after `parks` times before: 1 s, doubling to 60 s.
#[must_use]
pub fn park_delay(parks: u32) -> Duration {
    Duration::from_secs((1_u64 << parks.min(6)).min(60))
}

/// Keeps errors bounded, whole characters only.
fn cut(error: &str, most: usize) -> String {
    error[..error.floor_char_boundary(most)].to_owned()
}
