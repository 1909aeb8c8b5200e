//! A broker that fails on command.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use manyhands_broker::{
    Beat, Beaten, Broker, Capabilities, Claim, ClaimReply, Enqueued, Error, ErrorKind, Incarnation, Interest,
    NewTask, Outcome, QueueName, QueueOptions, QueueStatus, Result, Settled, Settlement, TaskId, Token,
    Waiter, Workers,
};
use tokio::sync::watch;

use super::soon;

/// How calls of one kind go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Well,
    /// Nothing is done, and the caller is told so.
    Fails(ErrorKind),
    /// Nothing is done, and the caller is told nothing until it goes well again.
    Hangs,
    /// It is done, and the caller is told that the broker is unavailable.
    Forgets,
    /// It is done, and the caller is told so only when it goes well again.
    Dawdles,
}

/// The broker is away.
pub(crate) const AWAY: Mode = Mode::Fails(ErrorKind::Unavailable);

/// Calls of one kind.
#[derive(Debug)]
pub(crate) struct Line {
    what: &'static str,
    mode: watch::Sender<Mode>,
    calls: watch::Sender<usize>,
    /// How many of them were answered.
    answered: watch::Sender<usize>,
}

/// Wraps a session; claims, settlements and beats can be made to fail.
#[derive(Debug)]
pub(crate) struct Flaky {
    inner: Arc<dyn Broker>,
    pub(crate) claims: Line,
    pub(crate) settlements: Line,
    pub(crate) beats: Line,
    pub(crate) withdrawals: Line,
    max_run: Mutex<Option<Duration>>,
    sent: Mutex<Vec<Settlement>>,
}

impl Line {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            mode: watch::Sender::new(Mode::Well),
            calls: watch::Sender::new(0),
            answered: watch::Sender::new(0),
        }
    }

    /// How calls go from now on; those that hang go on if it is `Well`.
    pub(crate) fn go(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many calls there were, whether they went well or not.
    pub(crate) fn calls(&self) -> usize {
        *self.calls.borrow()
    }

    /// Waits for so many more calls.
    pub(crate) async fn more(&self, calls: usize) {
        let wanted = self.calls() + calls;
        self.until(wanted).await;
    }

    /// Waits until there were so many calls.
    pub(crate) async fn until(&self, calls: usize) {
        let mut changes = self.calls.subscribe();
        let what = format!("call {calls} of {}", self.what);
        soon(&what, changes.wait_for(|made| *made >= calls)).await.unwrap();
    }

    /// Waits until so many calls were answered, whatever the answer was.
    pub(crate) async fn until_answered(&self, calls: usize) {
        let mut changes = self.answered.subscribe();
        let what = format!("the answer of call {calls} of {}", self.what);
        soon(&what, changes.wait_for(|made| *made >= calls)).await.unwrap();
    }

    async fn well(&self) {
        let mut mode = self.mode.subscribe();
        soon("the broker is well again", mode.wait_for(|mode| *mode == Mode::Well)).await.unwrap();
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = self.make(call).await;
        self.answered.send_modify(|answered| *answered += 1);
        answer
    }

    async fn make<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let mode = *self.mode.borrow();
        let count = || self.calls.send_modify(|calls| *calls += 1);
        if mode == Mode::Dawdles {
            // Counted once it is done, so that whoever waits for the call finds it done.
            let answer = call.await;
            count();
            self.well().await;
            return answer;
        }
        count();
        let failed = |kind| Error::new(kind, self.what, "the test says so");
        match mode {
            Mode::Well | Mode::Dawdles => call.await,
            Mode::Fails(kind) => Err(failed(kind)),
            Mode::Hangs => {
                self.well().await;
                call.await
            }
            Mode::Forgets => {
                call.await?;
                Err(failed(ErrorKind::Unavailable))
            }
        }
    }
}

impl Flaky {
    pub(super) fn new(inner: Arc<dyn Broker>) -> Self {
        let lines = ["claim", "settle", "beat", "withdraw"].map(Line::new);
        let [claims, settlements, beats, withdrawals] = lines;
        let (sent, max_run) = <(Mutex<Vec<_>>, Mutex<_>)>::default();
        Self { inner, claims, settlements, beats, withdrawals, sent, max_run }
    }

    /// Takes tasks away that run for so long, or says so.
    pub(crate) fn let_run_for(&self, longest: Duration) {
        *self.max_run.lock().unwrap() = Some(longest);
    }

    /// The ids of the tasks that were to be settled, one for every time.
    pub(crate) fn sent(&self) -> Vec<String> {
        let sent = self.sent.lock().unwrap();
        sent.iter().map(|settlement| settlement.lease.id.to_string()).collect()
    }
}

#[async_trait]
impl Broker for Flaky {
    fn backend(&self) -> &'static str {
        self.inner.backend()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn incarnation(&self) -> Incarnation {
        self.inner.incarnation()
    }

    async fn declare(&self, queue: &QueueName, options: Option<&QueueOptions>) -> Result<QueueStatus> {
        self.inner.declare(queue, options).await
    }

    async fn enqueue(&self, tasks: &[NewTask], token: Option<Token>) -> Result<Vec<Enqueued>> {
        self.inner.enqueue(tasks, token).await
    }

    async fn claim(&self, claim: &Claim) -> Result<ClaimReply> {
        self.claims.call(self.inner.claim(claim)).await
    }

    async fn beat(&self, beats: &[Beat], lease: Duration) -> Result<Vec<Beaten>> {
        self.beats.call(self.inner.beat(beats, lease)).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.sent.lock().unwrap().extend_from_slice(settlements);
        self.settlements.call(self.inner.settle(settlements)).await
    }

    async fn close(&self, queue: &QueueName) -> Result<()> {
        self.inner.close(queue).await
    }

    async fn status(&self, queue: &QueueName) -> Result<Option<QueueStatus>> {
        self.inner.status(queue).await
    }

    async fn max_run(&self) -> Result<Option<Duration>> {
        Ok(*self.max_run.lock().unwrap())
    }

    async fn outcomes(&self, queue: &QueueName, ids: &[TaskId]) -> Result<Vec<Outcome>> {
        self.inner.outcomes(queue, ids).await
    }

    fn workers(&self) -> Option<&dyn Workers> {
        self.inner.workers()
    }

    fn wait_for(&self, interest: Interest, queues: &[QueueName]) -> Waiter {
        self.inner.wait_for(interest, queues)
    }

    async fn withdraw(&self) -> Result<()> {
        self.withdrawals.call(self.inner.withdraw()).await
    }
}
