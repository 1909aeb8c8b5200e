//! What the calls of a session share: the connections, built when they are needed, and who waits for what.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use super::{
    RabbitMqConfig,
    dial::{self, Dialer},
    error,
    live::Live,
    message::Obituary,
    names::Names,
    replies::Replies,
    waiters::Waiters,
    workers::Presence,
};
use crate::{ErrorKind, Incarnation, Result, TaskId};

/// How long it may take until both connections are there.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// How often it is tried when the server fails for a reason that passes.
const TRIES: u32 = 20;

/// How long to wait in between.
const AGAIN: Duration = Duration::from_millis(100);

/// How often a session looks after what it holds.
const TICK: Duration = Duration::from_millis(100);

/// How many tasks of unknown fate are remembered.
const DOUBTFUL: usize = 10_000;

/// What the calls share.
pub(super) struct Link {
    pub(super) config: RabbitMqConfig,
    pub(super) incarnation: Incarnation,
    pub(super) names: Names,
    pub(super) dialer: Dialer,
    live: tokio::sync::Mutex<(u64, Option<Arc<Live>>)>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) doubtful: Mutex<Doubtful>,
    pub(super) replies: Arc<Replies>,
    pub(super) presence: Arc<Presence>,
    /// The last one that was given to a dead task.
    mark: Mutex<u64>,
}

impl Link {
    /// Reads the files that the URL names.
    pub(super) fn new(config: RabbitMqConfig, incarnation: Incarnation) -> Result<Self> {
        Ok(Self {
            names: Names::new(&config.namespace),
            dialer: Dialer::new(&config)?,
            config,
            incarnation,
            live: tokio::sync::Mutex::default(),
            waiters: Arc::default(),
            doubtful: Mutex::default(),
            replies: Arc::default(),
            presence: Arc::default(),
            mark: Mutex::default(),
        })
    }

    /// The connections; new ones if there are none.
    pub(super) async fn live(&self, operation: &'static str) -> Result<Arc<Live>> {
        // Held while connecting, and waited for within the same bound: whoever comes meanwhile gets the same connections, or
        // fails when the attempt has had its time.
        let connected = async {
            let mut kept = self.live.lock().await;
            if let Some(live) = kept.1.as_ref().filter(|live| !live.is_gone()) {
                return Ok(Arc::clone(live));
            }
            kept.1 = None;
            let live = self.connect(operation, &mut kept.0).await?;
            kept.1 = Some(Arc::clone(&live));
            // What happened meanwhile was not heard.
            self.waiters.wake_all();
            self.replies.outcomes.have_all_asked();
            Ok(live)
        };
        tokio::time::timeout(CONNECT, connected).await.map_err(|_| error::unopened(operation))?
    }

    /// The connections, if there are any.
    pub(super) async fn present_live(&self) -> Option<Arc<Live>> {
        self.live.lock().await.1.clone().filter(|live| !live.is_gone())
    }

    /// New connections to the first server that can be used; and their number.
    async fn connect(&self, operation: &'static str, number: &mut u64) -> Result<Arc<Live>> {
        let mut failures = Vec::new();
        for server in self.dialer.turn() {
            let mut tries = 0;
            loop {
                (tries, *number) = (tries + 1, *number + 1);
                match Live::connect(self, &self.dialer, server, operation, *number).await {
                    // Somebody else is creating what was found: the server fails instead of waiting.
                    Err(error) if error::is_passing(&error) && tries < TRIES => {
                        tokio::time::sleep(AGAIN).await;
                    }
                    Err(error) if error.kind() == ErrorKind::Unavailable => {
                        failures.push(error);
                        break;
                    }
                    connected => return connected,
                }
            }
        }
        Err(dial::all_failed(operation, failures))
    }

    /// Gives the present connections up, if there are any.
    pub(super) async fn give_up(&self) {
        if let Some(live) = &self.live.lock().await.1 {
            live.end();
        }
    }

    /// The number of the present connection; none while there is none, or one is being made.
    pub(super) fn present(&self) -> Option<u64> {
        let kept = self.live.try_lock().ok()?;
        kept.1.as_ref().filter(|live| !live.is_gone()).map(|live| live.number)
    }

    /// What is written on a task that dies now.
    pub(super) fn obituary(&self) -> Obituary {
        let mut last = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let obituary = Obituary::new(self.config.clock.now().wall, self.incarnation, *last);
        *last = obituary.mark;
        obituary
    }

    /// Notes that a dead task was seen: whatever dies here from now on has its place after it, also if clocks differ.
    pub(super) fn seen_dead(&self, Obituary { mark, .. }: Obituary) {
        let mut last = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        *last = mark.max(*last);
    }

    pub(super) fn doubtful(&self) -> MutexGuard<'_, Doubtful> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after what a session holds, for as long as there is one.
pub(super) async fn keep(link: Weak<Link>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(link) = link.upgrade() else { return };
        if let Some(live) = link.present_live().await {
            // What fails here ended the connections; whoever calls next builds new ones.
            let looked = live.look_after(&link).await.and(live.be_counted_again().await);
            if let Err(error) = looked {
                tracing::debug!(error = %error.report(), "what is held could not be looked after");
            }
        }
    }
}

/// The tasks whose enqueueing has an unknown outcome, the oldest forgotten first: when they are enqueued again, they may be
/// there twice, and say so.
#[derive(Default)]
pub(super) struct Doubtful {
    ids: HashSet<TaskId>,
    order: VecDeque<TaskId>,
}

impl Doubtful {
    pub(super) fn add(&mut self, id: &TaskId) {
        if self.ids.insert(id.clone()) {
            self.order.push_back(id.clone());
        }
        if self.order.len() > DOUBTFUL
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    pub(super) fn has(&self, id: &TaskId) -> bool {
        self.ids.contains(id)
    }
}
