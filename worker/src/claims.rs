//! The claim loop: free slots are filled, and nothing else is taken.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use manyhands_broker::{
    Beaten, Broker, Claim, ClaimReply, ClaimedTask, End, Error, ErrorKind, Interest, Lease, QueueName,
    Result,
    crash::{Point, at},
    limits,
    sabotage::{Defect, planted},
    write_duration,
};
use tokio::sync::mpsc;

use crate::{
    App, Observer, Shutdown,
    context::Around,
    handler::Mode,
    leases::Leases,
    presence::Presence,
    runner,
    settler::Ended,
    slots::Slots,
    turns::{Served, Turns},
    watchdog::Reports,
};

/// How long a hint is waited for before the broker is asked again. An idle question only reads.
const POLL: Duration = Duration::from_secs(1);

/// How long to wait after a failure, at first and at most. A worker goes on so much later than its broker.
pub(crate) const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long a worker does not hold back again after it did so for a whole lease and did not become idle.
const RELENT: Duration = Duration::from_secs(300);

/// Everything that the loop needs.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) app: Arc<App>,
    pub(crate) turns: Turns,
    pub(crate) lease: Duration,
    /// How long a run may take, whoever allows more.
    pub(crate) max_run: Option<Duration>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) settler: mpsc::UnboundedSender<Ended>,
    pub(crate) solitude: Solitude,
    /// For the watchdog.
    pub(crate) reports: Arc<Reports>,
    /// For who lists workers.
    pub(crate) presence: Arc<Presence>,
}

/// When nothing may be claimed because of a task that must run alone.
#[derive(Debug, Default)]
pub(crate) struct Solitude {
    /// One runs: nothing else may until it ended.
    running: bool,
    /// One waits, and this process stops claiming to become idle, until then.
    holding_until: Option<Instant>,
    /// The queue on which it waits: asked first when this process is idle.
    waited_on: Option<usize>,
    /// Holding back did not help: not again before this.
    relenting_until: Option<Instant>,
}

/// What one round over the queues came to.
#[derive(Debug)]
struct Round {
    /// A queue had as many tasks as it was asked for, and may have more.
    more: bool,
    /// The queues that were asked, one after the other, and the marks of those that were closed and joined.
    asked: BTreeMap<usize, Option<u64>>,
    /// A slot is free, so a hint is worth waking up for.
    ready: bool,
    /// Something was not asked for because of what runs, so that a slot which becomes free is worth waking up for. Otherwise all queues had
    /// less than there are slots, and a hint tells when they have more.
    starved: bool,
    /// When something becomes due.
    next: Duration,
}

impl Claims {
    /// Claims until told to stop, or until all queues ended if `until_ended`.
    pub(crate) async fn run(&mut self, shutdown: &Shutdown, until_ended: bool) -> Result<()> {
        let queues = self.interesting();
        // Only who waits for the end of queues, or for room in those that are fed, need hear of what others settle.
        let feeds = self.turns.served().iter().any(|served| !served.feeds.is_empty());
        let interest = if until_ended || feeds { Interest::Any } else { Interest::Ready };
        let mut pause = PAUSES.0;
        let mut ended = None;
        while !shutdown.is_stopping() {
            if self.settler.is_closed() {
                // An observer panicked, say: without a settler everything would be run again and again.
                return Err(Error::new(
                    ErrorKind::Internal,
                    "run",
                    "nothing can be settled any more: the settler ended",
                ));
            }
            // Both are registered before anything is read, so no change in between is missed.
            let mut freed = self.slots.changes();
            let hint = self.broker.wait_for(interest, &queues);
            let round = self.round().await;
            match &round {
                Ok(round) => self.presence.claimed(!round.asked.is_empty()),
                Err(error) => self.presence.failed(error),
            }
            let (ready, starved, wait) = match round {
                Ok(round) if round.more => {
                    pause = PAUSES.0;
                    continue;
                }
                Ok(round) if until_ended && self.all_ended(&round) => {
                    // Asked one after the other, so a task may have gone from one that was still to be asked to one that was
                    // asked already. Not if all were ended twice, and none got a task in between.
                    if self.turns.served().len() == 1 || ended.as_ref() == Some(&round.asked) {
                        return Ok(());
                    }
                    ended = Some(round.asked);
                    continue;
                }
                Ok(round) => {
                    pause = PAUSES.0;
                    (round.ready, round.starved || until_ended, round.next)
                }
                Err(error) if error.is_retryable() => {
                    tracing::warn!(error = %error.report(), "nothing can be claimed; trying again");
                    let wait = pause;
                    pause = (pause * 2).min(PAUSES.1);
                    (false, true, wait)
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                () = shutdown.stopping() => {}
                _ = freed.changed(), if starved => {}
                () = self.app.news.notified() => {}
                () = hint, if ready => {}
                () = tokio::time::sleep(wait), if !planted(Defect::HintsAreData) => {}
            }
        }
        Ok(())
    }

    /// The queues whose changes concern this worker: those it serves, and those that must have room.
    fn interesting(&self) -> Vec<QueueName> {
        let served = self.turns.served();
        served
            .iter()
            .flat_map(|served| std::iter::once(&served.queue).chain(&served.feeds))
            .cloned()
            .collect()
    }

    /// Whether every queue was closed and joined when it was asked, and nothing runs.
    fn all_ended(&self, round: &Round) -> bool {
        let all = round.asked.len() == self.turns.served().len() && round.asked.values().all(Option::is_some);
        all && self.slots.counts().taken == 0
    }

    async fn round(&mut self) -> Result<Round> {
        let mut round =
            Round { more: false, asked: BTreeMap::new(), ready: false, starved: false, next: POLL };
        if self.solitude.forbids(self.slots.counts().taken) {
            round.starved = true;
            return Ok(round);
        }
        let mut left = Vec::new();
        let mut order = self.turns.round(|mode| self.slots.free(mode));
        // The queue for whose sake this process became idle is asked while it is: before the others fill its slots.
        let first = self.solitude.waited_on.filter(|_| self.slots.counts().taken == 0);
        order.sort_by_key(|(index, _)| Some(*index) != first);
        for (index, share) in order {
            let share = if Some(index) == first { 1 } else { share };
            if share == 0 || self.claim(index, share, &mut round).await? {
                left.push(index);
            }
        }
        // What others left of their shares.
        for index in left {
            let free = self.slots.free(self.turns.served()[index].mode);
            self.claim(index, free, &mut round).await?;
        }
        Ok(round)
    }

    /// Claims from one queue and starts what it gets; tells whether there may be more.
    async fn claim(&mut self, index: usize, max: usize, round: &mut Round) -> Result<bool> {
        let taken = self.slots.counts().taken;
        let Served { queue, mode, .. } = &self.turns.served()[index];
        let max = max.min(self.slots.free(*mode)).min(self.app.room_of(queue)).min(limits::MAX_BATCH);
        if max == 0 || self.solitude.forbids(taken) {
            round.starved = true;
            return Ok(false);
        }
        let Served { queue, mode, feeds, .. } = self.turns.served()[index].clone();
        // A process of its own is as good as a worker that runs nothing else.
        let isolated = self.app.isolates(&queue);
        let claim = Claim { queue, max, lease: self.lease, idle: taken == 0 || isolated, feeds };
        let began = Instant::now();
        at(Point::ClaimsAsking);
        // Driven to its end, whatever happens: what is claimed for nobody would stay leased.
        self.reports.asked(index);
        let answer = self.broker.claim(&claim).await;
        self.reports.answered(index, &answer);
        let ClaimReply { tasks, waiting_alone, ended, next, mark, leased, .. } = answer?;
        let began = leased.unwrap_or(began);
        at(Point::ClaimsAnswered);
        round.asked.insert(index, ended.then_some(mark));
        round.ready = true;
        round.next = round.next.min(next.unwrap_or(POLL)).max(Duration::from_millis(1));
        let full = tasks.len() == max;
        round.more |= full;
        self.turns.got(index, tasks.len(), !full);
        if isolated && waiting_alone > 0 && !tasks.is_empty() {
            // One is handed out at a time.
            round.more = true;
        } else if waiting_alone > 0 {
            // It waits for this process to be idle, or for another one.
            round.starved = true;
            self.solitude.hold(index, taken + tasks.len(), self.lease);
        }
        if waiting_alone == 0 && self.solitude.waited_on == Some(index) {
            self.solitude.waited_on = None;
        }
        if !tasks.is_empty() && began.elapsed() >= self.lease * 2 / 3 {
            tracing::warn!(
                queue = %claim.queue,
                tasks = tasks.len(),
                "the answer to a claim came so late that its leases may be over: its tasks are given back, and not begun"
            );
            tasks.into_iter().for_each(|task| self.give_back(task, mode));
            return Ok(full);
        }
        for task in self.adopt(tasks, began).await {
            // A queue of processes may be sent a task of another kind of handler.
            let in_process =
                self.app.handlers.get(&task.name).is_none_or(|known| known.handler.mode() == Mode::Process);
            self.solitude.running |= task.alone && !(isolated && in_process);
            self.start(task, mode, began);
        }
        Ok(full)
    }

    /// Lets runs that go on here have the new leases of their tasks, where the old ones are over: a broker that lost its connection to this
    /// process hands out again what runs in it. Returns the other tasks, which are to be started.
    async fn adopt(&self, tasks: Vec<ClaimedTask>, began: Instant) -> Vec<ClaimedTask> {
        // Only what was handed out and lost before can run here. What must run alone is no longer trusted.
        let may_run = |task: &&ClaimedTask| task.deaths > 0 && !task.alone;
        let running = |task: &ClaimedTask| {
            let run = self.leases.run_of(task)?;
            Some((task.lease.clone(), run.lease(), run))
        };
        let runs: Vec<_> = tasks.iter().filter(may_run).filter_map(running).collect();
        if runs.is_empty() {
            return tasks;
        }
        // All in one call: after a lost connection there are as many as slots, and their leases run. Where an old one is kept, the new one is
        // of another copy of the task.
        let beats: Vec<_> = runs.iter().map(|(_, old, _)| old.clone().into()).collect();
        let beaten = self.broker.beat(&beats, self.lease).await.unwrap_or_default();
        let over = runs.into_iter().zip(beaten).filter(|(_, beaten)| *beaten == Beaten::Lost);
        let adopted: Vec<_> = over
            .filter(|((new, old, run), _)| run.adopt(old, new.clone(), began))
            .map(|((new, ..), _)| new)
            .collect();
        for Lease { id, queue, .. } in &adopted {
            tracing::info!(task = %id, %queue, "the task was handed out again and still runs here: it goes on");
        }
        tasks.into_iter().filter(|task| !adopted.contains(&task.lease)).collect()
    }

    /// Gives a task back that was not begun. If its lease is over, the broker says so.
    fn give_back(&self, task: ClaimedTask, mode: Mode) {
        let held = self.leases.hold(&task, Instant::now());
        let slot = self.slots.take(mode);
        // The settler outlives the claims; if it is gone, the process is ending and the lease runs out.
        let _ = self.settler.send(Ended { task, end: End::Release, held, slot, ran: false });
    }

    fn start(&self, mut task: ClaimedTask, mode: Mode, began: Instant) {
        if let Some((limit, longest)) =
            task.run_limit.zip(self.max_run).filter(|(limit, longest)| limit > longest)
        {
            // Where it was sent, nobody knew: an earlier version, or a program that was told another time of the server.
            tracing::warn!(
                task = %task.lease.id, queue = %task.lease.queue, run_limit = ?limit,
                "the task was sent with a longer run limit than the broker allows: it is stopped after {}",
                write_duration(longest)
            );
        }
        task.run_limit = task.run_limit.into_iter().chain(self.max_run).min();
        let registered = self.app.handlers.get(&task.name).cloned();
        if let Some(registered) = &registered {
            registered.handler.reserve();
        }
        let held = self.leases.hold(&task, began);
        let slot = self.slots.take(mode);
        let (observer, settler) = (Arc::clone(&self.observer), self.settler.clone());
        // Its slot tells when it ended; nothing else waits for it.
        let around = Around { broker: Arc::clone(&self.broker), max_run: self.max_run };
        tokio::spawn(runner::run(around, task, registered, held, slot, observer, settler));
        at(Point::ClaimsStarted);
    }
}

impl Solitude {
    /// Whether nothing may be claimed now, with so many tasks running.
    fn forbids(&mut self, taken: usize) -> bool {
        if taken == 0 {
            *self = Self { waited_on: self.waited_on, ..Self::default() };
            return false;
        }
        let now = Instant::now();
        match self.holding_until {
            Some(until) if now >= until => {
                self.holding_until = None;
                self.relenting_until = Some(now + RELENT);
                self.running
            }
            Some(_) => true,
            None => self.running,
        }
    }

    /// A task waits to run alone while this process is busy: holds back to become idle. Not for ever, as what runs may
    /// take hours, and every worker would wait for the same task.
    fn hold(&mut self, queue: usize, taken: usize, at_most: Duration) {
        let now = Instant::now();
        self.waited_on = Some(queue);
        if taken > 0 && self.relenting_until.is_none_or(|until| now >= until) {
            self.holding_until.get_or_insert(now + at_most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_back_for_a_while_only() {
        let mut solitude = Solitude::default();
        assert!(!solitude.forbids(1), "nothing waits");
        solitude.hold(0, 1, Duration::from_secs(60));
        assert!(solitude.forbids(1), "one waits");
        assert!(!solitude.forbids(0), "idle");
        solitude.hold(0, 1, Duration::ZERO);
        assert!(!solitude.forbids(1), "held back long enough");
        solitude.hold(0, 1, Duration::from_secs(60));
        assert!(!solitude.forbids(1), "not again at once");
    }

    #[test]
    fn nothing_runs_beside_one_that_runs_alone() {
        let mut solitude = Solitude { running: true, ..Solitude::default() };
        assert!(solitude.forbids(1));
        assert!(!solitude.forbids(0), "it ended");
        assert!(!solitude.forbids(1));
    }
}
