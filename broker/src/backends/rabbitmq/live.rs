//! The connections of a session while they last, and how everything on them is called: within a time, and with all of
//! them given up at the first error.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
};
use tokio::sync::{mpsc, watch};

use super::{ask::Answer, directory::Directory, error, intake::Intake, link::Link, names::Names};
use crate::{Error, ErrorKind, Incarnation, QueueName, Result};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How often connections are tried that may be silent because nobody is at their other end.
const PROBE: Duration = Duration::from_secs(5);

/// A message on its way to a queue.
pub(super) type Outgoing = (ShortString, Vec<u8>, BasicProperties);

/// Two connections and what was built on them. They go together: what is received on one is settled by publishing on the
/// other.
pub(super) struct Live {
    pub(super) incarnation: Incarnation,
    pub(super) names: Names,
    /// Its number among the connections of this session.
    pub(super) number: u64,
    pub(super) to_consume: Connection,
    /// Publishes what must not be lost: every message is confirmed.
    publisher: Channel,
    /// Publishes what may be lost. On the publishing connection, as the server stops reading from one that publishes
    /// when its memory or disk is full.
    pub(super) talk: Channel,
    /// Tasks are delivered and acknowledged here.
    pub(super) worker: Channel,
    /// A look at what is not there closes this one, and another is opened.
    pub(super) lookup: tokio::sync::Mutex<Channel>,
    pub(super) inbox: ShortString,
    /// What came into the inbox and was not read yet.
    pub(super) letters: std::sync::OnceLock<Consumer>,
    pub(super) directory: watch::Sender<Directory>,
    /// The offset up to which the directory must be read to know what others were told is done.
    pub(super) announced: AtomicU64,
    intake: Mutex<Intake>,
    /// One at a time changes who consumes.
    pub(super) claiming: tokio::sync::Mutex<()>,
    asks: Mutex<HashMap<String, mpsc::UnboundedSender<Answer>>>,
    /// What was seen or created on these connections.
    known: Mutex<HashSet<ShortString>>,
    depths: Mutex<HashMap<QueueName, (Instant, u64)>>,
    gone: watch::Sender<bool>,
    pub(super) changes: watch::Sender<u64>,
    /// When the consuming connection last answered.
    pub(super) probed: Mutex<Instant>,
}

impl Live {
    /// Builds both connections and all that belongs to a session.
    pub(super) async fn connect(link: &Link, operation: &'static str, number: u64) -> Result<Arc<Self>> {
        let failed = |e: lapin::Error| error::rabbitmq(operation, &e);
        let name = format!("manyhands {}", link.incarnation);
        let options = ConnectionProperties::default().with_connection_name(name.into());
        let open = || Connection::connect_uri(link.config.server.clone(), options.clone());
        let (to_publish, to_consume) = tokio::try_join!(open(), open()).map_err(failed)?;
        let publisher = to_publish.create_channel().await.map_err(failed)?;
        publisher.confirm_select(ConfirmSelectOptions::default()).await.map_err(failed)?;
        let talk = to_publish.create_channel().await.map_err(failed)?;
        let worker = to_consume.create_channel().await.map_err(failed)?;
        let lookup = to_consume.create_channel().await.map_err(failed)?;
        let events = futures_util::stream::select(
            Box::pin(to_publish.events_listener()),
            Box::pin(to_consume.events_listener()),
        );
        let live = Arc::new(Self {
            incarnation: link.incarnation,
            names: link.names.clone(),
            number,
            to_consume,
            publisher,
            talk,
            worker,
            lookup: tokio::sync::Mutex::new(lookup),
            inbox: link.names.inbox(link.incarnation, number),
            letters: std::sync::OnceLock::new(),
            directory: watch::Sender::new(Directory::default()),
            announced: AtomicU64::new(0),
            intake: Mutex::default(),
            claiming: tokio::sync::Mutex::default(),
            asks: Mutex::default(),
            known: Mutex::default(),
            depths: Mutex::default(),
            gone: watch::Sender::new(false),
            changes: link.changes.clone(),
            probed: Mutex::new(Instant::now()),
        });
        tokio::spawn(end_with(Arc::downgrade(&live), to_publish, events));
        live.open_inbox(operation).await?;
        live.open_directory(operation).await?;
        if let Some(newer) = live.directory.borrow().newer() {
            let message =
                format!("the namespace needs a version that knows format {newer}; this one knows 1");
            return Err(
                Error::new(ErrorKind::Incompatible, "connect", message).advise("upgrade this program")
            );
        }
        Ok(live)
    }

    /// Whether the connections are given up. What they held is given to others.
    pub(super) fn is_gone(&self) -> bool {
        *self.gone.borrow()
    }

    /// Gives the connections up.
    pub(super) fn end(&self) {
        if !self.gone.send_replace(true) {
            self.changed();
        }
    }

    /// Wakes whoever waits.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Makes a call. Any error, and silence, is the end of the connections.
    pub(super) async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T> {
        match self.try_call(operation, call).await? {
            Ok(answer) => Ok(answer),
            Err(e) => {
                self.end();
                Err(error::rabbitmq(operation, &e))
            }
        }
    }

    /// Makes a call that may fail without being the end of the connections.
    pub(super) async fn try_call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<lapin::Result<T>> {
        let mut gone = self.gone.subscribe();
        tokio::select! {
            biased;
            answer = tokio::time::timeout(ANSWER, call) => answer.map_err(|_| {
                self.end();
                error::silent(operation)
            }),
            _ = gone.wait_for(|gone| *gone) => Err(error::lost(operation)),
        }
    }

    /// Publishes to queues by their names, and waits until all are stored.
    pub(super) async fn publish(&self, operation: &'static str, messages: Vec<Outgoing>) -> Result<()> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let mut confirms = Vec::with_capacity(messages.len());
        for (queue, body, properties) in messages {
            let publish = self.publisher.basic_publish("".into(), queue.clone(), options, &body, properties);
            confirms.push((queue, self.call(operation, publish).await?));
        }
        for (queue, confirm) in confirms {
            match self.call(operation, confirm).await? {
                Confirmation::Ack(None) => {}
                Confirmation::Ack(Some(_)) => {
                    // Somebody removed the queue under us: who tries again finds that out, and creates it.
                    self.known().remove(&queue);
                    let message = format!("RabbitMQ has no queue {queue} any more");
                    return Err(
                        Error::new(ErrorKind::Unavailable, operation, message).advise("repeat the call")
                    );
                }
                _ => {
                    let message = format!("RabbitMQ does not take what is sent to {queue}");
                    return Err(Error::new(ErrorKind::Unavailable, operation, message)
                        .advise("see the server's log, and whether a policy bounds the queue"));
                }
            }
        }
        Ok(())
    }

    /// Publishes to an exchange, and waits until it is with everyone.
    pub(super) async fn publish_news(&self, operation: &'static str, body: &[u8], kind: &str) -> Result<()> {
        let properties = BasicProperties::default().with_type(kind.into());
        let options = BasicPublishOptions::default();
        let publish = self.publisher.basic_publish(self.names.news(), "".into(), options, body, properties);
        let confirm = self.call(operation, publish).await?;
        self.call(operation, confirm).await.map(drop)
    }

    /// Two answers on the channel of deliveries: what was on its way to us before is here after. Tried on 3.10: once is
    /// enough where the server is idle, and two that are not awaited one after the other are not enough.
    pub(super) async fn barrier(&self, operation: &'static str, queue: &ShortString) -> Result<()> {
        for _ in 0..2 {
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let ask = self.worker.queue_declare(queue.clone(), passive, FieldTable::default());
            self.call(operation, ask).await?;
        }
        *self.probed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(())
    }

    /// Waits until everything is read that was done before this call, whoever did it.
    pub(super) async fn sync(self: &Arc<Self>, operation: &'static str) -> Result<()> {
        // Who does something announces it to all inboxes before it says that it is done.
        self.barrier(operation, &self.inbox).await?;
        self.read_inbox();
        let wanted = self.announced.load(Ordering::SeqCst);
        self.until(operation, |directory| directory.next() >= wanted).await
    }

    /// Waits until the directory says so.
    pub(super) async fn until(
        &self,
        operation: &'static str,
        says: impl FnMut(&Directory) -> bool,
    ) -> Result<()> {
        let mut directory = self.directory.subscribe();
        self.call(operation, directory.wait_for(says).map(|_| Ok(()))).await
    }

    /// Asks both connections whether they are there, now and then.
    pub(super) async fn probe(&self) -> Result<()> {
        if self.probed.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < PROBE {
            return Ok(());
        }
        self.barrier("probe", &self.inbox).await?;
        let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let ask = self.talk.queue_declare(self.names.directory(), look, FieldTable::default());
        self.call("probe", ask).await.map(drop)
    }

    pub(super) fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn asks(&self) -> MutexGuard<'_, HashMap<String, mpsc::UnboundedSender<Answer>>> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn known(&self) -> MutexGuard<'_, HashSet<ShortString>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn depths(&self) -> MutexGuard<'_, HashMap<QueueName, (Instant, u64)>> {
        self.depths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds the publishing connection, and ends both when one of them has an error, or when they are given up.
async fn end_with(
    live: std::sync::Weak<Live>,
    to_publish: Connection,
    mut events: impl futures_util::Stream<Item = lapin::Event> + Unpin,
) {
    let Some(mut gone) = live.upgrade().map(|live| live.gone.subscribe()) else { return };
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(lapin::Event::ConnectionBlocked(reason)) => {
                    tracing::warn!(reason, "RabbitMQ takes nothing for the time being");
                }
                // A look at what is not there is the end of that channel only.
                Some(lapin::Event::Error(error)) if error.is_amqp_soft_error() => {}
                Some(lapin::Event::Error(_)) | None => break,
                Some(_) => {}
            },
            // An error means that nobody uses them any more.
            _ = gone.wait_for(|gone| *gone) => break,
        }
    }
    let close = async |connection: &Connection| {
        // Where the other end does not answer, the socket's end must do.
        let _ = tokio::time::timeout(ANSWER, connection.close(200, "OK".into())).await;
    };
    match live.upgrade() {
        Some(live) => {
            live.end();
            tokio::join!(close(&to_publish), close(&live.to_consume));
        }
        None => close(&to_publish).await,
    }
}
