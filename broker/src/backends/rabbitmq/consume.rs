//! Consumers: as much credit as there is to be filled, for as long as somebody waits for the queue.
//!
//! Where a queue has classes, one is asked after the other, the most urgent first, and the next one only where the claim is not
//! filled and there is no more of those before: so each claim is in order. A class of which there is nothing keeps a credit of one, so that
//! what comes to it is heard of. A class that was busy, and is not, gives up what it has more when others have the slots.

use std::sync::{Arc, Weak};

use futures_util::{FutureExt, StreamExt, future::join_all};
use lapin::{
    Consumer,
    message::Delivery,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};

use super::{arrival::Source, class::Class, lanes::Lane, live::Live};
use crate::{Interest, Order, QueueName, Result};

/// How often a class is asked for more in one claim: what must run alone, or others take meanwhile, fills nothing.
const TRIES: u32 = 3;

impl Live {
    /// Sees to it that a claim of so many can be filled, as far as there are tasks; tells how many it lacks after that, as nothing is
    /// left of any class.
    pub(super) async fn ask_for(self: &Arc<Self>, queue: &QueueName, max: usize) -> Result<usize> {
        self.drain(queue);
        if self.order(queue) != Order::Priority {
            let lacking = {
                let mut intake = self.intake();
                let line = intake.line(queue);
                max.saturating_sub(line.here(Class::FIRST) + line.credit(Class::FIRST))
            };
            if lacking > 0 {
                self.consume(queue, Class::FIRST, lacking).await?;
            }
            return Ok(0);
        }
        self.intake().line(queue).asks(max);
        let mut lacking = max;
        for class in self.classes(queue) {
            lacking = self.ask_class_for(queue, class, lacking).await?;
            if lacking == 0 {
                break;
            }
        }
        Ok(lacking)
    }

    /// The same of one class: tells how many are to be taken from those behind it.
    async fn ask_class_for(
        self: &Arc<Self>,
        queue: &QueueName,
        class: Class,
        wanted: usize,
    ) -> Result<usize> {
        let name = self.names.work(queue, class);
        for _ in 0..TRIES {
            let (lacking, credit, exhausted) = {
                let mut intake = self.intake();
                let line = intake.line(queue);
                let lacking = wanted.saturating_sub(line.here(class));
                (lacking, line.credit(class), line.is_exhausted(class))
            };
            if lacking == 0 || exhausted {
                return Ok(lacking);
            }
            if credit == 0 {
                let ready = self.ask_ready("claim", &self.lanes.current().channel, &name).await?;
                self.consume(queue, class, lacking.min(ready).max(1)).await?;
            } else {
                // What could be sent is here after this.
                self.barrier("claim", &self.lanes.current().channel, &name).await?;
                self.drain(queue);
            }
            self.intake().line(queue).answered(class);
        }
        // There may be more of it: those behind it must wait.
        Ok(0)
    }

    /// Lets classes give up the credit that others have the slots for, after a claim that lacked so many, or was filled.
    pub(super) async fn cut_shares(
        self: &Arc<Self>,
        queue: &QueueName,
        lacking: usize,
        filled: bool,
    ) -> Result<()> {
        if self.order(queue) != Order::Priority {
            return Ok(());
        }
        self.intake().line(queue).filled(filled);
        for class in self.classes(queue).rev() {
            let surplus = self.intake().line(queue).surplus(class);
            let cut = !surplus.is_empty();
            self.cancel(queue, surplus).await?;
            // Where slots are free, what comes next must be heard of.
            if cut && lacking > 0 {
                self.consume(queue, class, 1).await?;
                self.intake().line(queue).answered(class);
            }
        }
        Ok(())
    }

    /// Takes in what was delivered. Runs on the connections' thread, as do those who wait for deliveries: none can be in
    /// between.
    pub(super) fn drain(&self, queue: &QueueName) {
        let consumers = self.intake().line(queue).consumers();
        for (source, mut consumer) in consumers {
            let mut ended = false;
            self.intake().arrive(queue, source, here(&mut consumer, &mut ended));
            if ended {
                self.ended(queue, source.consumer);
            }
        }
    }

    /// A consumer gets no more. The end is told once, to whoever reads it. If we did not cancel it, the queue was removed, or the connection
    /// is lost.
    fn ended(&self, queue: &QueueName, number: u64) {
        if self.intake().line(queue).relies_on(number) {
            self.end();
        }
    }

    /// Asks for `credit` more, by one more consumer: the credit of one that is there cannot be changed.
    async fn consume(self: &Arc<Self>, queue: &QueueName, class: Class, credit: usize) -> Result<()> {
        let name = self.names.work(queue, class);
        let prefetch = u16::try_from(credit).unwrap_or(u16::MAX);
        let lane = self.lanes.current();
        self.call("claim", lane.channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let options = BasicConsumeOptions::default();
        let consume = lane.channel.basic_consume(name.clone(), "".into(), options, FieldTable::default());
        let consumer = self.call("claim", consume).await?;
        let source = self.intake().line(queue).stands(consumer.clone(), lane.number, class, prefetch.into());
        tokio::spawn(take_in(Arc::downgrade(self), queue.clone(), source, consumer));
        self.barrier("claim", &lane.channel, &name).await?;
        self.drain(queue);
        Ok(())
    }

    /// Ends consumers; what they were sent before is taken in. All at once: what the server takes back from one it would send to the
    /// next, and take back again.
    pub(super) async fn cancel(
        &self,
        queue: &QueueName,
        mut consumers: Vec<(Source, Consumer)>,
    ) -> Result<()> {
        // First, so that the end of their streams is no surprise.
        consumers.iter().for_each(|(source, _)| self.intake().line(queue).cancelled(source.consumer));
        let of =
            |(source, consumer): &(Source, Consumer)| Some((self.lanes.of(source.lane)?, consumer.tag()));
        let tags: Vec<_> = consumers.iter().filter_map(of).collect();
        let cancel = |(lane, tag): (Arc<Lane>, ShortString)| async move {
            lane.channel.basic_cancel(tag, BasicCancelOptions::default()).await
        };
        let cancelled =
            async { join_all(tags.into_iter().map(cancel)).await.into_iter().collect::<lapin::Result<()>>() };
        self.call("claim", cancelled).await?;
        for (source, consumer) in &mut consumers {
            self.intake().arrive(queue, *source, here(consumer, &mut false));
        }
        Ok(())
    }
}

/// What a consumer was sent and nobody has taken in yet; notes whether it has ended.
fn here(consumer: &mut Consumer, ended: &mut bool) -> impl Iterator<Item = Delivery> {
    std::iter::from_fn(|| match consumer.next().now_or_never()? {
        Some(Ok(delivery)) => Some(delivery),
        _ => {
            *ended = true;
            None
        }
    })
}

/// Takes in what a consumer is sent, and wakes who waits for it.
async fn take_in(live: Weak<Live>, queue: QueueName, source: Source, mut consumer: Consumer) {
    loop {
        let next = consumer.next().await;
        let Some(live) = live.upgrade() else { return };
        let Some(Ok(first)) = next else { return live.ended(&queue, source.consumer) };
        // All that came with it, so that many wake nobody more often than one does.
        let mut ended = false;
        let others = here(&mut consumer, &mut ended);
        live.intake().arrive(&queue, source, std::iter::once(first).chain(others));
        live.waiters.wake(Interest::Ready, &queue);
        if ended {
            return live.ended(&queue, source.consumer);
        }
    }
}
