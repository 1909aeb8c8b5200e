//! The watchdog of progress: tasks are ready, slots are free, claims are answered, and nothing comes.
//!
//! A session looks after its own connections, and rebuilds them at every error and silence. What it cannot see is a server, or
//! something on the way to it, that goes on answering and forgets what it owes: a worker in front of it looks alive for ever. So somebody
//! compares what claims get with what the broker says is there. First the session is rebuilt, and when that has not helped three times,
//! the worker ends, so that whoever supervises it starts it anew.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use manyhands_broker::{
    Broker, ClaimReply, Error, ErrorKind, QueueName, Result,
    sabotage::{Defect, planted},
};

/// How often it looks while all is well.
const CALM: Duration = Duration::from_secs(10);

/// How often it looks while a queue is suspicious.
const ALERT: Duration = Duration::from_secs(2);

/// How many looks in a row must find a queue suspicious. One alone says nothing: between a claim that gets nothing and the look, a task
/// may have come, or another worker may be faster.
const LOOKS: u32 = 10;

/// How often the session is rebuilt before the worker ends.
const REBUILDS: u32 = 3;

/// What the claim loop tells.
#[derive(Debug)]
pub(crate) struct Reports(Mutex<Told>);

#[derive(Debug)]
struct Told {
    queues: Vec<Since>,
    /// How many claims were made.
    claims: u64,
    /// The queue of the claim that is not answered yet.
    under_way: Option<usize>,
}

/// What became of the claims of one queue since the last look.
#[derive(Clone, Copy, Debug, Default)]
struct Since {
    /// One got nothing, and its answer does not say why.
    nothing: bool,
    /// One got tasks, or its answer says why it got none.
    explained: bool,
    /// One failed. That is in the log, and the session rebuilds itself; but it is no sign of progress.
    failed: bool,
}

impl Reports {
    /// For so many queues.
    pub(crate) fn new(queues: usize) -> Self {
        Self(Mutex::new(Told { queues: vec![Since::default(); queues], claims: 0, under_way: None }))
    }

    /// Notes that a queue is asked, for at least one task.
    pub(crate) fn asked(&self, queue: usize) {
        let mut told = self.told();
        told.claims += 1;
        told.under_way = Some(queue);
    }

    /// Notes the answer.
    pub(crate) fn answered(&self, queue: usize, answer: &Result<ClaimReply>) {
        let mut told = self.told();
        told.under_way = None;
        let Some(since) = told.queues.get_mut(queue) else { return };
        let Ok(ClaimReply { tasks, held_by, waiting_alone, ended, next, .. }) = answer else {
            since.failed = true;
            return;
        };
        let more = *next == Some(Duration::ZERO);
        let explained = !tasks.is_empty() || held_by.is_some() || *waiting_alone > 0 || *ended || more;
        since.explained |= explained;
        since.nothing |= !explained;
    }

    /// What happened since the last look, and the claim that is under way: its number and its queue.
    fn take(&self) -> (Vec<Since>, Option<(u64, usize)>) {
        let mut told = self.told();
        let queues = told.queues.iter_mut().map(std::mem::take).collect();
        let claims = told.claims;
        (queues, told.under_way.map(|queue| (claims, queue)))
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches over the claims of a worker.
#[derive(Debug)]
pub(crate) struct Watchdog {
    broker: Arc<dyn Broker>,
    queues: Vec<(QueueName, Doubt)>,
    reports: Arc<Reports>,
    /// The claim that was under way at the last look.
    under_way: Option<(u64, usize)>,
}

/// What speaks against a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Doubt {
    /// How many looks in a row found it suspicious, since the session was rebuilt last.
    looks: u32,
    /// How often the session was rebuilt for its sake, and nothing came all the same.
    rebuilds: u32,
}

impl Watchdog {
    /// For these queues, in the order in which the reports number them.
    pub(crate) fn new(broker: Arc<dyn Broker>, queues: Vec<QueueName>, reports: Arc<Reports>) -> Self {
        let queues = queues.into_iter().map(|queue| (queue, Doubt::default())).collect();
        Self { broker, queues, reports, under_way: None }
    }

    /// Looks for ever, and rebuilds the session where that is needed; ends with the reason why the worker must.
    pub(crate) async fn watch(mut self) -> Error {
        loop {
            let calm = self.queues.iter().all(|(_, doubt)| doubt.looks + doubt.rebuilds == 0);
            // Slept, not ticked: a process that was stopped for an hour looks once, not for every look that it missed.
            tokio::time::sleep(if calm { CALM } else { ALERT }).await;
            self.look().await;
            let Some((queue, doubt)) = self.queues.iter_mut().find(|(_, doubt)| doubt.looks >= LOOKS) else {
                continue;
            };
            if doubt.rebuilds == REBUILDS {
                return stalled(queue);
            }
            doubt.rebuilds += 1;
            tracing::warn!(
                %queue, rebuilds = doubt.rebuilds,
                "tasks are ready and slots are free, but nothing comes; the session with the broker is rebuilt"
            );
            self.queues.iter_mut().for_each(|(_, doubt)| doubt.looks = 0);
            if !planted(Defect::RebuildLeftOut) {
                self.broker.rebuild().await;
            }
        }
    }

    /// Looks once at all queues.
    async fn look(&mut self) {
        let (since, under_way) = self.reports.take();
        let unanswered = under_way.filter(|claim| self.under_way == Some(*claim)).map(|(_, queue)| queue);
        self.under_way = under_way;
        for (index, ((queue, doubt), since)) in self.queues.iter_mut().zip(since).enumerate() {
            if unanswered == Some(index) {
                doubt.looks += 1;
            } else if since.explained {
                *doubt = Doubt::default();
            } else if since.failed {
                doubt.looks = 0;
            } else if since.nothing {
                if has_ready(&*self.broker, queue).await {
                    doubt.looks += 1;
                } else {
                    *doubt = Doubt::default();
                }
            }
            // Else it was not asked: no slot was free, or it is not its turn yet.
        }
    }
}

/// Whether the broker says that a claim of this queue would get something.
async fn has_ready(broker: &dyn Broker, queue: &QueueName) -> bool {
    let status = tokio::time::timeout(ALERT, broker.status(queue)).await;
    // Where even this is not answered, the session knows, and claims will say so.
    matches!(status, Ok(Ok(Some(status))) if status.ready > 0 && !status.paused)
}

fn stalled(queue: &QueueName) -> Error {
    let message = format!(
        "tasks of queue \"{queue}\" are ready and slots are free, but none came, though the session with the broker was rebuilt {REBUILDS} times"
    );
    Error::new(ErrorKind::Unavailable, "claim", message)
        .advise("start the worker again, as a supervisor does; if that does not help, restart the broker, and see its log")
}
