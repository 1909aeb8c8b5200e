//! The contract between the queue's logic and what stores it.

use std::{
    fmt::Debug,
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use async_trait::async_trait;

use crate::{
    BatchName, BatchStatus, Beat, Cancel, Capabilities, ClaimedTask, DeadLetters, Doctor, Error, Fsck,
    Incarnation, Lookup, NewTask, Outcome, QueueName, QueueOptions, QueueStatus, Result, Settlement, TaskId,
    Token, Workers, limits,
};

/// A future that completes when something may have changed. It is a hint and nothing else: it may complete
/// for no reason, and what it tells may be lost. Whoever waits also polls.
pub type Waiter = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// As a [`Waiter`], of one task: what became of it where the hint tells, and `None` where it only says that something may have.
pub type OutcomeWaiter = Pin<Box<dyn Future<Output = Option<Outcome>> + Send + 'static>>;

/// What somebody wants to hear of. Who says what spares the broker questions that would be asked in vain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interest {
    /// A task may have become ready, or may become so sooner than was known.
    Ready,
    /// A task may have been settled or cancelled, or died; so there may be room, and a queue or a batch may have ended.
    Settled,
    /// Any of these, and all else that is told, as that a queue was closed.
    Any,
}

/// One session with a broker: a process start, with an [`Incarnation`] of its own.
///
/// This is what backends implement; [`BrokerExt`](crate::BrokerExt) holds what users call besides. Every
/// transition is one atomic step of the broker and safe to repeat, where its [`Capabilities`] do not say otherwise. Input
/// was checked before it gets here, by [`Guard`](crate::Guard), which every broker that [`connect`](crate::connect)
/// returns wears.
///
/// # Errors
/// Besides what each method says, every call can fail with [`Unavailable`](crate::ErrorKind::Unavailable)
/// (the outcome may be unknown: repeat the call), [`Full`](crate::ErrorKind::Full) (the disk) and
/// [`Corrupt`](crate::ErrorKind::Corrupt).
///
/// # Cancel safety
/// Dropping a future does not undo its call, which may still take effect. That is harmless everywhere but in
/// [`claim`](Broker::claim).
#[async_trait]
pub trait Broker: Debug + Send + Sync + 'static {
    /// The name of the backend: `memory`, `local`, `redis`, `rabbitmq`.
    fn backend(&self) -> &'static str;

    /// What this broker promises beyond what all do.
    fn capabilities(&self) -> Capabilities;

    /// Who this session is. Leases that it claims belong to this incarnation.
    fn incarnation(&self) -> Incarnation;

    /// Makes sure that a queue exists, and returns it.
    ///
    /// # Behavior
    /// With options, configures the queue: creates it with them; one that exists only by use takes them; one
    /// that was configured before must have the same. Without options, takes the queue as it is and creates it
    /// with defaults only if it is missing.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict), with both values, when it is configured otherwise, or when tasks are there
    /// whose order would change.
    async fn declare(&self, queue: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus>;

    /// Puts tasks on their queues, all in one step, and answers for each in order.
    ///
    /// # Behavior
    /// Missing queues are created with defaults. What is answered `Enqueued`, `Exists` or `Duplicate` is durable when this returns.
    /// Each task is decided in order: its id exists or is remembered → `Exists`; its queue is closed →
    /// `Closed`; another task has its unique key → `Duplicate`; its queue is full → `Full`; else `Enqueued`.
    ///
    /// A call whose outcome is unknown is repeated with the same [`Token`] and gets the first answer. Without a token it is
    /// decided anew: without harm where the ids were given, which are remembered after settlement; a generated id is known
    /// only until its task is settled.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), and nothing is changed, when a task has a priority and its queue another order,
    /// or a key and its queue no limit for keys; or when the token is that of a call with another number of tasks.
    /// [`Unsupported`](crate::ErrorKind::Unsupported), and nothing is changed, when a task has a run limit longer than
    /// [`max_run`](Broker::max_run).
    async fn enqueue(&self, tasks: &[NewTask], token: Option<Token>) -> Result<Vec<Enqueued>>;

    /// Takes ready tasks of one queue under a lease, in the queue's [`Order`](crate::Order): at most so many as are asked for,
    /// and fewer where they are large.
    ///
    /// # Behavior
    /// In the same step, a bounded number of due tasks becomes ready, a bounded number of leases that ran out is taken back,
    /// a bounded number of keys whose interval is over lets a task go, and
    /// a bounded number of tasks dies that nobody claimed in their time, so no other service is needed for any of it. A task
    /// whose time is over is never handed out. A paused queue hands out nothing. See [`Claim`] for what holds it back. A
    /// missing queue is one without tasks.
    ///
    /// While there is [interest](Broker::wait_for) in the queue, a claim that leaves room may have a task sent ahead to this session
    /// that comes later: leased as by another claim of the same kind, to be handed out by the next one. What the session does not
    /// claim soon goes to others.
    ///
    /// # Cancel safety
    /// Not cancel safe: tasks that were claimed for a caller who is gone stay leased until the lease runs out
    /// or the session ends.
    async fn claim(&self, claim: &Claim) -> Result<ClaimReply>;

    /// Renews leases for `lease` from now, all in one step, and answers for each in order. A lease whose task is to be
    /// cancelled is renewed too, so that its holder can stop in its own time.
    ///
    /// # Behavior
    /// What a beat tells of its task's progress is kept with the lease, and lost with it: not durable.
    async fn beat(&self, beats: &[Beat], lease: Duration) -> Result<Vec<Beaten>>;

    /// Ends leases, all in one step, and answers for each in order. The caller keeps the settlements, and so
    /// can try again when this fails; settling twice is answered `Lost`.
    ///
    /// # Behavior
    /// A task that was to be cancelled is cancelled by every end that would make it ready again.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) or [`Unsupported`](crate::ErrorKind::Unsupported), and nothing is changed, when a child
    /// does not fit its queue, or may run for too long, as [`enqueue`](Broker::enqueue) says.
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>>;

    /// Says that no more will come to this queue: from now on enqueue answers `Closed`. Children in
    /// settlements are still accepted, so that finished work can always be settled. Creates a missing queue
    /// with defaults. Closing twice is closing once. Durable when it returns.
    async fn close(&self, queue: &QueueName) -> Result<()>;

    /// Lists the queues of the namespace by name, at most `max` (1 to [`limits::MAX_BATCH`]), those after `after` if one is given.
    async fn queues(&self, after: Option<&QueueName>, max: usize) -> Result<Vec<QueueName>> {
        let _ = (after, max);
        Err(Error::unclaimed(self.backend(), "queues"))
    }

    /// Tells how a queue stands; `None` when there is none of that name.
    async fn status(&self, queue: &QueueName) -> Result<Option<QueueStatus>>;

    /// Tells how long one run of a task may take, where the broker takes a task away that is not settled by then, whether its lease is renewed or
    /// not; `None` where it does not, or cannot tell. A worker asks once, when it starts, and stops what runs for so long. A task that
    /// asks for more is refused where it is sent.
    ///
    /// # Cancel safety
    /// Cancel safe.
    async fn max_run(&self) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// The power to examine what the broker is set up as, of a backend that can ask for it.
    fn doctor(&self) -> Option<&dyn Doctor> {
        None
    }

    /// The power to look all books through, of a backend that keeps some.
    fn fsck(&self) -> Option<&dyn Fsck> {
        None
    }

    /// Stops the claims of a queue; all else goes on meanwhile. Creates a missing queue with defaults. Durable when it returns. A
    /// backend that does not claim [`Control::Full`](crate::capabilities::Control::Full) is never asked.
    ///
    /// # Behavior
    /// Keeps with the queue who did so, a text for people of 1 to [`limits::MAX_BY`] bytes, and the broker's time:
    /// [`QueueStatus::pause`]. Of a queue that is paused already nothing is changed: it was the first one who paused it.
    async fn pause(&self, queue: &QueueName, by: &str) -> Result<()> {
        let _ = (queue, by);
        Err(Error::unclaimed(self.backend(), "pause"))
    }

    /// Lets the claims of a queue go on. Creates a missing queue with defaults. Durable when it returns. A backend that does not
    /// claim [`Control::Full`](crate::capabilities::Control::Full) is never asked.
    async fn resume(&self, queue: &QueueName) -> Result<()> {
        let _ = queue;
        Err(Error::unclaimed(self.backend(), "resume"))
    }

    /// Cancels tasks of one queue, all in one step, and answers for each in order. What is answered `Cancelled` is durably gone.
    /// Cancelling twice is harmless. A backend that does not claim [`Control::Full`](crate::capabilities::Control::Full) is
    /// never asked.
    async fn cancel(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Cancel>> {
        let _ = (queue, ids);
        Err(Error::unclaimed(self.backend(), "cancel"))
    }

    /// Tells what became of tasks of one queue, in order. [`BrokerExt::outcome`](crate::BrokerExt::outcome) waits for one.
    ///
    /// # Behavior
    /// A backend that does not claim [`Results::Kept`](crate::capabilities::Results::Kept) knows only of tasks that this session
    /// enqueued with [`Wanted::Reply`](crate::Wanted::Reply). One that is not settled is `Pending` while its outcome cannot be missed;
    /// from when it can have been, `Unknown`, until it comes all the same.
    async fn outcomes(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Outcome>>;

    /// Tells how a batch stands, or how it ended; `None` when there is none of that name, or it ended long ago. A backend that
    /// does not claim [`Control::Full`](crate::capabilities::Control::Full) is never asked.
    async fn batch(&self, batch: &BatchName) -> Result<Option<BatchStatus>> {
        let _ = batch;
        Err(Error::unclaimed(self.backend(), "batch"))
    }

    /// The power over dead tasks, of a backend that claims at least
    /// [`Operators::DeadOneByOne`](crate::capabilities::Operators::DeadOneByOne).
    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        None
    }

    /// The power to look at single tasks and to change queues, of a backend that claims
    /// [`Operators::All`](crate::capabilities::Operators::All).
    fn lookup(&self) -> Option<&dyn Lookup> {
        None
    }

    /// The power to see the workers that are alive, and to let one drain.
    fn workers(&self) -> Option<&dyn Workers> {
        None
    }

    /// Registers interest in these queues before it returns, for as long as the future lives; it completes when something of the kind
    /// may have happened on one of them, and perhaps when something else has. With no queues it completes when that is so of any, on a broker that has batches: their tasks are
    /// anywhere. A broker that sends tasks ahead does so only while there is
    /// interest, so whoever claims again and again keeps one alive. Register, then read, then await: nothing that happens
    /// after the registration is missed, but hints can be lost, so bound the wait.
    fn wait_for(&self, interest: Interest, queues: &[QueueName]) -> Waiter;

    /// Registers interest in what becomes of a task that this session is about to enqueue, before it returns, for as long as the future
    /// lives. Of many who wait, each hears of its own task only. `None` where this broker does not tell, or not of this task: then there are
    /// [hints](Broker::wait_for) of the queue. [`BrokerExt::outcome_waiter`](crate::BrokerExt::outcome_waiter) has either.
    ///
    /// # Behavior
    /// The future completes when the task is settled, cancelled or dead, and perhaps for no reason. What it tells is what
    /// [`Broker::outcomes`] would have; it may tell nothing, as of a large result. It can be lost as any hint: bound the wait, and ask. One that waits for the same
    /// task later takes its place.
    fn wait_for_outcome(&self, task: &NewTask) -> Option<OutcomeWaiter> {
        let _ = task;
        None
    }

    /// As [`Broker::wait_for`], for anything.
    fn wait(&self, queues: &[QueueName]) -> Waiter {
        self.wait_for(Interest::Any, queues)
    }

    /// Says that this session claims no more for now: nothing more is sent ahead to it, and what was and is not claimed goes back, and nothing is
    /// charged for it (a death, where [the server counts deliveries](crate::capabilities::Crashes::PerDelivery)). Who claims and
    /// waits does so before it ends, or tasks wait until their leases run out.
    ///
    /// # Cancel safety
    /// Cancel safe; what is not given back by then waits until its lease runs out.
    async fn withdraw(&self) -> Result<()> {
        Ok(())
    }

    /// Gives up whatever connections this session has, whether they seem well or not; the next call makes new ones. For who finds
    /// that calls are answered and tasks do not come all the same.
    ///
    /// # Behavior
    /// The session stays the same incarnation, with its leases where the broker can keep them. What is under way fails or goes on.
    /// Nothing is done by a backend without connections.
    ///
    /// # Cancel safety
    /// Cancel safe.
    async fn rebuild(&self) {}
}

/// What a claim asks for.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The one queue to claim from.
    pub queue: QueueName,
    /// The most tasks to take, at most [`limits::MAX_BATCH`]: the number of free slots.
    pub max: usize,
    /// How long the leases last unless they are beaten.
    pub lease: Duration,
    /// Whether nothing runs in this process. Only then a task that must run alone is handed out, as the only
    /// one of the claim.
    pub idle: bool,
    /// Queues that the handlers of this one feed. While one of them (other than `queue`) is full, nothing is
    /// claimed.
    pub feeds: Vec<QueueName>,
}

impl Claim {
    /// Asks for up to `max` tasks under the default lease, from a process where nothing runs.
    #[must_use]
    pub fn new(queue: QueueName, max: usize) -> Self {
        Self { queue, max, lease: limits::LEASE, idle: true, feeds: Vec::new() }
    }

    /// Sets how long the leases last.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Says whether nothing runs in this process.
    #[must_use]
    pub fn with_idle(mut self, idle: bool) -> Self {
        self.idle = idle;
        self
    }

    /// Sets the queues that must have room.
    #[must_use]
    pub fn with_feeds(mut self, feeds: Vec<QueueName>) -> Self {
        self.feeds = feeds;
        self
    }
}

/// What a claim gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimReply {
    /// The tasks, in the order of the queue.
    pub tasks: Vec<ClaimedTask>,
    /// The full queue that kept this claim from taking anything.
    pub held_by: Option<QueueName>,
    /// How many tasks wait to run alone and were not handed out: a process that becomes idle gets one.
    pub waiting_alone: u64,
    /// Whether the queue is closed and joined: nothing is unsettled and nothing more will come.
    pub ended: bool,
    /// Where the queue has ended: changes whenever it gets a task all the same. With it, somebody who asks several queues one
    /// after the other can tell that none got any in between.
    pub mark: u64,
    /// How long until a task of this queue becomes due, a lease runs out or the time to claim one is over, where that will be. Zero
    /// when there are, or may be, more to be claimed at once than this reply holds, though fewer than were asked for: large ones do not
    /// all go into one reply, and what was sent ahead is handed out before the broker is asked.
    pub next: Option<Duration>,
    /// Since when the leases run, at the earliest, of tasks that were sent ahead; `None` where they run since this call.
    pub leased: Option<Instant>,
}

/// The answer for one enqueued task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Enqueued {
    /// It is on the queue, durably.
    Enqueued,
    /// Its id is on the queue already, or was settled not long ago. Nothing was changed.
    Exists,
    /// This task has its unique key, or had it not long ago. Nothing was changed.
    Duplicate(TaskId),
    /// The queue has no room. Nothing was changed.
    Full,
    /// The queue is closed. Nothing was changed.
    Closed,
}

/// The answer for one beaten lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Beaten {
    /// It is renewed.
    Kept,
    /// It is renewed, but somebody cancelled the task: its handler is to stop, and its holder to release it. A completion that
    /// comes all the same is accepted.
    Cancelled,
    /// It is not held any more: the task was given to another, or settled. Whoever runs it must stop.
    Lost,
}

/// The answer for one settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settled {
    /// It took effect.
    Settled,
    /// The lease is not held any more. Nothing was changed.
    Lost,
}
