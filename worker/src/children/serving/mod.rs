//! The life of one warm child: it is given tasks, until it is replaced.

mod end;
mod event;
mod hear;

use std::{
    collections::VecDeque,
    ops::Range,
    pin::Pin,
    time::{Duration, Instant},
};

use manyhands_broker::Enqueued;
use tokio::time::Sleep;

use self::{end::Fault, event::Event};
use super::{
    keeper::{After, GOODBYE, Keeper, Next},
    pool::Job,
    protocol,
    warm::{News, Warm},
};
use crate::TaskError;

/// How much work a child is given ahead: what it has may wait for it so long, while another child becomes idle.
const AHEAD: Duration = Duration::from_millis(10);
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
    /// When it was started, or the one was that was to take its place and could not.
    since: Instant,
    /// When its memory was looked at.
    looked: Instant,
    /// How many messages were taken in, and nothing else.
    talk: u32,
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

impl<'k> Serving<'k> {
    pub(super) fn new(child: Warm, keeper: &'k mut Keeper) -> Self {
        let window = VecDeque::new();
        let mut serving = Self {
            since: child.began(),
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
            looked: Instant::now(),
            talk: 0,
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
            let event = self.event().await;
            self.talk = if matches!(event, Event::News(_)) { self.talk + 1 } else { 0 };
            let fault = match event {
                Event::Nothing => continue,
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
                Event::Job(None) => {
                    self.close();
                    continue;
                }
                Event::NextStarted => {
                    self.give_way();
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
                self.retire();
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

    /// No more tasks.
    fn close(&mut self) {
        if !self.closing {
            self.closing = true;
            self.withdraw();
        }
    }

    /// No more tasks: another child is made ready, while this one, which is well, answers what it has.
    fn retire(&mut self) {
        if !self.closing && (!self.window.is_empty() || self.keeper.solitary.is_some()) {
            self.keeper.start_next();
        }
        self.close();
    }

    /// The child is old, and the next one is there. If that is of no use, the old one goes on, for as long again.
    fn give_way(&mut self) {
        match self.keeper.next.take() {
            Some(Next::Started(started)) if started.is_err() => {
                self.since = Instant::now();
                if let Err(why) = *started {
                    self.keeper.failed(self.since, &why);
                }
            }
            next => {
                self.keeper.next = next;
                self.close();
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
            return self.retire();
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
            self.retire();
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
}
