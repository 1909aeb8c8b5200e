//! The queues and exchanges of a namespace: looked up first, and created only where they are missing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use lapin::{
    Consumer, ExchangeKind,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::{FieldTable, ShortString},
};

use super::{
    difference::{self, Shape, Summary},
    directory::Change,
    error::{self, Doing},
    live::Live,
    message::Stored,
    plan::Planned,
    publish::To,
    waiting,
};
use crate::{Error, ErrorKind, QueueName, Result};

/// How long the server waits for the leader of a queue that it is asked for. Then it answers that there is nothing, and nobody who
/// consumes.
pub(super) const GIVEN_UP: Duration = Duration::from_millis(250);

/// How often a queue is asked for of which there is no answer but that. Where the network is so slow, it is the truth.
pub(super) const ASKED: u32 = 4;

/// The server's error for what is there otherwise than it is declared.
const DIFFERS: u16 = 406;

/// The server's error for what this user may not do.
const FORBIDDEN: u16 = 403;

/// What to do about something that is not as it must be.
const ADVICE: &str = "use another queue, or another namespace (?namespace=NAME); nothing is changed or removed here. manyhands doctor names all that differs, and what to do";

/// How a queue stands, all of it at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Depth {
    /// Messages that can be handed out.
    pub(super) ready: u64,
    /// Consumers, those included that only have something to acknowledge.
    pub(super) consumers: u64,
}

impl Depth {
    fn add(&mut self, Self { ready, consumers }: Self) {
        self.ready += ready;
        self.consumers += consumers;
    }
}

impl Live {
    /// How a queue of the server stands; `None` if there is no such queue.
    async fn look_up(&self, operation: &'static str, name: &ShortString) -> Result<Option<Depth>> {
        for _ in 1..ASKED {
            let began = Instant::now();
            let found = self.look_up_once(operation, name).await?;
            let nothing = found.is_some_and(|depth| depth.ready == 0 && depth.consumers == 0);
            if !nothing || began.elapsed() < GIVEN_UP {
                return Ok(found);
            }
        }
        self.look_up_once(operation, name).await
    }

    async fn look_up_once(&self, operation: &'static str, name: &ShortString) -> Result<Option<Depth>> {
        let mut channel = self.lookup.lock().await;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(name.clone(), passive, FieldTable::default());
        match self.try_call(operation, found).await? {
            Ok(queue) => Ok(Some(Depth {
                ready: queue.message_count().into(),
                consumers: queue.consumer_count().into(),
            })),
            Err(e) if error::code(&e) == 404 => {
                *channel = self.call(operation, self.to_consume.create_channel()).await?;
                if error::is_down(&e) {
                    return Err(error::rabbitmq(operation, &e));
                }
                Ok(None)
            }
            Err(e) => {
                self.end();
                Err(error::rabbitmq(operation, &e))
            }
        }
    }

    /// How a queue stands that the directory knows, as far as a look can tell. One that is missing all the same was removed
    /// by somebody. One without a leader looks empty.
    pub(super) async fn look(&self, operation: &'static str, name: &ShortString) -> Result<Depth> {
        Ok(self.look_up(operation, name).await?.unwrap_or_default())
    }

    /// The same for certain: that there is nothing, only a leader can say.
    pub(super) async fn depth(&self, operation: &'static str, name: &ShortString) -> Result<Depth> {
        self.depth_of(operation, name, false).await
    }

    async fn depth_of(&self, operation: &'static str, name: &ShortString, is_work: bool) -> Result<Depth> {
        let depth = self.look(operation, name).await?;
        if depth.ready > 0 || depth.consumers > 0 {
            return Ok(depth);
        }
        let mut channel = self.lookup.lock().await;
        let get = channel.basic_get(name.clone(), BasicGetOptions::default());
        match self.try_call(operation, get).await? {
            Ok(None) => Ok(depth),
            // It came in between. Handing it back counts, which has no consequence but for a task that was lost before: a copy of
            // it goes to the end instead.
            Ok(Some(message)) => {
                let tag = message.delivery.delivery_tag;
                let lost = is_work && !self.is_blocked();
                let task = Stored::read(&message.delivery);
                match task.ok().filter(|stored| lost && stored.progress.deaths > 0) {
                    Some(stored) => {
                        self.publish(operation, vec![stored.copy_for(To::queue(name.clone()))]).await?;
                        self.call(operation, channel.basic_ack(tag, BasicAckOptions::default())).await?;
                    }
                    None => {
                        let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
                        self.call(operation, channel.basic_nack(tag, requeue)).await?;
                    }
                }
                Ok(Depth { ready: 1, consumers: 0 })
            }
            Err(e) if error::code(&e) == 404 => {
                *channel = self.call(operation, self.to_consume.create_channel()).await?;
                if error::is_down(&e) { Err(error::rabbitmq(operation, &e)) } else { Ok(depth) }
            }
            Err(e) => {
                self.end();
                Err(error::rabbitmq(operation, &e))
            }
        }
    }

    /// Makes sure that a queue of the server exists, unless that is known; tells whether it was created.
    pub(super) async fn ensure(&self, operation: &'static str, planned: &Planned) -> Result<bool> {
        if self.known().contains(&planned.name) {
            return Ok(false);
        }
        let created = self.create(operation, planned).await?;
        self.known().insert(planned.name.clone());
        Ok(created)
    }

    /// Looks whether a queue of the server exists, and else creates it; tells whether it was created. One that exists is compared: no
    /// difference is mended, and one by which tasks can be lost is an error.
    pub(super) async fn create(&self, operation: &'static str, planned: &Planned) -> Result<bool> {
        let missing = self.look_up(operation, &planned.name).await?.is_none();
        let mut channel = self.lookup.lock().await;
        let Err(refusal) = self.try_call(operation, planned.declare(&channel, Shape::PLANNED)).await? else {
            return Ok(missing);
        };
        let code = error::code(&refusal);
        if ![DIFFERS, FORBIDDEN, error::LOCKED].contains(&code) || (missing && code == FORBIDDEN) {
            self.end();
            return Err(error::refused(operation, Doing::Declaring, &refusal));
        }
        // The server has closed it.
        *channel = self.call(operation, self.to_consume.create_channel()).await?;
        drop(channel);
        if code == FORBIDDEN {
            tracing::debug!(name = %planned.name, "this user may not declare it, so it is taken as it is");
            return Ok(false);
        }
        self.compare(operation, planned).await.map(|()| false)
    }

    /// Says how something that is there differs from what is planned.
    async fn compare(&self, operation: &'static str, planned: &Planned) -> Result<()> {
        let differences = self.call(operation, difference::differences(&self.to_consume, planned)).await?;
        match difference::summary(&differences, &planned.role) {
            Summary::Same => Ok(()),
            Summary::Harmless(said) => {
                tracing::warn!("{} in RabbitMQ is not as this version makes it: {said}", planned.name);
                Ok(())
            }
            Summary::Dangerous(said) => {
                let message = format!("{} in RabbitMQ is not as it must be: {said}", planned.name);
                Err(Error::new(ErrorKind::Corrupt, operation, message).advise(ADVICE))
            }
        }
    }

    /// Makes sure that the queues behind a queue exist.
    pub(super) async fn ensure_queue(
        self: &Arc<Self>,
        operation: &'static str,
        queue: &QueueName,
    ) -> Result<()> {
        let mut is_new = false;
        for class in self.classes(queue) {
            let work = self.names.work(queue, class);
            if self.known().contains(&work) {
                continue;
            }
            self.ensure(operation, &Planned::dead(&self.names, queue)).await?;
            is_new |= self.create(operation, &Planned::work(&self.names, queue, class)).await?;
            // Also of one that is there: who created it may have died, and what somebody removed is made again.
            self.bind_due(operation, queue, class).await?;
            self.known().insert(work);
        }
        // One that was there is opened by who finds no way to it.
        if is_new && !self.is_closed(queue) { self.open(operation, queue).await } else { Ok(()) }
    }

    /// Lets what is enqueued find the queue, unless it was closed meanwhile.
    pub(super) async fn open(self: &Arc<Self>, operation: &'static str, queue: &QueueName) -> Result<()> {
        self.declare_open(operation).await?;
        for class in self.classes(queue) {
            let (work, key) = (self.names.work(queue, class), waiting::short_key(queue, class));
            self.bind(operation, &work, &self.names.open(), key.as_str()).await?;
        }
        // Who closed it meanwhile said so before it shut it: that is read after this, and it is shut again.
        self.sync(operation).await?;
        if self.is_closed(queue) { self.shut(operation, queue).await } else { Ok(()) }
    }

    /// Lets nothing more that is enqueued find the queue.
    pub(super) async fn shut(&self, operation: &'static str, queue: &QueueName) -> Result<()> {
        self.declare_open(operation).await?;
        for class in self.classes(queue) {
            let (work, open) = (self.names.work(queue, class), self.names.open());
            let key = waiting::short_key(queue, class);
            let unbind = self.control.queue_unbind(work, open, key, FieldTable::default());
            self.call_doing(operation, Doing::Binding, unbind).await?;
        }
        Ok(())
    }

    /// Makes sure of the exchange that finds the queues that are not closed.
    pub(super) async fn declare_open(&self, operation: &'static str) -> Result<()> {
        let open = self.names.open();
        if !self.known().contains(&open) {
            self.declare_exchange(operation, &Planned::open(&self.names)).await?;
            self.known().insert(open);
        }
        Ok(())
    }

    /// How the work queues of a queue stand together, as `look` sees each.
    pub(super) async fn look_at_work(&self, operation: &'static str, queue: &QueueName) -> Result<Depth> {
        let mut all = Depth::default();
        for class in self.classes(queue) {
            all.add(self.look(operation, &self.names.work(queue, class)).await?);
        }
        Ok(all)
    }

    /// The same for certain, as `depth` does.
    pub(super) async fn depth_of_work(&self, operation: &'static str, queue: &QueueName) -> Result<Depth> {
        let mut all = Depth::default();
        for class in self.classes(queue) {
            all.add(self.depth_of(operation, &self.names.work(queue, class), true).await?);
        }
        Ok(all)
    }

    /// Makes sure that an exchange exists.
    pub(super) async fn declare_exchange(&self, operation: &'static str, planned: &Planned) -> Result<()> {
        let declare = planned.declare(&self.control, Shape::PLANNED);
        match self.try_call(operation, declare).await? {
            Ok(_) => Ok(()),
            Err(e) if error::code(&e) == DIFFERS => {
                let compared = self.compare(operation, planned).await;
                self.end();
                compared.and(Err(error::refused(operation, Doing::Declaring, &e)))
            }
            Err(e) => {
                self.end();
                Err(error::refused(operation, Doing::Declaring, &e))
            }
        }
    }

    /// Makes sure that a queue exists, also in the directory.
    pub(super) async fn use_queue(
        self: &Arc<Self>,
        operation: &'static str,
        queue: &QueueName,
    ) -> Result<()> {
        if self.uses(queue) {
            return Ok(());
        }
        // One of several calls at a time makes sure, and the others believe it: each by itself, they would do so one after the other.
        let _alone = self.using.lock().await;
        self.ensure_queue(operation, queue).await?;
        if self.entry(queue).is_none() {
            self.tell(operation, &Change::Use(queue.clone())).await?;
        }
        Ok(())
    }

    /// Whether it is known that a queue exists, and that the directory has it.
    fn uses(&self, queue: &QueueName) -> bool {
        let known = self.known();
        let exists = |class| known.contains(&self.names.work(queue, class));
        self.entry(queue).is_some() && self.classes(queue).all(exists)
    }

    /// Makes the inbox of this session and begins to read it.
    pub(super) async fn open_inbox(self: &Arc<Self>, operation: &'static str) -> Result<()> {
        let none = FieldTable::default;
        let news = self.names.news();
        self.declare_exchange(operation, &Planned::exchange(news.clone(), ExchangeKind::Fanout)).await?;
        let own =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let declare = self.control.queue_declare(self.inbox.clone(), own, none());
        self.call_doing(operation, Doing::Declaring, declare).await?;
        let inbox = self.inbox.clone();
        let bind =
            self.control.queue_bind(inbox.clone(), news, "".into(), QueueBindOptions::default(), none());
        self.call_doing(operation, Doing::Binding, bind).await?;
        let (replies, ours) = (self.names.replies(), self.incarnation.to_string());
        self.declare_exchange(operation, &Planned::exchange(replies.clone(), ExchangeKind::Direct)).await?;
        self.bind(operation, &inbox, &replies, &ours).await?;
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
        let consume = self.control.basic_consume(inbox, "".into(), options, none());
        let letters = self.call(operation, consume).await?;
        let _ = self.letters.set(letters.clone());
        tokio::spawn(pump(letters, Arc::downgrade(self), |live, delivery| live.read_letter(&delivery)));
        Ok(())
    }
}

/// Hands what a consumer gets to `take`, and ends the connections when the server ends the consumer.
pub(super) async fn pump(
    mut consumer: Consumer,
    live: std::sync::Weak<Live>,
    take: impl Fn(&Arc<Live>, lapin::message::Delivery),
) {
    while let Some(Ok(delivery)) = consumer.next().await {
        let Some(live) = live.upgrade() else { return };
        take(&live, delivery);
    }
    if let Some(live) = live.upgrade() {
        live.end();
    }
}
