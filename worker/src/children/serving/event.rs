//! What happens next to a child at work.

use std::{
    future::pending,
    pin::Pin,
    time::{Duration, Instant},
};

use futures_util::future::Either;
use manyhands_broker::Enqueued;
use tokio::time::Sleep;

use super::{
    super::{
        command::DRAIN,
        keeper::{Keeper, started},
        memory,
        pool::{Job, Shared},
        warm::{News, heard},
    },
    Putting, Serving,
};
use crate::TaskError;

/// How many messages are taken in before it is seen to what else there is: a child that never stops talking must not live for ever.
const TALK: u32 = 64;

/// What happens next.
pub(super) enum Event {
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
    /// Nothing but talk.
    Nothing,
}

impl Serving<'_> {
    /// Waits for what happens next.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn event(&mut self) -> Event {
        let may_take = self.room > 0 && self.keeper.solitary.is_none();
        let busy = !self.window.is_empty();
        let listens = self.talk < TALK;
        let writes = !self.deaf || !self.has_first();
        let Self { keeper, child, window, limit, closing, putting, dead, looked, since, .. } = self;
        let Keeper { pool, next, .. } = &mut **keeper;
        let (pid, ahead) = (child.pid(), child.ahead());
        let (aging, coming) = (!*closing && next.is_none(), !*closing && next.is_some());
        let first = window.front().map(|given| &given.job.context);
        let (outbox, said, process) = child.split();
        tokio::select! {
            biased;
            said = said.recv(), if listens => Event::News(heard(said)),
            () = first.map_or_else(|| Either::Right(pending()), |first| Either::Left(first.stopped())) => Event::Stop,
            limit = over_time(limit) => Event::Limit(limit),
            _ = outbox.flush(), if writes => Event::Deaf,
            (number, answer) = under_way(putting) => Event::Put(number, answer),
            job = next_job(pool, busy, ahead), if may_take => Event::Job(job),
            has = memory::exceeded(pid, pool.outfit.limits.memory, looked), if busy => Event::Memory(has),
            () = aged(*since, pool.outfit.most_age), if aging => Event::Aged,
            () = started(next), if coming => Event::NextStarted,
            () = process.ended(), if dead.is_none() => Event::Died,
            () = silent(*dead) => Event::News(News::Ended),
            () = pool.ending.cancelled(), if !busy => Event::Ending,
            () = std::future::ready(()), if !listens => Event::Nothing,
        }
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

/// Completes when so much time has passed since then.
async fn aged(since: Instant, most: Option<Duration>) {
    match most {
        Some(most) => tokio::time::sleep(most.saturating_sub(since.elapsed())).await,
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
