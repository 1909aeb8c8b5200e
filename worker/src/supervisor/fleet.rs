//! Which worker processes there are to be: what is decided about them, without doing any of it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{replacement::Replacement, restarts::Restarts};

/// Names a worker process for as long as its supervisor lives; pids come again.
pub(super) type Number = u64;

/// The worker processes that live, and those that there are to be.
#[derive(Debug)]
pub(super) struct Fleet {
    members: BTreeMap<Number, Member>,
    next: Number,
    wanted: usize,
    restarts: Restarts,
    replacement: Option<Replacement>,
    /// All are to be replaced, when that can begin.
    replace: bool,
    /// Whether any was ever ready.
    begun: bool,
}

/// One that lives.
#[derive(Clone, Copy, Debug)]
struct Member {
    began: Instant,
    ready: bool,
    /// It was told to end.
    asked: bool,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Another one is to be started, under this number; a newcomer takes the place of one that still runs.
    Start { number: Number, newcomer: bool },
    /// This one is to be told to drain.
    Drain(Number),
    /// So many were replaced, and that is all.
    Replaced(usize),
    /// Nothing, before something happens or this time comes.
    Rest(Option<Instant>),
}

/// What the end of a worker process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was told to.
    Asked,
    /// Its queues ended, and it was told to end with them.
    Over,
    /// It was to take the place of another, which goes on, and so do those that would have been next.
    NotReady,
    /// Nobody asked for it: another one takes its place after this pause. `begun` tells whether any worker process was ever ready.
    Fell { pause: Duration, begun: bool },
}

impl Fleet {
    /// There are none yet, and so many are wanted.
    pub(super) fn new(wanted: usize) -> Self {
        Self {
            members: BTreeMap::new(),
            next: 0,
            wanted,
            restarts: Restarts::default(),
            replacement: None,
            replace: false,
            begun: false,
        }
    }

    /// Changes how many are wanted.
    pub(super) fn want(&mut self, wanted: usize) {
        self.wanted = wanted;
    }

    /// How many are wanted.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// How many are ready and were not told to end.
    pub(super) fn ready_ones(&self) -> usize {
        self.members.values().filter(|member| member.ready && !member.asked).count()
    }

    /// Orders that every one is replaced, or that this is done once more if it is under way.
    pub(super) fn replace(&mut self) {
        self.replace = true;
        // Whatever made some fall may be what has just been mended.
        self.restarts.forget();
    }

    /// Notes that one is ready; tells whether it is the first of all.
    pub(super) fn is_ready(&mut self, number: Number) -> bool {
        if let Some(member) = self.members.get_mut(&number) {
            member.ready = true;
        }
        !std::mem::replace(&mut self.begun, true)
    }

    /// Notes that one ended, or could not be started; `over` if that is as it should be.
    pub(super) fn ended(&mut self, number: Number, over: bool, now: Instant) -> End {
        let Some(member) = self.members.remove(&number) else { return End::Asked };
        if member.asked {
            return End::Asked;
        }
        if over {
            self.wanted = self.wanted.saturating_sub(1);
            return End::Over;
        }
        if self.replacement.as_ref().is_some_and(|replacement| replacement.newcomer() == Some(number)) {
            self.replacement = None;
            return End::NotReady;
        }
        End::Fell { pause: self.restarts.fell(member.began, now), begun: self.begun }
    }

    /// What is to be done now. To be called until there is nothing.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        if let Some(step) = self.replacing(now) {
            return step;
        }
        let newcomer = self.newcomer();
        let target = self.wanted + usize::from(newcomer.is_some());
        let staying = self.staying().count();
        if staying > target {
            // The latest first, as those that are not ready are among them; not the newcomer, who is another's replacement.
            let latest = self.staying().filter(|number| Some(*number) != newcomer).max();
            return latest.map_or(Step::Rest(None), |number| self.drain(number));
        }
        if staying == target {
            return Step::Rest(None);
        }
        let until = self.restarts.until();
        if self.begun && until.is_none() {
            return self.start(false, now);
        }
        // One shows what becomes of all.
        if self.members.values().any(|member| !member.ready && !member.asked) {
            return Step::Rest(None);
        }
        match until.filter(|until| *until > now) {
            Some(until) => Step::Rest(Some(until)),
            None => self.start(false, now),
        }
    }

    /// What is to be done next to replace all, if they are to be replaced.
    fn replacing(&mut self, now: Instant) -> Option<Step> {
        if self.replacement.is_none() {
            if !self.replace || !self.begun {
                return None;
            }
            self.replace = false;
            self.replacement = Some(Replacement::of(self.staying().collect()));
        }
        let members = &self.members;
        let stays = |number| members.get(&number).is_some_and(|member| !member.asked);
        let lives = |number| members.contains_key(&number);
        let ready = |number| members.get(&number).is_some_and(|member| member.ready);
        use super::replacement::Next;
        match self.replacement.as_mut()?.next(stays, lives, ready) {
            Next::Wait => None,
            Next::Start => Some(self.start(true, now)),
            Next::Drain(old) => Some(self.drain(old)),
            Next::Done(count) => {
                self.replacement = None;
                Some(Step::Replaced(count))
            }
        }
    }

    fn newcomer(&self) -> Option<Number> {
        self.replacement.as_ref().and_then(Replacement::newcomer)
    }

    /// Those that were not told to end.
    fn staying(&self) -> impl Iterator<Item = Number> {
        self.members.iter().filter(|(_, member)| !member.asked).map(|(number, _)| *number)
    }

    fn start(&mut self, newcomer: bool, now: Instant) -> Step {
        let number = self.next;
        self.next += 1;
        self.members.insert(number, Member { began: now, ready: false, asked: false });
        if let Some(replacement) = self.replacement.as_mut().filter(|_| newcomer) {
            replacement.started(number);
        }
        Step::Start { number, newcomer }
    }

    fn drain(&mut self, number: Number) -> Step {
        if let Some(member) = self.members.get_mut(&number) {
            member.asked = true;
        }
        Step::Drain(number)
    }
}

#[cfg(test)]
mod tests;
