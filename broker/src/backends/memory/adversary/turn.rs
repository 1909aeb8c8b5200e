//! What one call meets.

use std::time::Duration;

use super::{Adversary, Call, Fault, Manners, lock};
use crate::{Error, ErrorKind, Result};

/// The fate of one call, decided as it goes on.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    adversary: &'a Adversary,
    call: Call,
    pub(super) fault: Option<Fault>,
    /// Before it is done, and between that and the answer.
    pauses: (Duration, Duration),
}

impl Adversary {
    /// Decides how a call goes.
    pub(super) fn turn(&self, call: Call) -> Turn<'_> {
        let Manners { refused, unanswered, delayed, delay, .. } = self.manners();
        let mut lane = lock(&self.0.lanes[call as usize]);
        // Rolled also where it is ordered, so that orders do not move what comes after them.
        let rolled = match (lane.dice.happens(refused), lane.dice.happens(unanswered)) {
            (true, _) => Some(Fault::Refused),
            (_, true) => Some(Fault::Unanswered),
            _ => None,
        };
        let fault = lane.orders.pop_front().or(rolled);
        let mut pauses = (Duration::ZERO, Duration::ZERO);
        if lane.dice.happens(delayed) {
            let micros = lane.dice.below(usize::try_from(delay.as_micros()).unwrap_or(usize::MAX));
            let pause = Duration::from_micros(micros as u64);
            if lane.dice.happens(500) {
                pauses.0 = pause;
            } else {
                pauses.1 = pause;
            }
        }
        Turn { adversary: self, call, fault, pauses }
    }
}

impl Turn<'_> {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        lock(&self.adversary.0.lanes[self.call as usize]).dice.below(bound)
    }

    fn happens(&mut self, often: impl Fn(&Manners) -> u32) -> bool {
        let thousandths = often(&self.adversary.manners());
        lock(&self.adversary.0.lanes[self.call as usize]).dice.happens(thousandths)
    }

    pub(super) fn shuffle<T>(&mut self, things: &mut [T]) {
        lock(&self.adversary.0.lanes[self.call as usize]).dice.shuffle(things);
    }

    pub(super) fn loses_a_lease(&mut self) -> bool {
        self.happens(|manners| manners.lost_leases)
    }

    pub(super) fn gets_nothing(&mut self) -> bool {
        self.happens(|manners| manners.nothing)
    }

    pub(super) fn gets_fewer(&mut self) -> bool {
        self.happens(|manners| manners.fewer)
    }

    pub(super) fn is_reordered(&mut self) -> bool {
        self.happens(|manners| manners.reordered)
    }

    /// What comes before the call is done.
    pub(super) async fn begin(&self) -> Result<()> {
        pause(self.pauses.0).await;
        match self.fault {
            Some(Fault::Refused) => Err(self.error("did not let this call through: nothing was done")),
            _ => Ok(()),
        }
    }

    /// What comes after it was done.
    pub(super) async fn end(&self) -> Result<()> {
        pause(self.pauses.1).await;
        match self.fault {
            Some(Fault::Unanswered) => Err(self.error("keeps the answer to itself: this call was done")),
            _ => Ok(()),
        }
    }

    fn error(&self, what: &str) -> Error {
        let message = format!("{}: the adversary of seed {} {what}", self.call.name(), self.adversary.0.seed);
        Error::new(ErrorKind::Unavailable, self.call.name(), message).advise("repeat the call")
    }
}

/// Waits for a while; not even for a turn of the runtime if there is no while.
async fn pause(time: Duration) {
    if time > Duration::ZERO {
        tokio::time::sleep(time).await;
    }
}
