//! The memory broker at its worst: it does all that the contract allows, and nothing that it forbids.
//!
//! What runs against it is tested against the contract and not against luck. It is made of calls of the contract: behind a
//! session it claims nothing, or less, gives back, and renews leases for no time at all. So it cannot bring about
//! what no broker could, whatever the machine below it comes to do.
//!
//! What is promised stays promised: first in, first out among tasks that were never claimed; a task that was given back goes
//! before all of those; every call is one step, and so is done wholly or not at all; a refused settlement changes nothing. Who
//! asks again gets what there is: a claim that got too little says by [`next`](crate::ClaimReply::next) that it is worth while.

mod broker;
mod dice;
mod manners;
mod turn;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use self::manners::{Call, Fault, Manners};
use self::{dice::Dice, turn::Turn};
use super::MemoryBroker;
use crate::{Beat, Beaten, Broker, Claim, Lease, QueueName, Result};

/// A session with a memory broker that does what it may, by a seed.
///
/// Its other sessions are as they are: those of a test can look on undisturbed. The same seed makes the same decisions, kind
/// of call by kind of call; which call is the third of its kind is up to the threads that make them. The errors name the
/// seed.
///
/// It claims less than the memory broker in one point: tasks that were given back come in any order, though before all that
/// were never claimed.
///
/// Clones are the same session, so that a test can give it orders while a worker has it; its process dies with the last.
#[derive(Clone, Debug)]
pub struct Adversary(Arc<Session>);

#[derive(Debug)]
struct Session {
    inner: MemoryBroker,
    seed: u64,
    manners: Mutex<Manners>,
    /// One for each kind of call, so that what a beat meets does not depend on how many claims were made before it.
    lanes: [Mutex<Lane>; Call::ALL.len()],
    hints: Mutex<Dice>,
    /// The leases that were handed out and not ended yet, as far as this session knows.
    held: Mutex<Vec<Lease>>,
}

/// What decides about calls of one kind.
#[derive(Debug)]
struct Lane {
    dice: Dice,
    /// What a test ordered for the next calls.
    orders: VecDeque<Fault>,
}

impl Adversary {
    /// Opens a session with the broker of another session.
    #[must_use]
    pub fn session_of(memory: &MemoryBroker, manners: Manners, seed: u64) -> Self {
        let lanes = Call::ALL
            .map(|call| Mutex::new(Lane { dice: Dice::new(seed, call as u64), orders: VecDeque::new() }));
        let hints = Mutex::new(Dice::new(seed, Call::ALL.len() as u64));
        let manners = Mutex::new(manners);
        Self(Arc::new(Session {
            inner: memory.session(),
            seed,
            manners,
            lanes,
            hints,
            held: Mutex::default(),
        }))
    }

    /// The seed, for the message of a test that fails.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Does other things from now on, or the same more often.
    pub fn set_manners(&self, manners: Manners) {
        *lock(&self.0.manners) = manners;
    }

    /// What it does, and how often.
    fn manners(&self) -> Manners {
        *lock(&self.0.manners)
    }

    /// Orders how the next call of a kind fails for which nothing is ordered yet.
    pub fn fail_next(&self, call: Call, fault: Fault) {
        lock(&self.0.lanes[call as usize]).orders.push_back(fault);
    }

    /// Lets all leases of this session run out now, and tells how many there were. Their tasks are ready again, or dead if
    /// they were lost too often; beats and settlements of the old leases are answered `Lost`.
    ///
    /// # Errors
    /// What the memory broker fails with.
    ///
    /// # Cancel safety
    /// Cancel safe, though it may then have done only a part.
    pub async fn forget_leases(&self) -> Result<usize> {
        let leases = std::mem::take(&mut *lock(&self.0.held));
        self.forget(leases).await
    }

    /// Lets leases run out, and tells how many were held.
    async fn forget(&self, leases: Vec<Lease>) -> Result<usize> {
        let mut held = self.still_held(leases).await?;
        let forgotten = held.len();
        // Again if a beat came in between, which renews a lease that is over but was not taken back yet; or if there were more
        // than one claim takes back.
        while !held.is_empty() {
            let queues: BTreeSet<QueueName> = held.iter().map(|lease| lease.queue.clone()).collect();
            for queue in queues {
                self.0.inner.claim(&nothing(&Claim::new(queue, 1))).await?;
            }
            held = self.still_held(held).await?;
        }
        if forgotten > 0 {
            self.0.inner.shared.ring();
        }
        Ok(forgotten)
    }

    /// Renews leases for no time at all: the next claim takes them back. Returns those that were held.
    async fn still_held(&self, leases: Vec<Lease>) -> Result<Vec<Lease>> {
        let answers = self.0.inner.beat(&Beat::all(&leases), Duration::ZERO).await?;
        let held = leases.into_iter().zip(answers).filter(|(_, answer)| *answer != Beaten::Lost);
        Ok(held.map(|(lease, _)| lease).collect())
    }

    /// Lets one lease of this session run out, if the turn says so.
    async fn lose_one(&self, turn: &mut Turn<'_>) -> Result<()> {
        if !turn.loses_a_lease() {
            return Ok(());
        }
        let lost = {
            let mut held = lock(&self.0.held);
            if held.is_empty() {
                return Ok(());
            }
            let index = turn.below(held.len());
            held.swap_remove(index)
        };
        self.forget(vec![lost]).await.map(drop)
    }
}

/// The same claim for no task: what is due becomes ready, what ran out is taken back, and the reply tells how the queue stands.
fn nothing(claim: &Claim) -> Claim {
    Claim { max: 0, ..claim.clone() }.with_idle(false)
}

/// Nothing that is locked here can be left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
