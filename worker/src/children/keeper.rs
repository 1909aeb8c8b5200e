//! One place of a pool: a child, and the next when that ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::task::AbortOnDropHandle;

use super::{
    pool::{Job, Shared},
    serving::Serving,
    warm::Warm,
};

/// How long warm children get to end by themselves.
pub(super) const GOODBYE: Duration = Duration::from_secs(2);

/// Keeps one child alive.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) pool: Arc<Shared>,
    /// How many tasks are on their way to a child of this place that is gone: so much less room is offered with the next.
    owed: usize,
    /// A task that is to have a child of its own.
    pub(super) solitary: Option<Job>,
    /// A child that is started while the one before still runs.
    pub(super) next: Option<Next>,
}

/// A child that is to take the place of another.
#[derive(Debug)]
pub(super) enum Next {
    Starting(AbortOnDropHandle<Result<Warm, String>>),
    Started(Box<Result<Warm, String>>),
}

/// Why a child runs no more tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Another takes its place.
    Replace,
    /// The pool ends.
    End,
}

impl Keeper {
    pub(super) fn new(pool: Arc<Shared>) -> Self {
        Self { pool, owed: 0, solitary: None, next: None }
    }

    /// Until the pool ends.
    pub(super) async fn keep(mut self) {
        let ending = self.pool.ending.clone();
        loop {
            let child = tokio::select! {
                child = self.start() => child,
                () = ending.cancelled() => return,
            };
            if Serving::new(child, &mut self).serve().await == After::End {
                return;
            }
        }
    }

    /// Starts a child, again and again, or takes the one that is started already.
    async fn start(&mut self) -> Warm {
        started(&mut self.next).await;
        match self.next.take() {
            Some(Next::Started(started)) => match *started {
                Ok(child) => return child,
                Err(why) => self.failed(Instant::now(), &why),
            },
            Some(Next::Starting(_)) | None => {}
        }
        loop {
            let turn = self.pool.failures.turn().await;
            let began = Instant::now();
            match Warm::start(&self.pool.spawner, &self.pool.outfit, &self.pool.start).await {
                Ok(child) => return child,
                Err(why) => self.failed(began, &why),
            }
            drop(turn);
        }
    }

    /// Starts the next child, if that is not done yet.
    pub(super) fn start_next(&mut self) {
        let pool = Arc::clone(&self.pool);
        self.next.get_or_insert_with(|| {
            let start = async move { Warm::start(&pool.spawner, &pool.outfit, &pool.start).await };
            Next::Starting(AbortOnDropHandle::new(tokio::spawn(start)))
        });
    }

    /// Says that there is room for so many more tasks.
    pub(super) fn offer(&mut self, room: usize) {
        let paid = self.owed.min(room);
        self.owed -= paid;
        if room > paid {
            self.pool.room.offer(room - paid);
            self.pool.news.notify_one();
        }
    }

    /// Takes back that there is room for so many more tasks. Some may be on their way already.
    pub(super) fn withdraw(&mut self, room: usize) {
        self.owed += room - self.pool.room.withdraw(room);
    }

    /// Gives tasks back to the pool that no child has any more and none has begun.
    pub(super) fn put_back(&mut self, jobs: impl IntoIterator<Item = Job>) {
        for job in jobs.into_iter().filter_map(Job::put_back) {
            // A keeper holds the pool, and with it the other end.
            if self.pool.to_jobs.send(job).is_ok() {
                self.owed += 1;
            }
        }
    }

    /// Lets a child go, while the next runs already.
    pub(super) fn dismiss(&self, child: Warm) {
        self.pool.leaving.spawn(child.dismiss(GOODBYE));
    }

    /// Notes that a child ended that had answered nothing.
    pub(super) fn failed(&self, began: Instant, why: &str) {
        self.pool.failures.failed(began);
        let (name, pause) = (&self.pool.outfit.name, self.pool.failures.pause());
        tracing::warn!(task = %name, ?pause, "the handler's process is started again: {why}");
    }
}

/// Completes when the next child is ready, or cannot be, or if there is none.
///
/// # Cancel safety
/// Cancel safe.
pub(super) async fn started(next: &mut Option<Next>) {
    if let Some(Next::Starting(starting)) = next {
        let started = starting.await.unwrap_or_else(|e| Err(format!("it was not started: {e}")));
        *next = Some(Next::Started(Box::new(started)));
    }
}
