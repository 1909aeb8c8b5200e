//! Consumers: as much credit as there is to be filled, for as long as somebody waits for the queue.
//!
//! Where a queue has classes, one is asked after the other, the most urgent first, and the next one only where the claim is not
//! filled and there is no more of those before: so each claim is in order. A class of which there is nothing keeps a credit of one, so that
//! what comes to it is heard of. A class that was busy, and is not, gives up what it has more when others have the slots.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use lapin::{
    Consumer,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};

use super::{class::Class, live::Live};
use crate::{Order, QueueName, Result};

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
                let ready = self.ask_worker("claim", &name).await?;
                self.consume(queue, class, lacking.min(ready).max(1)).await?;
            } else {
                // What could be sent is here after this.
                self.barrier("claim", &name).await?;
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
            for consumer in surplus {
                self.cancel(queue, class, consumer).await?;
            }
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
        consumers.into_iter().for_each(|(class, consumer)| self.drain_consumer(queue, class, consumer));
    }

    fn drain_consumer(&self, queue: &QueueName, class: Class, mut consumer: Consumer) {
        let tag = consumer.tag();
        while let Some(next) = consumer.next().now_or_never() {
            let Some(Ok(delivery)) = next else {
                // The end is told once: the one who waits for deliveries does not hear of it any more.
                if self.intake().line(queue).relies_on(&tag) {
                    self.end();
                }
                return;
            };
            self.intake().arrive(queue, class, &tag, delivery);
        }
    }

    /// Asks for `credit` more, by one more consumer: the credit of one that is there cannot be changed.
    async fn consume(self: &Arc<Self>, queue: &QueueName, class: Class, credit: usize) -> Result<()> {
        let name = self.names.work(queue, class);
        let prefetch = u16::try_from(credit).unwrap_or(u16::MAX);
        self.call("claim", self.worker.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let options = BasicConsumeOptions::default();
        let consume = self.worker.basic_consume(name.clone(), "".into(), options, FieldTable::default());
        let consumer = self.call("claim", consume).await?;
        self.intake().line(queue).stands(consumer.clone(), class, prefetch.into());
        let live = Arc::downgrade(self);
        let of = queue.clone();
        tokio::spawn(async move {
            let tag = consumer.tag();
            let mut stream = consumer;
            while let Some(Ok(delivery)) = stream.next().await {
                let Some(live) = live.upgrade() else { return };
                live.intake().arrive(&of, class, &tag, delivery);
                live.changed();
            }
            let Some(live) = live.upgrade() else { return };
            // Not cancelled by us: the queue was removed, or the connection is lost.
            if live.intake().line(&of).relies_on(&tag) {
                live.end();
            }
        });
        self.barrier("claim", &name).await?;
        self.drain(queue);
        Ok(())
    }

    /// Ends a consumer; what it was sent before is taken in.
    pub(super) async fn cancel(&self, queue: &QueueName, class: Class, consumer: Consumer) -> Result<()> {
        let tag = consumer.tag();
        // First, so that the end of its stream is no surprise.
        self.intake().line(queue).cancelled(&tag);
        let cancel = self.worker.basic_cancel(tag, BasicCancelOptions::default());
        self.call("claim", cancel).await?;
        self.drain_consumer(queue, class, consumer);
        Ok(())
    }
}
