//! The machine and a broker, side by side.

use std::{
    fmt::Debug,
    time::{Duration, SystemTime},
};

use manyhands_broker::{
    BatchName, Beat, Broker, Claim, DeadLetters, End, ErrorKind, Lease, LimitKey, Lookup, NewTask, Payload,
    QueueName, QueueStatus, Settlement, Start, State, TaskId, TaskName, Token, Unique, Wanted,
    clock::{Clock, ManualClock, Now},
    machine::Machine,
};
use proptest::prelude::*;

use super::{history::*, store::Store};

/// How long a death may go unnoticed. Only a broken broker takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// The machine and a broker, side by side.
pub(crate) struct Pair {
    clock: ManualClock,
    machine: Machine,
    store: Store,
    sessions: Vec<Box<dyn Broker>>,
    /// All that were ever given, the stale ones too.
    leases: Vec<Lease>,
    /// The tasks that were ever made, so many that each has a payload of its own.
    made: Vec<TaskId>,
    /// The calls that were made with a token.
    calls: Vec<(Vec<NewTask>, Token)>,
}

/// What a call says that may be refused, in words that can be compared.
type Said<T> = Result<T, (ErrorKind, String)>;

fn said<T>(answer: manyhands_broker::Result<T>) -> Said<T> {
    answer.map_err(|e| (e.kind(), e.report()))
}

impl Pair {
    fn now(&self) -> Now {
        self.clock.now()
    }

    pub(crate) fn new(
        clock: ManualClock,
        machine: Machine,
        store: Store,
        sessions: Vec<Box<dyn Broker>>,
    ) -> Self {
        Self { clock, machine, store, sessions, leases: Vec::new(), made: Vec::new(), calls: Vec::new() }
    }

    pub(crate) async fn run(&mut self, history: &[Op]) -> Result<(), TestCaseError> {
        for (number, op) in history.iter().enumerate() {
            let at = |e: TestCaseError| TestCaseError::fail(format!("step {number}, {op:?}: {e}"));
            self.step(op).await.map_err(at)?;
            self.compare_queues().await.map_err(at)?;
        }
        let after = |e: TestCaseError| TestCaseError::fail(format!("after the last step: {e}"));
        self.look_books_through().await.map_err(after)?;
        self.take_everything().await.map_err(after)?;
        self.look_books_through().await.map_err(after)
    }

    /// Whatever the history was, it left nothing behind that no step leaves.
    async fn look_books_through(&self) -> Result<(), TestCaseError> {
        let report = self.store.witness().fsck().unwrap().fsck(false).await.unwrap();
        agree("fsck", &report.findings, &Vec::new())
    }

    async fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::Enqueue { session, tasks, token } => {
                let tasks = self.tasks(tasks);
                let token = token.then(|| Token::next(self.sessions[*session].incarnation()));
                self.calls.extend(token.map(|token| (tasks.clone(), token)));
                self.enqueue(*session, &tasks, token).await
            }
            Op::Repeat { session, call } => match call.of(&self.calls) {
                Some((tasks, token)) => self.enqueue(*session, &tasks, Some(token)).await,
                None => Ok(()),
            },
            Op::Declare { session, queue: name, options: number } => {
                let (name, options) = (queue(*name), number.map(options));
                let real = self.sessions[*session].declare(&name, options.as_ref()).await;
                let model = self.machine.declare(&name, options.as_ref());
                agree("declare", &said(real), &said(model))
            }
            Op::Claim { session, queue: name, max, idle, feeds, lease } => {
                let claim = Claim::new(queue(*name), *max)
                    .with_idle(*idle)
                    .with_feeds(feeds.iter().map(|feed| queue(*feed)).collect())
                    .with_lease(Duration::from_secs(*lease));
                self.claim(*session, &claim).await.map(drop)
            }
            Op::Beat { session, beats, lease } => {
                let beat = |(earlier, told): &(Earlier, Option<u8>)| {
                    let progress = told.map(|told| Payload::encode(&told).unwrap());
                    Some(Beat { lease: self.lease(earlier)?, progress })
                };
                let beats: Vec<Beat> = beats.iter().filter_map(beat).collect();
                let lease = Duration::from_secs(*lease);
                let real = self.sessions[*session].beat(&beats, lease).await.unwrap();
                agree("beat", &real, &self.machine.beat(&beats, lease, self.now()))
            }
            Op::Settle { session, ends } => {
                let mut settlements = Vec::new();
                for (earlier, end) in ends {
                    let end = self.end(end);
                    settlements.extend(self.lease(earlier).map(|lease| Settlement::new(lease, end)));
                }
                let real = self.sessions[*session].settle(&settlements).await;
                let model = self.machine.settle(&settlements, self.now());
                agree("settle", &said(real), &said(model))
            }
            Op::Close { session, queue: name } => {
                self.sessions[*session].close(&queue(*name)).await.unwrap();
                self.machine.close(&queue(*name));
                Ok(())
            }
            Op::Pause { session, queue: name, paused } => {
                let (real, name) = (&self.sessions[*session], queue(*name));
                if *paused {
                    let (by, now) = (format!("operator {session}"), self.now());
                    real.pause(&name, &by).await.unwrap();
                    self.machine.pause(&name, &by, now);
                } else {
                    real.resume(&name).await.unwrap();
                    self.machine.resume(&name);
                }
                Ok(())
            }
            Op::Cancel { session, queue: name, ids } => {
                let (name, ids, now) = (queue(*name), self.ids(ids), self.now());
                let real = self.sessions[*session].cancel(&name, &ids).await.unwrap();
                agree("cancel", &real, &self.machine.cancel(&name, &ids, now))
            }
            Op::Outcomes { session, queue: name, ids } => {
                let ids = self.ids(ids);
                self.outcomes(*session, &queue(*name), &ids).await
            }
            Op::List { session, queue: name, after, max } => {
                let name = queue(*name);
                let real = self.dead_letters(*session).list(&name, *after, *max).await.unwrap();
                agree("list", &real, &self.machine.dead(&name, *after, *max))
            }
            Op::Revive { session, queue: name, ids } => {
                let ids = self.ids(ids);
                self.revive(*session, &queue(*name), &ids).await
            }
            Op::Purge { session, queue: name, ids } => {
                let (name, ids) = (queue(*name), self.ids(ids));
                let real = self.dead_letters(*session).purge(&name, &ids).await.unwrap();
                agree("purge", &real, &self.machine.purge(&name, &ids))
            }
            Op::Set { session, queue: name, options: number, known } => {
                let (name, options) = (queue(*name), options(*number));
                let revision = self.machine.status(&name).map_or(1, |status| status.revision);
                let revision = if *known { revision } else { revision + 1 };
                let real = self.lookup(*session).set(&name, &options, revision).await;
                let model = self.machine.set(&name, &options, revision, self.now());
                agree("set", &said(real), &said(model))
            }
            Op::PurgeWaiting { session, queue: name, states, max } => {
                let (name, now) = (queue(*name), self.now());
                let real = self.lookup(*session).purge(&name, states, *max).await;
                let model = self.machine.purge_waiting(&name, states, *max, now);
                agree("purge of what waits", &said(real), &said(model))
            }
            Op::Advance { ms } => {
                self.advance(Duration::from_millis(*ms));
                Ok(())
            }
            Op::Die { session } => self.die(*session).await,
        }
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.store.moved(&self.clock);
    }

    async fn enqueue(
        &mut self,
        session: usize,
        tasks: &[NewTask],
        token: Option<Token>,
    ) -> Result<(), TestCaseError> {
        let real = self.sessions[session].enqueue(tasks, token).await;
        let model = self.machine.enqueue(tasks, token, self.now());
        agree("enqueue", &said(real), &said(model))
    }

    async fn outcomes(&self, session: usize, name: &QueueName, ids: &[TaskId]) -> Result<(), TestCaseError> {
        let real = self.sessions[session].outcomes(name, ids).await.unwrap();
        agree("outcomes", &real, &self.machine.outcomes(name, ids, self.now()))
    }

    async fn revive(
        &mut self,
        session: usize,
        name: &QueueName,
        ids: &[TaskId],
    ) -> Result<(), TestCaseError> {
        let real = self.dead_letters(session).revive(name, ids).await.unwrap();
        let now = self.now();
        agree("revive", &real, &self.machine.revive(name, ids, now))
    }

    fn lookup(&self, session: usize) -> &dyn Lookup {
        self.sessions[session].lookup().unwrap()
    }

    fn dead_letters(&self, session: usize) -> &dyn DeadLetters {
        self.sessions[session].dead_letters().unwrap()
    }

    /// Claims on both sides and tells what that gave.
    async fn claim(&mut self, session: usize, claim: &Claim) -> Result<Vec<Lease>, TestCaseError> {
        let session = &self.sessions[session];
        let real = session.claim(claim).await.unwrap();
        let model = self.machine.claim(claim, session.incarnation(), self.now());
        agree("claim", &real, &model)?;
        let leases: Vec<Lease> = real.tasks.into_iter().map(|task| task.lease).collect();
        self.leases.extend_from_slice(&leases);
        Ok(leases)
    }

    /// Lets a session die, waits until it is noticed, and starts another in its place.
    async fn die(&mut self, session: usize) -> Result<(), TestCaseError> {
        let dead = self.sessions.remove(session);
        if self.store.notices_deaths() {
            self.machine.expire_holder(dead.incarnation(), self.now());
        }
        drop(dead);
        let queues = QUEUES.map(|name| QueueName::new(name).unwrap());
        let noticed = async {
            loop {
                let changed = self.store.witness().wait(&queues);
                if self.compare_queues().await.is_ok() {
                    return;
                }
                // Whether it was the hint or the time-out does not matter: both ask again.
                let _ = tokio::time::timeout(Duration::from_millis(200), changed).await;
            }
        };
        if tokio::time::timeout(PATIENCE, noticed).await.is_err() {
            self.compare_queues().await?;
        }
        let session_again = self.store.session(&self.clock).await;
        self.sessions.insert(session, session_again);
        Ok(())
    }

    async fn compare_queues(&self) -> Result<(), TestCaseError> {
        for name in QUEUES.map(|name| QueueName::new(name).unwrap()) {
            let real: Option<QueueStatus> = self.store.witness().status(&name).await.unwrap();
            agree(&format!("status of {name}"), &real, &self.machine.status(&name))?;
            let real = self.store.witness().dead_letters().unwrap().list(&name, None, 256).await.unwrap();
            agree(&format!("the dead of {name}"), &real, &self.machine.dead(&name, None, 256))?;
        }
        self.compare_tasks().await?;
        for batch in BATCHES.map(|name| BatchName::new(name).unwrap()) {
            let real = self.store.witness().batch(&batch).await.unwrap();
            agree(&format!("batch {batch}"), &real, &self.machine.batch(&batch, self.now()))?;
        }
        agree("invariants of the machine", &self.machine.check(), &Ok(()))?;
        agree("invariants of the store", &self.store.check(), &Ok(()))
    }

    /// Every task, as an operator sees it: alone, in the list of its state, and why it is not running.
    async fn compare_tasks(&self) -> Result<(), TestCaseError> {
        let (power, now) = (self.store.witness().lookup().unwrap(), self.now());
        let names = QUEUES.map(|name| QueueName::new(name).unwrap());
        let model: Vec<_> = self.machine.names(None, 256);
        agree("the queues", &self.store.witness().queues(None, 256).await.unwrap(), &model)?;
        for (name, state) in names.iter().flat_map(|name| State::ALL.map(|state| (name, state))) {
            let (mut real, mut after) = (Vec::new(), None);
            loop {
                let page = power.list(name, state, after.as_ref(), 2).await.unwrap();
                real.extend(page.tasks);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let mut model = self.machine.list(name, state, None, 256, now).tasks;
            if state == State::Leased {
                // Those whose leases end together have no order among them.
                real.sort_by(|a, b| a.id.cmp(&b.id));
                model.sort_by(|a, b| a.id.cmp(&b.id));
            }
            agree(&format!("what is {state} in {name}"), &real, &model)?;
        }
        let given = IDS.map(|id| TaskId::new(id).unwrap());
        let ids: Vec<TaskId> = self.made.iter().rev().take(2).cloned().chain(given).collect();
        for (name, id) in names.iter().flat_map(|name| ids.iter().map(move |id| (name, id))) {
            let real = power.get(name, id).await.unwrap();
            agree(&format!("task {id} of {name}"), &real, &self.machine.get(name, id, now))?;
            let real = power.why(name, id).await.unwrap();
            agree(&format!("why {id} of {name}"), &real, &self.machine.why(name, id, now))?;
        }
        Ok(())
    }

    /// Looks at all that is left: every task that can be had, and which ids are still known.
    async fn take_everything(&mut self) -> Result<(), TestCaseError> {
        for (number, name) in QUEUES.map(|name| QueueName::new(name).unwrap()).iter().enumerate() {
            self.sessions[0].resume(name).await.unwrap();
            self.machine.resume(name);
            let given = IDS.map(|id| TaskId::new(id).unwrap());
            let ids: Vec<TaskId> = self.made.iter().cloned().chain(given).collect();
            for ids in ids.chunks(256) {
                self.outcomes(0, name, ids).await?;
            }
            for key in 0..KEYS.len() {
                let spec =
                    TaskSpec { unique: Some((key, HoldSpec::For(0))), ..TaskSpec::plain(number, None) };
                let task = self.tasks(&[spec]);
                self.enqueue(0, &task, None).await?;
            }
            for id in 0..IDS.len() {
                let task = self.tasks(&[TaskSpec::plain(number, Some(id))]);
                self.enqueue(0, &task, None).await?;
            }
            let dead = self.machine.dead(name, None, 256);
            let dead: Vec<TaskId> = dead.into_iter().map(|task| task.id).collect();
            self.revive(0, name, &dead).await?;
        }
        self.compare_queues().await?;
        // Past all leases, delays and parks.
        self.advance(Duration::from_secs(120));
        for number in 0..QUEUES.len() {
            let claim = Claim::new(queue(number), 3);
            // Once more when nothing is left, past the intervals between tasks of one key.
            let mut idle = 0;
            while idle < 2 {
                let leases = self.claim(0, &claim).await?;
                if leases.is_empty() {
                    self.advance(Duration::from_secs(30));
                    idle += 1;
                    continue;
                }
                self.compare_queues().await?;
                let ends = leases.into_iter().map(|lease| Settlement::new(lease, End::complete(Vec::new())));
                let ends: Vec<_> = ends.collect();
                let real = self.sessions[0].settle(&ends).await;
                let model = self.machine.settle(&ends, self.now());
                agree("settle", &said(real), &said(model))?;
                self.compare_queues().await?;
                idle = 0;
            }
        }
        Ok(())
    }

    fn tasks(&mut self, specs: &[TaskSpec]) -> Vec<NewTask> {
        specs.iter().map(|spec| self.task(spec)).collect()
    }

    fn task(&mut self, spec: &TaskSpec) -> NewTask {
        let made = self.made.len() + 1;
        let name = TaskName::new(if made.is_multiple_of(2) { "even" } else { "odd" }).unwrap();
        let payload = Payload::encode(&made).unwrap();
        let mut task = NewTask::new(queue(spec.queue), name, payload).with_max_attempts(spec.max_attempts);
        task.max_crashes = spec.max_crashes;
        task.run_limit = made.is_multiple_of(2).then_some(Duration::from_millis(1500));
        let start = match spec.start.map(Duration::from_secs) {
            None => Start::Now,
            // As a time of the clock that the history moves.
            Some(delay) if made.is_multiple_of(3) => {
                let now = Duration::from_millis(self.now().wall);
                Start::At(SystemTime::UNIX_EPOCH + now + delay)
            }
            Some(delay) => Start::After(delay),
        };
        task = task.with_start(start);
        task.priority = spec.priority;
        task.expires = spec.expires.map(Duration::from_secs);
        task.batch = spec.batch.map(|batch| BatchName::new(BATCHES[batch]).unwrap());
        task.key = spec.key.map(|key| LimitKey::new(LIMITED[key]).unwrap());
        task.unique = spec.unique.map(|(key, hold)| match hold {
            HoldSpec::For(seconds) => Unique::and_for(KEYS[key], Duration::from_secs(seconds)).unwrap(),
            HoldSpec::Batch if task.batch.is_none() => Unique::until_settled(KEYS[key]).unwrap(),
            HoldSpec::Batch => Unique::in_batch(KEYS[key]).unwrap(),
        });
        task.result = spec.keep.map_or(Wanted::No, |keep| Wanted::Keep(Duration::from_secs(keep)));
        if let Some(id) = spec.id {
            task = task.with_id(TaskId::new(IDS[id]).unwrap());
        }
        self.made.push(task.id.clone());
        task
    }

    fn ids(&self, named: &[Named]) -> Vec<TaskId> {
        let id = |named: &Named| match named {
            Named::Given(id) => Some(TaskId::new(IDS[*id]).unwrap()),
            Named::Made(earlier) => earlier.of(&self.made),
        };
        named.iter().filter_map(id).collect()
    }

    fn end(&mut self, spec: &EndSpec) -> End {
        let error = "it failed".to_owned();
        match spec {
            EndSpec::Complete(children, result) => End::Complete {
                children: self.tasks(children),
                result: result.map(|result| Payload::encode(&result).unwrap()),
            },
            EndSpec::Retry(delay) => End::Retry { error, delay: Duration::from_secs(*delay) },
            EndSpec::Crash(delay) => End::Crash { error, delay: Duration::from_secs(*delay) },
            EndSpec::Bury => End::Bury { error },
            EndSpec::Release => End::Release,
            EndSpec::Park => End::Park,
        }
    }

    /// `None` as long as there was no lease at all.
    fn lease(&self, earlier: &Earlier) -> Option<Lease> {
        earlier.of(&self.leases)
    }
}

fn agree<T: PartialEq + Debug>(what: &str, real: &T, model: &T) -> Result<(), TestCaseError> {
    prop_assert!(real == model, "{what}: the broker says {real:?}, the machine {model:?}");
    Ok(())
}
