//! A program that calls functions in the processes of a pool.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use manyhands::multiprocessing::Pool;
use manyhands_test_support::kill::descendants;
use serde::{Deserialize, Serialize};

use super::{Orders, say};
use crate::{
    functions::{hang, square},
    machine::{cpu_time, own_cpu_nanos},
};

/// How many calls warm a pool up.
pub(super) const WARM: u64 = 100;

/// Calls functions in two processes of a pool.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Call {
    /// What is called.
    pub(crate) calls: Calls,
    /// By whom, if not by processes of its own.
    pub(crate) workers: Option<Workers>,
}

/// The workers of a broker that do calls.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Workers {
    /// The broker.
    pub(crate) broker: String,
    /// The processes.
    pub(crate) pids: BTreeSet<u32>,
}

/// What is called.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Calls {
    /// `map` of so many numbers, in chunks of so many, else of as many as the pool chooses.
    Map { n: u64, chunk: Option<usize> },
    /// `apply` of so many numbers, one after the other.
    Apply { n: u64 },
    /// `imap` of so many numbers; in the middle a process is killed.
    Imap { n: u64 },
    /// Calls that never end, until this process is killed, or ends with or without dropping the pool.
    Hang { dropped: bool },
}

/// How long calls took, in nanoseconds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Called {
    /// From before the first call to the last result.
    pub(crate) nanos: u64,
    /// Processor time of the caller.
    pub(crate) caller: u64,
    /// Processor time of the processes that it called.
    pub(crate) children: u64,
}

/// What came of `imap` while a process was killed.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Mapped {
    /// How many results were right and in their place.
    pub(crate) right: u64,
    /// How long all took, in nanoseconds.
    pub(crate) nanos: u64,
}

impl Call {
    /// How many processes a pool has.
    pub(crate) const HANDS: usize = 2;

    pub(super) async fn play(self, mut orders: Orders) -> Result<()> {
        let Self { calls, workers } = self;
        let hands = workers.as_ref().map(|workers| workers.pids.clone());
        let pool = blocking(move || pool(workers)).await?;
        if let Calls::Hang { dropped } = calls {
            let calls = pool.map_async(hang, 0..WARM);
            orders.wait().await?;
            if !dropped {
                // Nobody is told that this process ends.
                std::mem::forget((pool, calls));
            }
            return Ok(());
        }
        orders.wait().await?;
        match calls {
            Calls::Imap { n } => say(&blocking(move || imap(&pool, n)).await?),
            calls => say(&blocking(move || timed(&pool, calls, hands)).await?),
        }
    }

    /// Calls in processes of a pool of its own.
    pub(crate) fn here(calls: Calls) -> Self {
        Self { calls, workers: None }
    }
}

/// A pool that is warm.
fn pool(workers: Option<Workers>) -> Result<Pool> {
    let pool = match workers {
        Some(workers) => Pool::connect(&workers.broker.parse()?)?,
        None => Pool::new(Call::HANDS)?,
    };
    warm(&pool)?;
    Ok(pool)
}

/// Runs what blocks, beside the thread that waits for orders.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// Lets a pool do a few calls.
pub(super) fn warm(pool: &Pool) -> Result<()> {
    let results = pool.map(square, 0..WARM)?;
    ensure!(results == squares(WARM), "a pool that is warmed up gives wrong results");
    Ok(())
}

fn squares(n: u64) -> Vec<u64> {
    (0..n).map(square).collect()
}

/// Makes the calls, that are done by these processes, else by those of a pool of this one.
fn timed(pool: &Pool, calls: Calls, workers: Option<BTreeSet<u32>>) -> Result<Called> {
    let hands = workers.unwrap_or_else(hands);
    ensure!(hands.len() == Call::HANDS, "there are {} processes of the pool", hands.len());
    let ran = || hands.iter().map(|pid| cpu_time(*pid)).sum::<Result<Duration>>();
    let (before, caller, began) = (ran()?, own_cpu_nanos(), Instant::now());
    let (n, results) = match calls {
        Calls::Map { n, chunk: Some(chunk) } => (n, pool.map_chunked(square, 0..n, chunk)?),
        Calls::Map { n, chunk: None } => (n, pool.map(square, 0..n)?),
        Calls::Apply { n } => (n, (0..n).map(|n| pool.apply(square, (n,))).collect::<Result<_, _>>()?),
        Calls::Imap { .. } | Calls::Hang { .. } => bail!("{calls:?} is not timed"),
    };
    let (took, caller) = (began.elapsed(), own_cpu_nanos() - caller);
    let children = ran()?.saturating_sub(before);
    ensure!(results == squares(n), "the pool gave wrong results, or in a wrong order");
    let nanos = |time: Duration| u64::try_from(time.as_nanos());
    Ok(Called { nanos: nanos(took)?, caller, children: nanos(children)? })
}

fn imap(pool: &Pool, n: u64) -> Result<Mapped> {
    let (began, mut right) = (Instant::now(), 0);
    for (at, result) in (0..).zip(pool.imap(square, 0..n)) {
        right += u64::from(result.is_ok_and(|result| result == square(at)));
        if at == n / 2 {
            let victim = hands().pop_first().context("the pool has no processes")?;
            manyhands_test_support::kill::kill(victim)?;
        }
    }
    Ok(Mapped { right, nanos: u64::try_from(began.elapsed().as_nanos())? })
}

/// The processes of the pools of this process.
pub(super) fn hands() -> BTreeSet<u32> {
    descendants(std::process::id()).into_iter().filter(|pid| !is_guard(*pid)).collect()
}

/// Whether this is the process that sees to it that none is left behind. It is none of a pool.
fn is_guard(pid: u32) -> bool {
    let path = Path::new("/proc").join(pid.to_string()).join("cmdline");
    fs::read(path).is_ok_and(|line| line.starts_with(b"manyhands-guard"))
}
