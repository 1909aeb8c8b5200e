//! Worker processes are replaced one after another: a new one is started, and when it is ready, an old one drains; then the next.

use super::fleet::Number;

/// How far that is.
#[derive(Debug)]
pub(super) struct Replacement {
    /// Those that are still to be replaced, the first of them last.
    old: Vec<Number>,
    /// The new one that is not ready yet.
    newcomer: Option<Number>,
    /// The old one that drains.
    leaving: Option<Number>,
    replaced: usize,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Something must happen first.
    Wait,
    /// A new one is to be started.
    Start,
    /// The new one is ready: this old one is to drain.
    Drain(Number),
    /// So many were replaced, and that is all.
    Done(usize),
}

impl Replacement {
    /// These are to be replaced.
    pub(super) fn of(mut old: Vec<Number>) -> Self {
        old.reverse();
        Self { old, newcomer: None, leaving: None, replaced: 0 }
    }

    /// The new one that is not ready yet.
    pub(super) fn newcomer(&self) -> Option<Number> {
        self.newcomer
    }

    /// A new one was started.
    pub(super) fn started(&mut self, number: Number) {
        self.newcomer = Some(number);
    }

    /// What is to be done next, as the worker processes are.
    pub(super) fn next(
        &mut self,
        stays: impl Fn(Number) -> bool,
        lives: impl Fn(Number) -> bool,
        ready: impl Fn(Number) -> bool,
    ) -> Next {
        // Who fell, or was told to end for another reason, is replaced by that.
        self.old.retain(|number| stays(*number));
        self.leaving = self.leaving.filter(|number| lives(*number));
        if self.leaving.is_some() {
            return Next::Wait;
        }
        match (self.newcomer, self.old.last().copied()) {
            (Some(newcomer), _) if !ready(newcomer) => Next::Wait,
            (Some(_), Some(old)) => {
                self.newcomer = None;
                self.old.pop();
                self.leaving = Some(old);
                self.replaced += 1;
                Next::Drain(old)
            }
            (None, Some(_)) => Next::Start,
            (_, None) => Next::Done(self.replaced),
        }
    }
}
