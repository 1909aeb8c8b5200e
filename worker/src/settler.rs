//! Settlements leave in batches: whatever has piled up while the last batch was on its way.

use std::{sync::Arc, task::Poll, time::Duration};

use manyhands_broker::{
    Broker, ClaimedTask, End, ErrorKind, Payload, Settled, Settlement,
    crash::{Point, at},
    limits,
};
use tokio::sync::mpsc;

use crate::{Observer, Running, leases::Held, slots::Slot};

/// A task that ran, on its way to the broker.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) task: ClaimedTask,
    pub(crate) end: End,
    pub(crate) held: Held,
    /// Free when the settlement is on its way.
    pub(crate) slot: Slot,
    /// Whether it was a run: of a task that was given back and not begun, who watches has not heard and need not hear.
    pub(crate) ran: bool,
}

/// How long to wait after a failure, at first and at most. A settlement comes so much later than its broker.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The least that one call may carry, however few slots there are.
const CALL: usize = 32;

/// Through which settlements go.
#[derive(Debug)]
pub(crate) struct Settler {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) observer: Arc<dyn Observer>,
    /// How many tasks run at a time.
    pub(crate) slots: usize,
    /// Whether slots are free when the settlements are on their way, or only when they are answered.
    pub(crate) early: bool,
}

/// Settles until the senders are gone. A call carries as many as there are slots at most: what a call costs is much more than what a
/// task in it does.
pub(crate) async fn settle_for_ever(settler: Settler, mut ended: mpsc::UnboundedReceiver<Ended>) {
    let most = settler.slots.clamp(CALL, limits::MAX_BATCH);
    let mut waiting = Vec::new();
    loop {
        // At most one for every slot waits, and one call is under way, so this is bounded.
        if waiting.is_empty() {
            if ended.recv_many(&mut waiting, most).await == 0 {
                return;
            }
            // Whoever can end without waiting for anything ends first, and goes along.
            tokio::task::yield_now().await;
            while waiting.len() < most
                && let Ok(more) = ended.try_recv()
            {
                waiting.push(more);
            }
        }
        let rest = waiting.split_off(call_size(&waiting));
        settle(&settler, std::mem::replace(&mut waiting, rest)).await;
    }
}

/// How many of them go into one call, with their children and results; at least one.
fn call_size(ended: &[Ended]) -> usize {
    let (mut children, mut bytes) = (0, 0);
    let fits = |ended: &&Ended| {
        if let End::Complete { children: more, result } = &ended.end {
            children += more.len();
            bytes += result.as_ref().map_or(0, Payload::len);
            bytes += more.iter().map(|child| child.payload.len()).sum::<usize>();
        }
        children <= limits::MAX_BATCH && bytes <= limits::MAX_BATCH_BYTES
    };
    ended.iter().take_while(fits).count().max(1)
}

/// Settles one batch, for as long as it takes: what cannot be settled keeps its slot and its lease, and a lease
/// that is lost meanwhile leaves the batch.
async fn settle(settler: &Settler, mut batch: Vec<Ended>) {
    let Settler { broker, observer, early, .. } = settler;
    let mut pause = PAUSES.0;
    loop {
        batch.retain(|ended| {
            let lost = ended.held.is_lost();
            if lost {
                let lease = &ended.task.lease;
                tracing::warn!(task = %lease.id, queue = %lease.queue, "the lease was lost before the task was settled");
            }
            !lost
        });
        if batch.is_empty() {
            return;
        }
        let settlements: Vec<_> =
            batch.iter().map(|ended| Settlement::new(ended.held.lease(), ended.end.clone())).collect();
        at(Point::SettlerAsking);
        let mut call = broker.settle(&settlements);
        let answered = match futures_util::poll!(&mut call) {
            Poll::Ready(answered) => answered,
            Poll::Pending => {
                if *early {
                    // The call is made, and what is claimed for these slots comes behind it: a queue in a file settles and
                    // claims in one commit, one behind a network in one round trip. Only one call of settlements is under
                    // way, so a worker holds no more than its slots and that, whatever becomes of it.
                    Slot::make_room(batch.iter_mut().map(|ended| &mut ended.slot));
                }
                call.await
            }
        };
        match answered {
            Ok(answers) => {
                at(Point::SettlerAnswered);
                let told = settlements.iter().zip(answers);
                let (again, mut over): (Vec<_>, Vec<_>) = batch
                    .into_iter()
                    .zip(told)
                    .partition(|(ended, (settlement, _))| !ended.held.conclude(&settlement.lease));
                for (ended, (Settlement { lease, .. }, answer)) in &over {
                    if *answer == Settled::Lost {
                        tracing::warn!(task = %lease.id, queue = %lease.queue, "the settlement was refused: the lease was lost");
                    }
                    if ended.ran {
                        observer.settled(&Running { task: &ended.task }, *answer);
                    }
                }
                at(Point::SettlerTold);
                Slot::make_room(over.iter_mut().map(|(ended, _)| &mut ended.slot));
                if again.is_empty() {
                    return;
                }
                // Handed out again while the call was under way, and adopted.
                batch = again.into_iter().map(|(ended, _)| ended).collect();
            }
            // Only what is wrong with the settlement itself can be mended by another one; all else may pass.
            Err(error) if !matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unsupported) => {
                tracing::warn!(tasks = batch.len(), error = %error.report(), "settlements wait");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
            Err(error) => match batch.as_mut_slice() {
                [ended] => {
                    let lease = &ended.task.lease;
                    tracing::error!(task = %lease.id, queue = %lease.queue, error = %error.report(), "the settlement is impossible");
                    if matches!(ended.end, End::Bury { .. }) {
                        // Not even that: the lease runs out, and the task is run again.
                        return;
                    }
                    ended.end =
                        End::Bury { error: format!("it ran, but could not be settled: {}", error.report()) };
                }
                // One of them is to blame: alone, each gets its own answer.
                _ => {
                    for ended in batch {
                        Box::pin(settle(settler, vec![ended])).await;
                    }
                    return;
                }
            },
        }
    }
}
