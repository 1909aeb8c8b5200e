//! Settlements: what follows is stored first, then the delivery is acknowledged.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    arrival::Place,
    link::Link,
    live::Live,
    message::Stored,
    publish::{self, Outgoing, Published, To},
};
use crate::{
    Beaten, End, Interest, Lease, Result, Settled, Settlement,
    clock::millis,
    crash::{Point, at},
    machine::Fate,
    sabotage::{Defect, planted},
};

/// One settlement that is held here.
struct Step<'a> {
    index: usize,
    lease: &'a Lease,
    place: Place,
    /// The task as its end leaves it.
    stored: Stored,
    fate: Fate,
}

pub(super) async fn beat(link: Arc<Link>, leases: Vec<Lease>, lease: Duration) -> Result<Vec<Beaten>> {
    let live = link.live("beat").await?;
    // A lease is worth what its channel is worth: only an answer renews it.
    live.pass("beat", &live.lanes.all()).await?;
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
    live.check_children(&link, &settlements).await?;
    let mut answers = vec![Settled::Lost; settlements.len()];
    let steps = live.begin(&link, &settlements);
    let lanes = live.lanes.of_each(steps.iter().map(|step| step.place));
    let acknowledged =
        || -> Vec<Place> { steps.iter().filter(|step| !step.is_returned()).map(|step| step.place).collect() };
    if planted(Defect::AcknowledgedBeforeConfirm) {
        live.ack("settle", &acknowledged()).await?;
    }
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
    if steps.is_empty() {
        return Ok(answers);
    }
    at(Point::RabbitMqEndsStored);
    if !planted(Defect::AcknowledgedBeforeConfirm) {
        live.ack("settle", &acknowledged()).await?;
    }
    for step in steps.iter().filter(|step| step.is_returned()) {
        live.hand_back(&step.lease.queue, step.place).await?;
    }
    at(Point::RabbitMqEndsAcknowledged);
    let (mut settled, mut dead) = (BTreeSet::new(), BTreeSet::new());
    {
        let mut intake = live.intake();
        for Step { index, lease, fate, .. } in &steps {
            intake.release(lease);
            answers[*index] = Settled::Settled;
            settled.insert(&lease.queue);
            if *fate == Fate::Dead {
                dead.insert(&lease.queue);
            }
        }
    }
    // An acknowledgement is not answered; this is, behind it on the same channel. Who is told `Settled` can rely on it.
    live.pass("settle", &lanes).await?;
    at(Point::RabbitMqEndsTaken);
    for queue in dead {
        live.trim("settle", queue).await;
    }
    for queue in settled {
        live.tell_later(Interest::Settled, queue);
    }
    for step in &steps {
        match (&settlements[step.index].end, step.fate) {
            (_, Fate::Ready) => live.tell_later(Interest::Ready, &step.lease.queue),
            (End::Complete { children, .. }, Fate::Done) => {
                children.iter().for_each(|child| live.tell_later(Interest::Ready, &child.queue));
            }
            _ => {}
        }
    }
    Ok(answers)
}

impl Step<'_> {
    /// Whether the server is to hand the delivery out again. A first release is such a return; the server counts it. A later one is a
    /// copy, so that no task looks like a killer because it was released often.
    fn is_returned(&self) -> bool {
        self.fate == Fate::Ready && self.stored.progress.deaths == 0
    }
}

impl Live {
    /// Refuses children that do not fit their queues.
    async fn check_children(self: &Arc<Self>, link: &Link, settlements: &[Settlement]) -> Result<()> {
        let children = || {
            settlements.iter().flat_map(|settlement| match &settlement.end {
                End::Complete { children, .. } => children.as_slice(),
                _ => &[],
            })
        };
        if children().any(|child| child.priority.is_some()) {
            // Their queues may have been configured elsewhere.
            self.sync("settle").await?;
        }
        self.check_fit("settle", children())?;
        self.check_run_limits(link, "settle", children()).await
    }

    /// Finds what is held here, and decides what becomes of it.
    fn begin<'a>(&self, link: &Link, settlements: &'a [Settlement]) -> Vec<Step<'a>> {
        let now = link.config.clock.now();
        let mut intake = self.intake();
        let mut steps = Vec::new();
        for (index, Settlement { lease, end }) in settlements.iter().enumerate() {
            let Some(held) = intake.held(lease).filter(|held| !held.settling) else { continue };
            held.settling = true;
            let mut stored = (*held.stored).clone();
            let fate = stored.progress.settle(end, now);
            steps.push(Step { index, lease, place: held.place, stored, fate });
        }
        steps
    }

    /// Stores everything that follows from the settlements, and waits until it is there.
    async fn store(
        self: &Arc<Self>,
        link: &Link,
        settlements: &[Settlement],
        steps: &[Step<'_>],
    ) -> Result<()> {
        let mut whose = Vec::new();
        let mut messages = Vec::new();
        for step in steps {
            let follows = self.follows(link, &settlements[step.index].end, step).await?;
            if follows.is_empty() {
                continue;
            }
            let end = &settlements[step.index].end;
            let stored =
                self.intake().held(step.lease).map(|held| held.published_for(end)).unwrap_or_default();
            for (number, message) in follows.into_iter().enumerate() {
                // Stored by a call that failed for another one's sake.
                if !stored.contains(&number) {
                    whose.push((step, number));
                    messages.push(message);
                }
            }
        }
        let Published { fates, error } = self.publish_each("settle", messages).await?;
        let Some(error) = error else { return Ok(()) };
        let mut intake = self.intake();
        for ((step, number), fate) in whose.into_iter().zip(fates) {
            if let Some(held) = intake.held(step.lease).filter(|_| fate == publish::Fate::Stored) {
                held.publish(&settlements[step.index].end, number);
            }
        }
        Err(error)
    }

    /// What is to be stored before a delivery is acknowledged.
    async fn follows(self: &Arc<Self>, link: &Link, end: &End, step: &Step<'_>) -> Result<Vec<Outgoing>> {
        let Step { lease, stored, fate, .. } = step;
        let queue = &lease.queue;
        let copy = |to| vec![stored.copy_for(to)];
        let class = || self.class(queue, stored.priority);
        match fate {
            Fate::Done => {
                let End::Complete { children, result } = end else { return Ok(Vec::new()) };
                let mut messages = Vec::with_capacity(children.len() + 1);
                for child in children {
                    self.use_queue("settle", &child.queue).await?;
                    let way_in = self.way_in(link, "settle", child).await?;
                    messages.push(self.sent(link, child, false).copy_for(way_in));
                }
                messages.extend(self.reply_done(queue, stored, result.as_ref()));
                Ok(messages)
            }
            // Nothing can be cancelled here; who says so is done.
            Fate::Cancelled => Ok(Vec::new()),
            Fate::Ready if step.is_returned() => Ok(Vec::new()),
            Fate::Ready => Ok(copy(To::queue(self.names.work(queue, class())))),
            Fate::Scheduled(due) => {
                let delay = Duration::from_millis(due.saturating_sub(link.config.clock.now().wall));
                let to = self.put_off("settle", queue, class(), &stored.id, delay).await?;
                Ok(copy(to))
            }
            Fate::Dead => {
                let dead = stored.copy_for_dead(To::queue(self.names.dead(queue)), link.obituary());
                Ok([dead].into_iter().chain(self.reply_dead(queue, stored)).collect())
            }
        }
    }
}
