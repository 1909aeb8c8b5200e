//! The connections of a session while they last, and how everything on them is called: within a time, and with all of
//! them given up at the first error.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use lapin::{
    Channel, Connection, Consumer,
    options::{ChannelFlowOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
    uri::AMQPUri,
};
use tokio::sync::{mpsc, watch};

use super::{
    ask::Answer,
    class::Class,
    dial::Dialer,
    directory::{Directory, Entry, Unreadable},
    error::{self, Doing},
    holders::{Counting, Uncounted},
    intake::Intake,
    link::Link,
    names::Names,
    news::Untold,
    publish::Publishers,
    register,
    replies::Replies,
    run_time::Bounds,
    topology,
    waiters::Waiters,
    workers::Presence,
};
use crate::{Incarnation, Order, QueueName, Result};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a call may take to say why it fails when the connections are given up.
const LAST_WORD: Duration = Duration::from_millis(100);

/// How often connections are tried that may be silent because nobody is at their other end.
const PROBE: Duration = Duration::from_secs(5);

/// Two connections and what was built on them. They go together: what is received on one is settled by publishing on the
/// other.
pub(super) struct Live {
    pub(super) incarnation: Incarnation,
    pub(super) names: Names,
    /// Its number among the connections of this session.
    pub(super) number: u64,
    pub(super) to_consume: Arc<Connection>,
    pub(super) to_publish: Arc<Connection>,
    /// Publish what must not be lost.
    pub(super) publishers: Publishers,
    /// Publishes what may be lost. On the publishing connection, as the server stops reading from one that publishes
    /// when its memory or disk is full.
    pub(super) talk: Channel,
    /// Tasks are delivered and acknowledged here.
    pub(super) worker: Channel,
    /// A look at what is not there closes this one, and another is opened.
    pub(super) lookup: tokio::sync::Mutex<Channel>,
    /// The directory is taken and put back here.
    pub(super) register: tokio::sync::Mutex<Channel>,
    pub(super) inbox: ShortString,
    /// What came into the inbox and was not read yet.
    pub(super) letters: OnceLock<Consumer>,
    directory: Mutex<Directory>,
    /// Why the directory cannot be read any more.
    unreadable: OnceLock<Unreadable>,
    intake: Mutex<Intake>,
    /// What the session has also without a connection.
    pub(super) replies: Arc<Replies>,
    pub(super) presence: Arc<Presence>,
    /// One at a time changes who consumes.
    pub(super) claiming: tokio::sync::Mutex<()>,
    /// One at a time makes sure of a queue.
    pub(super) using: tokio::sync::Mutex<()>,
    /// One at a time looks how full a queue is.
    pub(super) gauging: tokio::sync::Mutex<()>,
    /// One at a time looks at the dead.
    pub(super) looking: tokio::sync::Mutex<()>,
    asks: Mutex<HashMap<String, mpsc::UnboundedSender<Answer>>>,
    /// What was seen or created on these connections.
    known: Mutex<HashSet<ShortString>>,
    depths: Mutex<HashMap<QueueName, (Instant, u64)>>,
    pub(super) bounds: Bounds,
    pub(super) uncounted: Uncounted,
    pub(super) counting: tokio::sync::Mutex<Counting>,
    gone: watch::Sender<bool>,
    /// The server takes nothing, as its memory or disk is full.
    blocked: AtomicBool,
    /// Those of the session, as above.
    pub(super) waiters: Arc<Waiters>,
    /// What is to be told to other sessions.
    pub(super) untold: Mutex<Untold>,
    /// When the consuming connection last answered.
    probed: Mutex<Instant>,
}

impl Live {
    /// Builds both connections to a server and all that belongs to a session.
    pub(super) async fn connect(
        link: &Link,
        dialer: &Dialer,
        server: &AMQPUri,
        operation: &'static str,
        number: u64,
    ) -> Result<Arc<Self>> {
        let failed = |e: lapin::Error| error::rabbitmq(operation, &e);
        let name = format!("manyhands {}", link.incarnation);
        let (to_publish, to_consume) = dialer.dial(operation, server, &name).await?;
        let talk = to_publish.create_channel().await.map_err(failed)?;
        let worker = to_consume.create_channel().await.map_err(failed)?;
        let lookup = to_consume.create_channel().await.map_err(failed)?;
        let register = to_consume.create_channel().await.map_err(failed)?;
        let (to_publish, to_consume) = (Arc::new(to_publish), Arc::new(to_consume));
        let live = Arc::new(Self {
            incarnation: link.incarnation,
            names: link.names.clone(),
            number,
            to_consume: Arc::clone(&to_consume),
            to_publish: Arc::clone(&to_publish),
            publishers: Publishers::default(),
            talk,
            worker,
            lookup: tokio::sync::Mutex::new(lookup),
            register: tokio::sync::Mutex::new(register),
            inbox: link.names.inbox(link.incarnation, number),
            letters: OnceLock::new(),
            directory: Mutex::default(),
            unreadable: OnceLock::new(),
            intake: Mutex::default(),
            replies: Arc::clone(&link.replies),
            presence: Arc::clone(&link.presence),
            claiming: tokio::sync::Mutex::default(),
            using: tokio::sync::Mutex::default(),
            gauging: tokio::sync::Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            asks: Mutex::default(),
            known: Mutex::default(),
            depths: Mutex::default(),
            bounds: Bounds::default(),
            uncounted: Uncounted::default(),
            counting: tokio::sync::Mutex::default(),
            gone: watch::Sender::new(false),
            blocked: AtomicBool::new(false),
            waiters: Arc::clone(&link.waiters),
            untold: Mutex::default(),
            probed: Mutex::new(Instant::now()),
        });
        tokio::spawn(watch_over(Arc::downgrade(&live), live.gone.subscribe(), to_publish, to_consume));
        let opened = async {
            live.open_inbox(operation).await?;
            live.open_directory(operation).await
        };
        if let Err(error) = opened.await {
            live.end();
            return Err(error);
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
            self.waiters.wake_all();
        }
    }

    /// Whether the server takes nothing for the time being. What is held stays: the other connection is not concerned.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::SeqCst)
    }

    /// Makes a call. Any error, and silence, is the end of the connections.
    pub(super) async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T> {
        self.call_doing(operation, Doing::Using, call).await
    }

    /// The same of a call that does this.
    pub(super) async fn call_doing<T>(
        &self,
        operation: &'static str,
        doing: Doing,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T> {
        self.try_call(operation, call).await?.map_err(|e| {
            self.end();
            error::refused(operation, doing, &e)
        })
    }

    /// Makes a call that may fail without being the end of the connections.
    pub(super) async fn try_call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<lapin::Result<T>> {
        self.answer_to(operation, call).await?.ok_or_else(|| {
            self.end();
            error::silent(operation)
        })
    }

    /// Makes a call on the publishing connection. There, silence is no reason to give up while the server takes nothing.
    pub(super) async fn call_publishing<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T> {
        if self.is_blocked() {
            return Err(error::blocked(operation));
        }
        match self.answer_to(operation, call).await? {
            Some(Ok(answer)) => Ok(answer),
            None if self.is_blocked() => Err(error::blocked(operation)),
            failed => {
                self.end();
                Err(failed
                    .and_then(lapin::Result::err)
                    .map_or_else(|| error::silent(operation), |e| error::rabbitmq(operation, &e)))
            }
        }
    }

    /// The answer to a call; none if it does not come in time.
    async fn answer_to<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<Option<lapin::Result<T>>> {
        self.try_within(operation, call).await
    }

    /// What happens in the time of an answer; none if it does not.
    pub(super) async fn try_within<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = T>,
    ) -> Result<Option<T>> {
        let mut gone = self.gone.subscribe();
        let mut call = std::pin::pin!(call);
        tokio::select! {
            biased;
            answer = tokio::time::timeout(ANSWER, &mut call) => return Ok(answer.ok()),
            _ = gone.wait_for(|gone| *gone) => {}
        }
        // What ends its channel is often heard first by a consumer of it.
        tokio::time::timeout(LAST_WORD, call).await.map(Some).map_err(|_| error::lost(operation))
    }

    /// Two answers on the channel of deliveries: what was on its way to us before is here after. Tried on 3.10: once is
    /// not enough, and two that are not awaited one after the other are not either.
    pub(super) async fn barrier(&self, operation: &'static str, queue: &ShortString) -> Result<()> {
        for _ in 0..2 {
            self.ask_worker(operation, queue).await?;
        }
        *self.probed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(())
    }

    /// Waits until the server has taken in what was sent on the channel of deliveries before.
    pub(super) async fn pass(&self, operation: &'static str) -> Result<()> {
        // That the server may go on sending, which it does in any case: the channel answers that alone, and asks no queue.
        let go_on = self.worker.channel_flow(ChannelFlowOptions { active: true });
        self.call(operation, go_on).await.map(drop)
    }

    /// How many messages of a queue can be handed out, asked on the channel of deliveries.
    pub(super) async fn ask_worker(&self, operation: &'static str, queue: &ShortString) -> Result<usize> {
        let mut asked = 0;
        loop {
            let began = Instant::now();
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let ask = self.worker.queue_declare(queue.clone(), passive, FieldTable::default());
            let found = self.call(operation, ask).await?;
            asked += 1;
            // What it sends comes before its answer, but not before one that is given in its place.
            let nothing = found.message_count() == 0 && found.consumer_count() == 0;
            if !nothing || began.elapsed() < topology::GIVEN_UP || asked == topology::ASKED {
                return Ok(usize::try_from(found.message_count()).unwrap_or(usize::MAX));
            }
        }
    }

    /// Waits until everything is read that was done before this call, whoever did it.
    pub(super) async fn sync(self: &Arc<Self>, operation: &'static str) -> Result<()> {
        // Who does something announces it to all inboxes before it says that it is done.
        self.barrier(operation, &self.inbox).await?;
        self.read_inbox();
        self.readable(operation)
    }

    /// Refuses to go on where a newer version has written what this one cannot read.
    pub(super) fn readable(&self, operation: &'static str) -> Result<()> {
        match self.unreadable.get() {
            Some(unreadable) => Err(register::said(operation, *unreadable)),
            None => Ok(()),
        }
    }

    /// Asks both connections whether they are there, now and then.
    pub(super) async fn probe(&self) -> Result<()> {
        if self.probed.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < PROBE {
            return Ok(());
        }
        self.barrier("probe", &self.inbox).await?;
        if self.is_blocked() {
            return Ok(());
        }
        let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let ask = self.talk.queue_declare(self.names.directory(), look, FieldTable::default());
        self.call_publishing("probe", ask).await.map(drop)
    }

    /// What is known of all queues.
    pub(super) fn directory(&self) -> Directory {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn with_directory(&self, change: impl FnOnce(&mut Directory)) {
        change(&mut self.directory.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes that somebody wrote a directory that this version cannot read.
    pub(super) fn cannot_read(&self, why: Unreadable) {
        let _ = self.unreadable.set(why);
    }

    /// What is known of a queue.
    pub(super) fn entry(&self, queue: &QueueName) -> Option<Entry> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner).get(queue).cloned()
    }

    /// Which task of a queue is claimed first, as far as it is known.
    pub(super) fn order(&self, queue: &QueueName) -> Order {
        self.entry(queue).map_or(Order::Fifo, |entry| entry.order())
    }

    /// The classes of a queue's tasks, the most urgent first.
    pub(super) fn classes(&self, queue: &QueueName) -> impl DoubleEndedIterator<Item = Class> + use<> {
        Class::of_queue(self.order(queue))
    }

    /// The class of a task of the queue that has this priority.
    pub(super) fn class(&self, queue: &QueueName, priority: Option<i64>) -> Class {
        Class::of_task(self.order(queue), priority)
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

/// Watches both connections, and closes them when one of them has an error, when they are given up, or when nobody uses
/// them any more.
async fn watch_over(
    live: std::sync::Weak<Live>,
    mut gone: watch::Receiver<bool>,
    to_publish: Arc<Connection>,
    to_consume: Arc<Connection>,
) {
    let mut events = futures_util::stream::select(
        Box::pin(to_publish.events_listener()),
        Box::pin(to_consume.events_listener()),
    );
    let blocked = |blocked: bool| {
        if let Some(live) = live.upgrade() {
            live.blocked.store(blocked, Ordering::SeqCst);
        }
    };
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(lapin::Event::ConnectionBlocked(reason)) => {
                    tracing::warn!(reason, "RabbitMQ takes nothing for the time being");
                    blocked(true);
                }
                Some(lapin::Event::ConnectionUnblocked) => blocked(false),
                // A look at what is not there is the end of that channel only.
                Some(lapin::Event::Error(error)) if error.is_amqp_soft_error() => {
                    if error::code(&error) == 406 {
                        tracing::warn!(%error, "RabbitMQ ended a channel; what it had handed out it hands out again");
                    }
                }
                Some(lapin::Event::Error(error)) => {
                    tracing::warn!(%error, "the connection to RabbitMQ ended");
                    break;
                }
                None => break,
                Some(_) => {}
            },
            // An error means that nobody uses them any more.
            _ = gone.wait_for(|gone| *gone) => break,
        }
    }
    if let Some(live) = live.upgrade() {
        live.end();
    }
    let close = async |connection: &Connection| {
        // Where the other end does not answer, the heartbeats end it.
        let _ = tokio::time::timeout(ANSWER, connection.close(200, "OK".into())).await;
    };
    tokio::join!(close(&to_publish), close(&to_consume));
}
