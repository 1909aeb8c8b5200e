//! The connections of a session while they last, and what is known on them.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use futures_util::StreamExt;
use lapin::{Channel, Connection, Consumer, types::ShortString, uri::AMQPUri};
use tokio::sync::{mpsc, watch};

use super::{
    ask::Answer,
    calls::ANSWER,
    class::Class,
    dial::Dialer,
    directory::{Directory, Entry, Unreadable},
    error,
    holders::{Counting, Uncounted},
    intake::Intake,
    lanes::Lanes,
    link::Link,
    names::Names,
    news::Untold,
    publish::Publishers,
    register,
    replies::Replies,
    run_time::Bounds,
    waiters::Waiters,
    workers::Presence,
};
use crate::{Incarnation, Order, QueueName, Result};

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
    /// Declares and binds, and gets what comes into the inbox.
    pub(super) control: Channel,
    /// Tasks are delivered and acknowledged here.
    pub(super) lanes: Lanes,
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
    pub(super) gone: watch::Sender<bool>,
    /// The server takes nothing, as its memory or disk is full.
    blocked: AtomicBool,
    /// Those of the session, as above.
    pub(super) waiters: Arc<Waiters>,
    /// What is to be told to other sessions.
    pub(super) untold: Mutex<Untold>,
    /// When the consuming connection last answered.
    pub(super) probed: Mutex<Instant>,
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
        let control = to_consume.create_channel().await.map_err(failed)?;
        let lane = to_consume.create_channel().await.map_err(failed)?;
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
            control,
            lanes: Lanes::new(lane),
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
            self.replies.outcomes.have_all_asked();
        }
    }

    /// Whether the server takes nothing for the time being. What is held stays: the other connection is not concerned.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::SeqCst)
    }

    /// Refuses to go on where a newer version has written what this one cannot read.
    pub(super) fn readable(&self, operation: &'static str) -> Result<()> {
        match self.unreadable.get() {
            Some(unreadable) => Err(register::said(operation, *unreadable)),
            None => Ok(()),
        }
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
                    if live.upgrade().is_some_and(|live| live.lanes.has_lost_one()) {
                        break;
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
