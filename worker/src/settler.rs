//! Settlements leave in batches: whatever has piled up while the last batch was on its way.

use std::{sync::Arc, time::Duration};

use manyhands_broker::{
    Broker, ClaimedTask, End, ErrorKind, Payload, Settled, Settlement,
    crash::{Point, at},
    limits,
};
use tokio::sync::mpsc;

use crate::{Observer, Running, leases::Held, slots::Slot};

/// A task that ran, on its way to the broker. Its slot is free when the answer is there.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) task: ClaimedTask,
    pub(crate) end: End,
    pub(crate) held: Held,
    /// Free when this is dropped.
    pub(crate) slot: Slot,
}

/// How long to wait after a failure, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Settles until the senders are gone.
pub(crate) async fn settle_for_ever(
    broker: Arc<dyn Broker>,
    observer: Arc<dyn Observer>,
    mut ended: mpsc::UnboundedReceiver<Ended>,
) {
    let mut waiting = Vec::new();
    loop {
        // At most one for every slot is under way, so this is bounded.
        if waiting.is_empty() && ended.recv_many(&mut waiting, limits::MAX_BATCH).await == 0 {
            return;
        }
        let rest = waiting.split_off(call_size(&waiting));
        settle(&*broker, &*observer, std::mem::replace(&mut waiting, rest)).await;
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
async fn settle(broker: &dyn Broker, observer: &dyn Observer, mut batch: Vec<Ended>) {
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
            batch.iter().map(|ended| Settlement::new(ended.task.lease.clone(), ended.end.clone())).collect();
        at(Point::SettlerAsking);
        match broker.settle(&settlements).await {
            Ok(answers) => {
                at(Point::SettlerAnswered);
                for (ended, answer) in batch.iter().zip(answers) {
                    if answer == Settled::Lost {
                        let lease = &ended.task.lease;
                        tracing::warn!(task = %lease.id, queue = %lease.queue, "the settlement was refused: the lease was lost");
                    }
                    observer.settled(&Running { task: &ended.task }, answer);
                }
                at(Point::SettlerTold);
                // All at once: whoever claims for free slots then claims for all of them, and not for the first alone.
                Slot::free_all(batch.into_iter().map(|ended| ended.slot).collect());
                return;
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
                        Box::pin(settle(broker, observer, vec![ended])).await;
                    }
                    return;
                }
            },
        }
    }
}
