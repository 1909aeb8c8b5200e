//! Settlements: what follows is stored first, then the delivery is acknowledged.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    link::Link,
    live::{Live, Outgoing},
    message::Stored,
};
use crate::{Beaten, End, Lease, Result, Settled, Settlement, clock::millis, machine::Fate};

/// How long the server may take to hand over what has waited, until nobody answers for it any more.
const HANDOVER: Duration = Duration::from_secs(1);

/// One settlement that is held here.
struct Step<'a> {
    index: usize,
    lease: &'a Lease,
    tag: u64,
    /// The task as its end leaves it.
    stored: Stored,
    fate: Fate,
}

pub(super) async fn beat(link: Arc<Link>, leases: Vec<Lease>, lease: Duration) -> Result<Vec<Beaten>> {
    let live = link.live("beat").await?;
    // A lease is worth what the connection is worth: only an answer renews it.
    live.barrier("beat", &live.inbox).await?;
    let until = link.config.clock.now().steady.saturating_add(millis(lease));
    let mut intake = live.intake();
    let renew = |lease: &Lease| match intake.held(lease) {
        Some(held) => {
            held.until = until;
            Beaten::Kept
        }
        None => Beaten::Lost,
    };
    Ok(leases.iter().map(renew).collect())
}

pub(super) async fn settle(link: Arc<Link>, settlements: Vec<Settlement>) -> Result<Vec<Settled>> {
    let live = link.live("settle").await?;
    let mut answers = vec![Settled::Lost; settlements.len()];
    let steps = live.begin(&link, &settlements);
    let stored = live.store(&link, &settlements, &steps).await;
    if stored.is_err() {
        // They are held still, for whoever tries again; if the connections are lost, so are they.
        let mut intake = live.intake();
        for step in &steps {
            if let Some(held) = intake.held(step.lease) {
                held.settling = false;
            }
        }
    }
    stored?;
    let mut touched = HashSet::new();
    for Step { index, lease, tag, stored, fate } in steps {
        live.intake().release(lease);
        if fate == Fate::Ready && stored.progress.deaths == 0 {
            live.hand_back(tag).await?;
        } else {
            live.ack("settle", tag).await?;
        }
        if fate == Fate::Dead {
            touched.insert(&lease.queue);
        }
        answers[index] = Settled::Settled;
    }
    for queue in touched {
        live.trim("settle", queue).await?;
    }
    live.tell_changed("settle").await;
    Ok(answers)
}

impl Live {
    /// Finds what is held here, and decides what becomes of it.
    fn begin<'a>(&self, link: &Link, settlements: &'a [Settlement]) -> Vec<Step<'a>> {
        let now = link.config.clock.now();
        let mut intake = self.intake();
        let mut steps = Vec::new();
        for (index, Settlement { lease, end }) in settlements.iter().enumerate() {
            let Some(held) = intake.held(lease).filter(|held| !held.settling) else { continue };
            held.settling = true;
            let mut stored = held.stored.clone();
            let fate = stored.progress.settle(end, now);
            steps.push(Step { index, lease, tag: held.tag, stored, fate });
        }
        steps
    }

    /// Stores everything that follows from the settlements, and waits until it is there.
    async fn store(&self, link: &Link, settlements: &[Settlement], steps: &[Step<'_>]) -> Result<()> {
        let mut messages: Vec<Outgoing> = Vec::new();
        let mut put_off = Vec::new();
        for Step { index, lease, stored, fate, .. } in steps {
            let queue = &lease.queue;
            let body = || stored.payload.as_str().as_bytes().to_vec();
            match fate {
                Fate::Done => {
                    let End::Complete { children } = &settlements[*index].end else { continue };
                    for child in children {
                        self.use_queue("settle", &child.queue).await?;
                        let copy = Stored::new(child, false);
                        let body = child.payload.as_str().as_bytes().to_vec();
                        messages.push((self.names.work(&child.queue), body, copy.properties()));
                    }
                }
                // A first release is a delivery that is handed back; the server counts it. A later one is a copy, so that
                // no task looks like a killer because it was released often.
                Fate::Ready if stored.progress.deaths > 0 => {
                    messages.push((self.names.work(queue), body(), stored.properties()));
                }
                Fate::Ready => {}
                Fate::Scheduled(due) => {
                    let delay = due.saturating_sub(link.config.clock.now().wall);
                    let to = match level(Duration::from_millis(delay)) {
                        None => self.names.work(queue),
                        Some(level) => {
                            put_off.push((queue, &stored.id, level));
                            self.ensure_waiting("settle", queue, level).await?
                        }
                    };
                    messages.push((to, body(), stored.properties()));
                }
                Fate::Dead => messages.push((self.names.dead(queue), body(), stored.properties())),
            }
        }
        // Before it is published: who asks at any moment must hear of it.
        for (queue, id, level) in put_off {
            self.intake().put_off(
                queue,
                id.clone(),
                Instant::now() + Duration::from_secs(1 << level) + HANDOVER,
            );
        }
        self.publish("settle", messages).await
    }
}

/// The shortest of the waiting lines that is not too short; none for what need not wait.
fn level(delay: Duration) -> Option<u32> {
    let seconds = delay.as_millis().div_ceil(1000);
    (seconds > 0).then(|| u64::try_from(seconds).unwrap_or(u64::MAX >> 1).next_power_of_two().ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn nobody_waits_too_short_or_more_than_twice_as_long() {
        let of = |ms| level(Duration::from_millis(ms));
        assert_eq!(
            [of(0), of(1), of(1000), of(1001), of(2000), of(2001), of(5000)],
            [None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(3)]
        );
        assert_eq!(level(limits::MAX_DOUBLING_DELAY), Some(20));
    }
}
