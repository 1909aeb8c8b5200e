//! Many workers, as their broker sees them: sessions of one process, each an incarnation of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use futures_util::{StreamExt, TryStreamExt};
use manyhands::{Broker, connect};
use manyhands_broker::{Claim, End, Settled, Settlement};
use manyhands_test_support::ledger::now;
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::timeout};

use super::{Orders, Worked, say};
use crate::{
    machine::own_cpu_nanos,
    work::{BATCH, queue},
};

/// How many sessions are opened at a time.
const OPENING: usize = 16;

/// How long a session waits for a hint when there was nothing for it, as a worker does.
const POLL: Duration = Duration::from_secs(1);

/// Takes tasks by so many sessions at once, each by a hundred, and settles them with nothing done.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Crowd {
    /// The broker.
    pub(crate) broker: String,
    /// How many sessions.
    pub(crate) sessions: usize,
    /// To end after so many accepted settlements; what was claimed by then is settled, too.
    pub(crate) until: u64,
}

/// What all sessions came to.
#[derive(Debug)]
struct Count {
    until: u64,
    settled: AtomicU64,
    ended: AtomicU64,
}

impl Crowd {
    pub(super) async fn play(self, mut orders: Orders) -> Result<()> {
        let url = self.broker.parse()?;
        let opened = futures_util::stream::iter((0..self.sessions).map(|_| connect(&url)));
        let sessions: Vec<_> = opened.buffered(OPENING).try_collect().await?;
        orders.wait().await?;
        let count =
            Arc::new(Count { until: self.until, settled: AtomicU64::new(0), ended: AtomicU64::new(0) });
        let (began, before) = (now(), own_cpu_nanos());
        let mut working: JoinSet<Result<()>> =
            sessions.into_iter().map(|session| work(session, Arc::clone(&count))).collect();
        while let Some(ended) = working.join_next().await {
            ended??;
        }
        let (settled, ended) = (count.settled.load(Ordering::Relaxed), count.ended.load(Ordering::Relaxed));
        say(&Worked { began, ended, cpu: own_cpu_nanos() - before, settled, ..Worked::default() })
    }
}

async fn work(session: Arc<dyn Broker>, count: Arc<Count>) -> Result<()> {
    let queue = queue()?;
    while count.settled.load(Ordering::Relaxed) < count.until {
        let hint = session.wait(std::slice::from_ref(&queue));
        let claimed = session.claim(&Claim::new(queue.clone(), BATCH)).await?.tasks;
        if claimed.is_empty() {
            // Whether it was the hint or the poll does not matter.
            let _ = timeout(POLL, hint).await;
            continue;
        }
        let done = |lease| Settlement::new(lease, End::complete(Vec::new()));
        let settlements: Vec<_> = claimed.into_iter().map(|task| done(task.lease)).collect();
        let answers = session.settle(&settlements).await?;
        ensure!(answers.iter().all(|answer| *answer == Settled::Settled), "a lease was lost: {answers:?}");
        let before = count.settled.fetch_add(answers.len() as u64, Ordering::Relaxed);
        if (before..before + answers.len() as u64).contains(&(count.until - 1)) {
            count.ended.store(now(), Ordering::Relaxed);
        }
    }
    Ok(())
}
