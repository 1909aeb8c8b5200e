//! Claims: what is delivered is handed out, and goes back where nobody takes it.

use std::{sync::Arc, time::Duration};

use super::{
    arrival::{Arrival, Foreign},
    ask::Holdings,
    class::Class,
    intake::Taken,
    link::Link,
    live::Live,
    message,
    publish::{Outgoing, To},
};
use crate::{Claim, ClaimReply, End, ErrorKind, QueueName, Result, TaskId};

/// How long a task is put off that only a newer version can read.
const UNREADABLE: Duration = Duration::from_secs(32);

pub(super) async fn claim(link: Arc<Link>, claim: Claim) -> Result<ClaimReply> {
    let live = link.live("claim").await?;
    live.readable("claim")?;
    let queue = &claim.queue;
    if live.entry(queue).is_none() {
        live.sync("claim").await?;
        if live.entry(queue).is_none() {
            return Ok(ClaimReply::default());
        }
    }
    for fed in claim.feeds.iter().filter(|fed| *fed != queue) {
        if live.is_full("claim", fed, 0).await? {
            return Ok(ClaimReply { held_by: Some(fed.clone()), ..ClaimReply::default() });
        }
    }
    let taken = {
        // One at a time: two claims would ask for the same tasks twice.
        let _alone = live.claiming.lock().await;
        let taken = live.fill_claim(&link, &claim).await;
        if taken.is_err() {
            // What was taken out of the lines for it goes back with the connections.
            live.end();
        }
        taken?
    };
    let mut reply = ClaimReply {
        waiting_alone: taken.waiting_alone,
        tasks: taken.tasks,
        next: taken.more.then_some(Duration::ZERO),
        ..ClaimReply::default()
    };
    let closed = live.entry(queue).is_some_and(|entry| entry.closed);
    // All sessions are asked for the end of a queue, so not as often as a worker claims that has not settled what it runs.
    if closed && reply.tasks.is_empty() && reply.waiting_alone == 0 && live.intake().here(queue) == 0 {
        let Holdings { ready, held, scheduled, mark, .. } = live.holdings("claim", queue).await?;
        (reply.ended, reply.mark) = (ready + held + scheduled == 0, mark);
    }
    Ok(reply)
}

/// Has nothing more sent here, and gives back what was and is not claimed.
pub(super) async fn withdraw(link: Arc<Link>) -> Result<()> {
    let Some(live) = link.present_live().await else { return Ok(()) };
    let _alone = live.claiming.lock().await;
    let folded = live.fold_all().await;
    if folded.is_err() {
        // What was taken out of the lines to be given back goes back with the connections.
        live.end();
    }
    folded
}

impl Live {
    async fn fold_all(&self) -> Result<()> {
        let queues = self.intake().queues();
        let mut gave_back = false;
        for queue in queues {
            for class in self.classes(&queue) {
                gave_back |= self.fold(&queue, class).await?;
            }
        }
        if gave_back {
            // As in a claim that nobody waits after.
            self.pass("withdraw", &self.lanes.all()).await?;
        }
        Ok(())
    }

    async fn fill_claim(self: &Arc<Self>, link: &Link, claim: &Claim) -> Result<Taken> {
        let queue = &claim.queue;
        self.ensure_queue("claim", queue).await?;
        self.become_holder("claim", queue).await?;
        self.change_lane().await?;
        let lacking = self.ask_for(queue, claim.max).await?;
        let steady = link.config.clock.now().steady;
        let mut taken = self.intake().take(claim, link.incarnation, steady);
        for refused in std::mem::take(&mut taken.refused) {
            self.refuse(link, queue, refused).await?;
        }
        if link.waiters.want(queue) {
            self.cut_shares(queue, lacking, taken.tasks.len() == claim.max).await?;
        } else {
            let mut gave_back = false;
            for class in self.classes(queue) {
                gave_back |= self.fold(queue, class).await?;
            }
            if gave_back {
                // Else a death could take the acknowledgements with it, and leave copies beside what they are copies of.
                self.pass("claim", &self.lanes.all()).await?;
            }
        }
        Ok(taken)
    }

    /// Stops consuming a class of a queue and gives back what was not claimed; tells whether there was any.
    async fn fold(&self, queue: &QueueName, class: Class) -> Result<bool> {
        let mut consumers = self.intake().line(queue).consumers();
        consumers.retain(|(source, _)| source.class == class);
        self.cancel(queue, consumers).await?;
        let unclaimed = self.intake().line(queue).unclaimed(class);
        let any = !unclaimed.is_empty();
        for arrival in unclaimed {
            self.give_back(queue, arrival).await?;
        }
        Ok(any)
    }

    /// Gives back a task that was not run. The server counts that like a death, so this is done only with a task that never
    /// was lost; of any other a copy goes to the end of the queue, which counts nothing.
    async fn give_back(&self, queue: &QueueName, arrival: Arrival) -> Result<()> {
        let Arrival { place, class, task, .. } = arrival;
        match task {
            Ok(stored) if stored.progress.deaths > 0 && !self.is_blocked() => {
                let to = To::queue(self.names.work(queue, class));
                self.publish("claim", vec![stored.copy_for(to)]).await?;
                self.ack("claim", &[place]).await?;
                self.intake().line(queue).closed(place);
                Ok(())
            }
            _ => {
                self.intake().line(queue).closed(place);
                self.hand_back(queue, place).await
            }
        }
    }

    /// Deals with what cannot be run: buries what is no task, or was lost too often; puts off what only a newer version can
    /// read.
    async fn refuse(self: &Arc<Self>, link: &Link, queue: &QueueName, arrival: Arrival) -> Result<()> {
        let Arrival { place, class, task, .. } = arrival;
        let dead = || To::queue(self.names.dead(queue));
        let (mut buried, mut reply) = (true, None);
        let outgoing = match task {
            Ok(mut stored) => {
                let deaths = stored.progress.deaths;
                tracing::warn!(task = %stored.id, %queue, deaths, "the task is dead: it was handed out and lost too often");
                let error = format!("{deaths} times in a row it was handed out and its holder was lost");
                let _dead = stored.progress.settle(&End::Bury { error }, link.config.clock.now());
                stored.progress.deaths = deaths;
                reply = self.reply_dead(queue, &stored);
                stored.copy_for_dead(dead(), link.obituary())
            }
            Err(foreign) if foreign.error.kind() == ErrorKind::Incompatible => {
                let Foreign { delivery, error } = *foreign;
                tracing::warn!(%queue, error = %error.report(), "a task is put off");
                buried = false;
                let to = self.put_off("claim", queue, class, &TaskId::generate(), UNREADABLE).await?;
                Outgoing::new(to, delivery.data, message::as_it_was(delivery.properties))
            }
            Err(foreign) => {
                let Foreign { delivery, error } = *foreign;
                tracing::warn!(%queue, error = %error.report(), "a message that is no task is buried as it is");
                let properties = link.obituary().on(message::foreign(&delivery, &error.report()));
                Outgoing::new(dead(), delivery.data, properties)
            }
        };
        self.publish("claim", [outgoing].into_iter().chain(reply).collect()).await?;
        self.ack("claim", &[place]).await?;
        self.intake().line(queue).closed(place);
        if buried {
            self.trim("claim", queue).await;
        }
        Ok(())
    }

    /// Looks after what this session holds: leases that ran out go back, and so does what nobody claims.
    pub(super) async fn look_after(&self, link: &Link) -> Result<()> {
        let looked = self.give_back_unwanted(link).await;
        if looked.is_err() {
            // What was taken out of the lines to be given back goes back with the connections.
            self.end();
        }
        looked?;
        self.close_ended_lanes().await?;
        self.probe().await
    }

    async fn give_back_unwanted(&self, link: &Link) -> Result<()> {
        let expired = self.intake().expired(link.config.clock.now().steady);
        for lease in expired {
            let Some(held) = self.intake().release(&lease) else { continue };
            tracing::warn!(task = %lease.id, queue = %lease.queue, "the lease ran out");
            self.hand_back(&lease.queue, held.place).await?;
        }
        // Whoever claims at this moment takes what is here.
        let Ok(_alone) = self.claiming.try_lock() else { return Ok(()) };
        let queues = self.intake().queues();
        for queue in queues {
            let wanted = link.waiters.want(&queue);
            let unwanted = self.intake().line(&queue).unwanted(wanted);
            for class in unwanted {
                self.fold(&queue, class).await?;
            }
        }
        Ok(())
    }
}
