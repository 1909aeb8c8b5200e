//! The life of one warm child: it is given tasks, until it is replaced.

use std::{
    collections::VecDeque,
    future::pending,
    ops::Range,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::Either;
use manyhands_broker::{Enqueued, Payload};
use tokio::time::Sleep;

use super::{
    command::DRAIN,
    keeper::{After, GOODBYE, Keeper, started},
    memory,
    pool::{Job, Shared},
    protocol::{self, Put, Said},
    verdict::{self, over, stopped, too_much},
    warm::{News, Warm, Wrong, heard},
};
use crate::TaskError;

/// How much work a child is given ahead: what it has may wait for it so long, while another child becomes idle.
const AHEAD: Duration = Duration::from_millis(10);

/// How many children may refuse a task before that is a failure of the task.
const REFUSALS: u32 = 3;

/// A child at work.
pub(super) struct Serving<'k> {
    keeper: &'k mut Keeper,
    child: Warm,
    /// What the child has, in the order in which it was given: it runs the first.
    window: VecDeque<Given>,
    /// How many more tasks it is offered for.
    room: usize,
    /// How many it was given, and how many of those it answered.
    given: u32,
    answered: u32,
    /// It is offered for no more tasks, and goes when it has answered those that it has.
    closing: bool,
    /// It reads no more.
    deaf: bool,
    /// When it died.
    dead: Option<Instant>,
    /// It is counted among the idle ones.
    idle: bool,
    /// When the first task began, and how long one takes, as a mean in which the last ones count most.
    began: Instant,
    pace: Option<Duration>,
    /// The end of the time of the first task.
    limit: Option<(Duration, Pin<Box<Sleep>>)>,
    /// What the first task enqueues, and waits for.
    putting: Option<Putting>,
}

/// A task on its way to a queue, and the number of what asked for it.
type Putting = Pin<Box<dyn Future<Output = (u64, Result<Enqueued, TaskError>)> + Send>>;

/// A task that the child has.
struct Given {
    job: Job,
    /// Where its line begins and ends.
    line: Range<u64>,
}

/// What happens next.
enum Event {
    News(News),
    Job(Option<Job>),
    Deaf,
    Died,
    Stop,
    Limit(Duration),
    Memory(u64),
    Aged,
    NextStarted,
    Put(u64, Result<Enqueued, TaskError>),
    Ending,
}

/// Why a child runs no more tasks, by force.
enum Fault {
    /// It ended, or closed its standard output.
    Ended,
    /// It reads no more.
    Deaf,
    /// It said what it should not have.
    Wrong(Wrong),
    Stopped,
    Limit(Duration),
    Memory(u64),
}

impl<'k> Serving<'k> {
    pub(super) fn new(child: Warm, keeper: &'k mut Keeper) -> Self {
        let window = VecDeque::new();
        let mut serving = Self {
            keeper,
            child,
            window,
            room: 0,
            given: 0,
            answered: 0,
            closing: false,
            deaf: false,
            dead: None,
            idle: false,
            began: Instant::now(),
            pace: None,
            limit: None,
            putting: None,
        };
        if let Some(job) = serving.keeper.solitary.take() {
            serving.take(job);
        }
        serving
    }

    /// Until the child is replaced, or the pool ends.
    pub(super) async fn serve(mut self) -> After {
        loop {
            self.offer();
            if self.closing && self.window.is_empty() && self.dead.is_none() {
                return self.leave();
            }
            let fault = match self.event().await {
                Event::Ending => {
                    self.withdraw();
                    self.child.dismiss(GOODBYE).await;
                    return After::End;
                }
                Event::Job(Some(job)) => {
                    self.room -= 1;
                    self.take(job);
                    continue;
                }
                Event::Put(number, answer) => {
                    self.putting = None;
                    self.child.outbox().push(&protocol::put_answer(number, answer));
                    continue;
                }
                Event::Aged => {
                    self.keeper.start_next();
                    continue;
                }
                Event::Job(None) | Event::NextStarted => {
                    self.close();
                    continue;
                }
                Event::Died => {
                    // What it said is still read. What it left behind may hold the pipe, and what has left its group for ever.
                    self.child.kill_group();
                    self.dead = Some(Instant::now());
                    self.close();
                    continue;
                }
                Event::Deaf if self.has_first() => {
                    // It may still answer what it has read.
                    self.deaf = true;
                    self.close();
                    continue;
                }
                Event::News(News::Said(said)) => match self.hear(said) {
                    Ok(()) => continue,
                    Err(wrong) => Fault::Wrong(wrong),
                },
                Event::News(News::Wrong(wrong)) => Fault::Wrong(wrong),
                Event::News(News::Ended) => Fault::Ended,
                Event::Deaf => Fault::Deaf,
                Event::Stop => Fault::Stopped,
                Event::Limit(limit) => Fault::Limit(limit),
                Event::Memory(has) => Fault::Memory(has),
            };
            self.end(fault).await;
            return After::Replace;
        }
    }

    /// Says for how many more tasks there is room.
    fn offer(&mut self) {
        if !self.closing {
            let most = self.keeper.pool.outfit.most_tasks.unwrap_or(u32::MAX);
            let left = usize::try_from(most.saturating_sub(self.given)).unwrap_or(usize::MAX);
            let room = (1 + self.ahead()).saturating_sub(self.window.len()).min(left);
            match room.checked_sub(self.room) {
                Some(more) => self.keeper.offer(more),
                None => self.keeper.withdraw(self.room - room),
            }
            self.room = room;
            if left == 0 {
                self.close();
            }
        }
        if self.child.ahead() > 0 {
            self.count(self.window.is_empty() && self.room > 0);
        }
    }

    /// How many tasks it is given beside the one that it runs: only as many as it will have done in a moment, as far as it is known.
    fn ahead(&self) -> usize {
        let most = self.child.ahead();
        match self.pace {
            _ if most == 0 => 0,
            None => 0,
            Some(pace) => {
                usize::try_from(AHEAD.as_nanos() / pace.as_nanos().max(1)).unwrap_or(most).min(most)
            }
        }
    }

    /// Is counted among the idle children, or not.
    fn count(&mut self, idle: bool) {
        if self.idle != idle {
            self.idle = idle;
            self.keeper.pool.idle.send_modify(|n| if idle { *n += 1 } else { *n -= 1 });
        }
    }

    fn withdraw(&mut self) {
        self.keeper.withdraw(std::mem::take(&mut self.room));
        self.count(false);
    }

    /// No more tasks: another child is made ready, while this one answers what it has.
    fn close(&mut self) {
        if !self.closing {
            self.closing = true;
            self.withdraw();
            if !self.window.is_empty() || self.keeper.solitary.is_some() {
                self.keeper.start_next();
            }
        }
    }

    fn leave(mut self) -> After {
        self.withdraw();
        self.keeper.dismiss(self.child);
        After::Replace
    }

    /// Takes a task, if it was not taken back.
    fn take(&mut self, job: Job) {
        let alone = job.context.alone();
        if alone && (self.given > 0 || self.closing) {
            // The next child is for it only, so that what dies with it dies of it. It can be taken back until then.
            self.keeper.solitary = job.put_back();
            return self.close();
        }
        if !job.begin() {
            return;
        }
        let limit = job.context.limit(self.keeper.pool.outfit.limit);
        let ahead = !self.window.is_empty();
        match protocol::task(&self.keeper.pool.outfit.name, &job.payload, &job.context, limit, ahead) {
            Ok(line) => {
                let line = self.child.outbox().push(&line);
                self.given += 1;
                self.window.push_back(Given { job, line });
                if !ahead {
                    self.begin_first();
                }
            }
            Err(error) => {
                job.answer(Err(TaskError::bury(format!("the payload cannot be handed on: {error}"))));
            }
        }
        if alone {
            self.close();
        }
    }

    /// Whether the child can have all of its first task.
    fn has_first(&mut self) -> bool {
        let taken = self.child.outbox().taken();
        self.window.front().is_some_and(|first| taken >= first.line.end)
    }

    /// The time of the first task begins.
    fn begin_first(&mut self) {
        self.began = Instant::now();
        let limit =
            self.window.front().and_then(|first| first.job.context.limit(self.keeper.pool.outfit.limit));
        self.limit = limit.map(|limit| (limit, Box::pin(tokio::time::sleep(limit))));
    }

    /// Waits for what happens next.
    ///
    /// # Cancel safety
    /// Cancel safe.
    async fn event(&mut self) -> Event {
        let may_take = self.room > 0 && self.keeper.solitary.is_none();
        let busy = !self.window.is_empty();
        let writes = !self.deaf || !self.has_first();
        let Self { keeper, child, window, limit, closing, putting, dead, .. } = self;
        let Keeper { pool, next, .. } = &mut **keeper;
        let (pid, began, ahead) = (child.pid(), child.began(), child.ahead());
        let (aging, coming) = (!*closing && next.is_none(), !*closing && next.is_some());
        let first = window.front().map(|given| &given.job.context);
        let (outbox, said, process) = child.split();
        tokio::select! {
            biased;
            said = said.recv() => Event::News(heard(said)),
            () = first.map_or_else(|| Either::Right(pending()), |first| Either::Left(first.stopped())) => Event::Stop,
            limit = over_time(limit) => Event::Limit(limit),
            _ = outbox.flush(), if writes => Event::Deaf,
            (number, answer) = under_way(putting) => Event::Put(number, answer),
            job = next_job(pool, busy, ahead), if may_take => Event::Job(job),
            has = memory::exceeded(pid, pool.outfit.limits.memory), if busy => Event::Memory(has),
            () = aged(began, pool.outfit.most_age), if aging => Event::Aged,
            () = started(next), if coming => Event::NextStarted,
            () = process.ended(), if dead.is_none() => Event::Died,
            () = silent(*dead) => Event::News(News::Ended),
            () = pool.ending.cancelled(), if !busy => Event::Ending,
        }
    }

    /// Takes in what the child says of a task.
    ///
    /// # Errors
    /// Why it should not have said that.
    fn hear(&mut self, said: Said) -> Result<(), Wrong> {
        let wrong = |why: String| Err(Wrong::NotNow(why));
        let (id, news) = match said {
            Said::Of { id, news } => (id, news),
            Said::Hello(_) => return wrong("the handler said hello twice".to_owned()),
            // They are in the log already.
            Said::Log { .. } => return Ok(()),
        };
        let Some(first) = self.window.front().filter(|given| given.job.context.id().to_string() == id) else {
            let id: String = id.chars().take(200).collect();
            return wrong(match self.window.is_empty() {
                true => format!("it spoke of the task {id:?} while it had none"),
                false => format!("the handler spoke of another task than the one that it is to run: {id:?}"),
            });
        };
        let context = &first.job.context;
        match news {
            protocol::News::Answer(answer) => {
                let answer = verdict::answered(answer, context, &self.keeper.pool.outfit.routes);
                self.putting = None;
                self.answered(answer);
            }
            protocol::News::Progress(progress) => {
                if let Err(error) = context.tell(progress) {
                    let (name, why) = (&self.keeper.pool.outfit.name, error.message());
                    tracing::warn!(target: "handler", task = %name, id, "its progress is not told: {why}");
                }
            }
            protocol::News::Then(tasks) => {
                for task in tasks {
                    let handed_on =
                        task.task(&self.keeper.pool.outfit.routes).map_err(verdict::not_handed_on);
                    if let Err(error) = handed_on.and_then(|task| context.then_task(task)) {
                        // As it goes on with what can never be settled, it is ended.
                        return Err(Wrong::HandedOn(error));
                    }
                }
            }
            protocol::News::Put(_) if self.putting.is_some() => {
                return wrong("it enqueues a task before it has the answer for the last one".to_owned());
            }
            protocol::News::Put(Put { number, task }) => {
                let (context, task) = (context.clone(), task.task(&self.keeper.pool.outfit.routes));
                self.putting = Some(Box::pin(async move {
                    let put = match task {
                        Ok(task) => context.put(task).await,
                        Err(error) => Err(TaskError::bury(error.report())),
                    };
                    (number, put)
                }));
            }
        }
        Ok(())
    }

    /// The first task has an answer.
    fn answered(&mut self, answer: Result<Option<Payload>, TaskError>) {
        self.answered += 1;
        let took = self.began.elapsed();
        self.pace = Some(self.pace.map_or(took, |pace| pace.saturating_mul(7).saturating_add(took) / 8));
        self.keeper.pool.failures.well();
        if let Some(first) = self.window.pop_front() {
            first.job.answer(answer);
        }
        self.begin_first();
        let most = self.keeper.pool.outfit.most_memory;
        if most.is_some_and(|most| memory::resident(self.child.pid()) > most) {
            self.close();
        }
    }

    /// The child is of no use any more: ends it, and tells what that means for the tasks that it had.
    async fn end(mut self, fault: Fault) {
        self.withdraw();
        let pool = Arc::clone(&self.keeper.pool);
        let (began, answered) = (self.child.began(), self.answered);
        let first = self.window.pop_front();
        // A child that reads nothing and is gone never had the task.
        let given = first.as_ref().is_some_and(|first| self.child.outbox().taken() > first.line.start);
        let ended = match &fault {
            Fault::Ended | Fault::Deaf => self.child.end().await,
            _ => self.child.kill().await,
        };
        // It runs one after the other: the others have not begun.
        self.keeper.put_back(self.window.into_iter().map(|given| given.job));
        let Some(Given { mut job, .. }) = first else {
            let why = match fault {
                Fault::Wrong(wrong) => format!("{wrong} ({ended})"),
                _ => format!("it ended while it waited for a task ({ended})"),
            };
            return self.keeper.failed(began, &why);
        };
        if answered == 0 && !matches!(fault, Fault::Stopped | Fault::Limit(_)) {
            pool.failures.failed(began);
        }
        let answer = match fault {
            Fault::Ended | Fault::Deaf if !given && job.refused < REFUSALS => {
                job.refused += 1;
                return self.keeper.put_back([job]);
            }
            Fault::Ended | Fault::Deaf => Err(match &ended.exit {
                Ok(exit) if ended.by_itself => verdict::crashed(*exit, &ended.words),
                _ => TaskError::retry(format!(
                    "the handler's process closed its input or output before it answered, and was killed{}",
                    ended.words
                )),
            }),
            Fault::Wrong(Wrong::HandedOn(error)) => Err(error),
            Fault::Wrong(wrong @ Wrong::TooLong) => Err(TaskError::bury(wrong.to_string())),
            Fault::Wrong(wrong) => Err(TaskError::retry(format!("{wrong}{}", ended.words))),
            Fault::Stopped => Err(stopped()),
            Fault::Limit(limit) => Err(over(limit)),
            Fault::Memory(has) => Err(too_much(has, pool.outfit.limits.memory, &ended.words)),
        };
        job.answer(answer);
    }
}

/// Completes when the time of the first task is over.
async fn over_time(limit: &mut Option<(Duration, Pin<Box<Sleep>>)>) -> Duration {
    match limit {
        Some((limit, sleep)) => {
            sleep.as_mut().await;
            *limit
        }
        None => pending().await,
    }
}

/// Completes when what is to be enqueued is, or cannot be.
async fn under_way(putting: &mut Option<Putting>) -> (u64, Result<Enqueued, TaskError>) {
    match putting {
        Some(putting) => putting.await,
        None => pending().await,
    }
}

/// Completes when a child that is dead says nothing more.
async fn silent(dead: Option<Instant>) {
    match dead {
        Some(since) => tokio::time::sleep(DRAIN.saturating_sub(since.elapsed())).await,
        None => pending().await,
    }
}

/// Completes when a child is so old.
async fn aged(began: Instant, most: Option<Duration>) {
    match most {
        Some(most) => tokio::time::sleep(most.saturating_sub(began.elapsed())).await,
        None => pending().await,
    }
}

/// The next task. A child that has one already leaves it to those that have none.
///
/// # Cancel safety
/// Cancel safe.
async fn next_job(pool: &Shared, busy: bool, ahead: usize) -> Option<Job> {
    if !busy || ahead == 0 {
        return pool.jobs.lock().await.recv().await;
    }
    let mut idle = pool.idle.subscribe();
    loop {
        // The sender lives in the pool.
        let _ = idle.wait_for(|idle| *idle == 0).await;
        tokio::select! {
            biased;
            job = async { pool.jobs.lock().await.recv().await } => return job,
            _ = idle.wait_for(|idle| *idle > 0) => {}
        }
    }
}
