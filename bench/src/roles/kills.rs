//! A pool whose processes are killed, one after the other, while they write their results.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use manyhands::multiprocessing::{CallError, OnCrash, Pool};
use manyhands_test_support::kill::{Signal, Watch};
use serde::{Deserialize, Serialize};

use super::{
    Call, Orders,
    call::{blocking, hands, warm},
    say,
};
use crate::functions::{is_whole, wide};

/// Within which time the next kill comes, after a process has given a result.
const PAUSE: Duration = Duration::from_millis(4);

/// How long a result may take: a call that takes longer is one that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Kills processes of a pool at moments that nobody chooses.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Kills {
    /// How many.
    pub(crate) kills: u64,
    /// Whether calls whose processes died are done again, as a pool has it unless told otherwise. Else they fail.
    pub(crate) rerun: bool,
}

/// What came of it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Survived {
    /// How many processes were killed.
    pub(crate) kills: u64,
    /// How many of them waited in the middle of a write when they were looked at, just before. Those that were writing without a pause are not counted.
    pub(crate) writing: u64,
    /// How many calls were made.
    pub(crate) calls: u64,
    /// How many had a result, the right one, for the first time.
    pub(crate) right: u64,
    /// How many ended as those whose process died.
    pub(crate) crashed: u64,
    /// How many had another result or end: a wrong one, one more, or another error.
    pub(crate) wrong: u64,
    /// What the first other error said.
    pub(crate) error: Option<String>,
    /// Whether one of them hung.
    pub(crate) hung: bool,
    /// How many files more are open than before, when the pool has ended.
    pub(crate) files: i64,
    /// How many of its processes are left then, those that nobody waited for among them.
    pub(crate) left: u64,
}

/// Which processes have given a result lately, and whether more are to be asked for.
#[derive(Debug, Default)]
struct Seen {
    pids: Mutex<BTreeSet<u32>>,
    over: AtomicBool,
}

impl Kills {
    pub(super) async fn play(self, mut orders: Orders) -> Result<()> {
        orders.wait().await?;
        say(&blocking(move || self.survive()).await?)
    }

    fn survive(self) -> Result<Survived> {
        // What the first pool of a process opens for all others stays open.
        let first = Pool::new(Call::HANDS)?;
        warm(&first)?;
        first.shutdown();
        let files = open_files()?;
        let on_crash = if self.rerun { OnCrash::Rerun { max_crashes: 3 } } else { OnCrash::Fail };
        let pool = Pool::builder(Call::HANDS).on_crash(on_crash).build()?;
        let seen = Arc::new(Seen::default());
        let killer = {
            let seen = Arc::clone(&seen);
            thread::Builder::new().name("killer".to_owned()).spawn(move || {
                let killed = kill_all(self.kills, &seen);
                seen.over.store(true, Ordering::Relaxed);
                killed
            })?
        };
        let mut survived = call_until_over(&pool, &seen)?;
        seen.over.store(true, Ordering::Relaxed);
        let killed = killer.join().map_err(|_| anyhow::anyhow!("the killer panicked"))?;
        if survived.hung {
            // Nothing more can be told of it; whether the killer came to its end is no matter.
            return Ok(survived);
        }
        (survived.kills, survived.writing) = killed?;
        pool.shutdown();
        survived.left = hands().len() as u64;
        survived.files = open_files()? - files;
        Ok(survived)
    }
}

/// Calls, as long as processes are killed, and counts how the calls end.
fn call_until_over(pool: &Pool, seen: &Arc<Seen>) -> Result<Survived> {
    let mut survived = Survived::default();
    let made = Arc::new(AtomicU64::new(0));
    let numbers = {
        let (made, seen) = (Arc::clone(&made), Arc::clone(seen));
        (0..).take_while(move |_| !seen.over.load(Ordering::Relaxed)).inspect(move |_| {
            made.fetch_add(1, Ordering::Relaxed);
        })
    };
    let mut results = pool.imap_unordered(wide, numbers);
    let mut had = BTreeSet::new();
    while let Some(result) = results.next_timeout(PATIENCE) {
        match result {
            Ok((n, pid, text)) => {
                let right = is_whole(n, &text) && had.insert(n);
                *(if right { &mut survived.right } else { &mut survived.wrong }) += 1;
                seen.pids.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
            }
            Err(CallError::Crashed { .. }) => survived.crashed += 1,
            Err(CallError::TimedOut(_)) => {
                survived.hung = true;
                break;
            }
            Err(error) => {
                survived.wrong += 1;
                survived.error.get_or_insert(error.to_string());
            }
        }
    }
    survived.calls = made.load(Ordering::Relaxed);
    Ok(survived)
}

/// Kills so many processes: how many, and how many of them waited in the middle of a write.
#[expect(clippy::disallowed_methods, reason = "a moment that nobody chooses is what is wanted")]
fn kill_all(kills: u64, seen: &Seen) -> Result<(u64, u64)> {
    let (mut killed, mut writing) = (0, 0);
    while killed < kills && !seen.over.load(Ordering::Relaxed) {
        thread::sleep(PAUSE.mul_f64(fastrand::f64()));
        let Some(pid) = choose(seen) else { continue };
        // It may have been killed before it was heard of. The number is its own as long as it is watched.
        let Ok(watch) = Watch::open(pid) else { continue };
        if !hands().contains(&pid) || watch.ended(Duration::ZERO)? {
            continue;
        }
        writing += u64::from(is_writing(pid));
        watch.send(Signal::KILL)?;
        watch.end(PATIENCE).context("a process that is killed does not end")?;
        killed += 1;
    }
    Ok((killed, writing))
}

/// One that has given a result since it was chosen last, or another one.
fn choose(seen: &Seen) -> Option<u32> {
    let mut pids = seen.pids.lock().unwrap_or_else(PoisonError::into_inner);
    let chosen = fastrand::choice(pids.iter().copied())?;
    pids.remove(&chosen);
    Some(chosen)
}

/// Whether the main thread of a process waits until what it writes to a socket is read.
fn is_writing(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|place| place.contains("sock_alloc_send"))
}

fn open_files() -> Result<i64> {
    Ok(i64::try_from(fs::read_dir("/proc/self/fd")?.count())?)
}
