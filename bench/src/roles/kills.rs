//! A pool whose processes are killed, one after the other, while they write their results.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use manyhands::multiprocessing::{CallError, OnCrash, Pool};
use manyhands_test_support::kill::{Signal, Watch};
use serde::{Deserialize, Serialize};

use super::{
    Call, Orders,
    call::{blocking, hands, warm},
    say,
};
use crate::functions::{Wide, wide};

/// How long it is waited until a process waits in the middle of a write.
const AIM: Duration = Duration::from_millis(5);

/// How long a result may take: a call that takes longer is one that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Kills processes of a pool at moments that nobody chooses.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Kills {
    /// How many.
    pub(crate) kills: u64,
    /// Whether calls whose processes died are done again, as a pool has it unless told otherwise. Else they fail.
    pub(crate) rerun: bool,
    /// How long results are, in bytes.
    pub(crate) bytes: usize,
    /// Within which time the next kill comes, after a process has given a result.
    pub(crate) pause: Duration,
    /// Where it is written down which process began which call.
    pub(crate) ledger: PathBuf,
}

/// What came of it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Survived {
    /// How many processes were killed.
    pub(crate) kills: u64,
    /// How many of them waited in the middle of a write when they were looked at, just before.
    pub(crate) writing: u64,
    /// How many waited for something to do.
    pub(crate) waiting: u64,
    /// How many calls were made.
    pub(crate) calls: u64,
    /// How many had a result, the right one, for the first time.
    pub(crate) right: u64,
    /// How many ended as those whose process died.
    pub(crate) crashed: u64,
    /// Of how many of these so many processes were not killed as the error says: by the ledger, it was the last that they began.
    pub(crate) unfounded: u64,
    /// How many calls began more than once.
    pub(crate) again: u64,
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

/// What was killed.
#[derive(Debug, Default)]
struct Killed {
    pids: BTreeSet<u32>,
    count: u64,
    writing: u64,
    waiting: u64,
}

impl Kills {
    /// After how many crashes a call is given up.
    fn most(&self) -> usize {
        if self.rerun { 3 } else { 1 }
    }

    pub(super) async fn play(self, mut orders: Orders) -> Result<()> {
        orders.wait().await?;
        say(&blocking(move || self.survive()).await?)
    }

    fn survive(&self) -> Result<Survived> {
        // What the first pool of a process opens for all others stays open.
        let first = Pool::new(Call::HANDS)?;
        warm(&first)?;
        first.shutdown();
        let files = open_files()?;
        let mut builder = Pool::builder().processes(Call::HANDS);
        if !self.rerun {
            builder = builder.on_crash(OnCrash::Fail);
        }
        let pool = builder.build()?;
        let seen = Arc::new(Seen::default());
        let killer = {
            let (seen, kills, pause) = (Arc::clone(&seen), self.kills, self.pause);
            thread::Builder::new().name("killer".to_owned()).spawn(move || {
                let killed = kill_all(kills, pause, &seen);
                seen.over.store(true, Ordering::Relaxed);
                killed
            })?
        };
        let (mut survived, had) = self.call_until_over(&pool, &seen);
        seen.over.store(true, Ordering::Relaxed);
        let killed = killer.join().map_err(|_| anyhow!("the killer panicked"))?;
        if survived.hung {
            // Nothing more can be told of it; whether the killer came to its end is no matter.
            return Ok(survived);
        }
        let killed = killed?;
        (survived.kills, survived.writing, survived.waiting) = (killed.count, killed.writing, killed.waiting);
        pool.shutdown();
        survived.left = hands().len() as u64;
        survived.files = open_files()? - files;
        self.judge(&mut survived, &had, &killed)?;
        Ok(survived)
    }

    /// Calls, as long as processes are killed, and counts how the calls end; with the numbers of those that had a result.
    fn call_until_over(&self, pool: &Pool, seen: &Arc<Seen>) -> (Survived, BTreeSet<u64>) {
        let mut survived = Survived::default();
        let made = Arc::new(AtomicU64::new(0));
        let call = |n| Wide { n, bytes: self.bytes, ledger: self.ledger.clone() };
        let calls = {
            let (made, seen) = (Arc::clone(&made), Arc::clone(seen));
            let (bytes, ledger) = (self.bytes, self.ledger.clone());
            (0..)
                .take_while(move |_| !seen.over.load(Ordering::Relaxed))
                .inspect(move |_| {
                    made.fetch_add(1, Ordering::Relaxed);
                })
                .map(move |n| Wide { n, bytes, ledger: ledger.clone() })
        };
        let mut results = pool.imap_unordered(wide, calls);
        let mut had = BTreeSet::new();
        while let Some(result) = results.next_timeout(PATIENCE) {
            let other = match result {
                Ok(Ok((n, pid, text))) => {
                    seen.pids.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
                    if call(n).gives(&text) && had.insert(n) {
                        survived.right += 1;
                        continue;
                    }
                    format!("call {n} has a wrong result, or one more")
                }
                Err(CallError::Crashed { .. }) => {
                    survived.crashed += 1;
                    continue;
                }
                Err(CallError::TimedOut(_)) => {
                    survived.hung = true;
                    break;
                }
                Ok(Err(error)) => error,
                Err(error) => error.to_string(),
            };
            survived.wrong += 1;
            survived.error.get_or_insert(other);
        }
        survived.calls = made.load(Ordering::Relaxed);
        (survived, had)
    }

    /// Sees by the ledger whether what is told of calls is so.
    fn judge(&self, survived: &mut Survived, had: &BTreeSet<u64>, killed: &Killed) -> Result<()> {
        let (mut began, mut last) = (BTreeMap::<u64, u64>::new(), BTreeMap::new());
        for line in fs::read_to_string(&self.ledger)?.lines() {
            let (pid, n) = line.split_once(' ').context("a ledger that cannot be read")?;
            let (pid, n) = (pid.parse::<u32>()?, n.parse()?);
            *began.entry(n).or_default() += 1;
            last.insert(pid, n);
        }
        let mut died_of = BTreeMap::<u64, usize>::new();
        for (_, n) in last.into_iter().filter(|(pid, _)| killed.pids.contains(pid)) {
            *died_of.entry(n).or_default() += 1;
        }
        let given_up = (0..survived.calls).filter(|n| !had.contains(n));
        let founded = |n: &u64| died_of.get(n).is_some_and(|died| *died >= self.most());
        survived.unfounded = given_up.filter(|n| !founded(n)).count() as u64;
        survived.again = began.values().filter(|began| **began > 1).count() as u64;
        Ok(())
    }
}

/// Kills so many processes: one of two at any moment, the other where it waits in the middle of a write, if it soon does.
#[expect(clippy::disallowed_methods, reason = "a moment that nobody chooses is what is wanted")]
fn kill_all(kills: u64, pause: Duration, seen: &Seen) -> Result<Killed> {
    let mut killed = Killed::default();
    while killed.count < kills && !seen.over.load(Ordering::Relaxed) {
        thread::sleep(pause.mul_f64(fastrand::f64()));
        let Some(pid) = choose(seen) else { continue };
        // It may have been killed before it was heard of. The number is its own as long as it is watched.
        let Ok(watch) = Watch::open(pid) else { continue };
        if !hands().contains(&pid) || watch.ended(Duration::ZERO)? {
            continue;
        }
        let aimed = Instant::now();
        while killed.count % 2 == 1 && !waits(pid, WRITING) && aimed.elapsed() < AIM {
            thread::yield_now();
        }
        killed.writing += u64::from(waits(pid, WRITING));
        killed.waiting += u64::from(waits(pid, WAITING));
        watch.send(Signal::KILL)?;
        watch.end(PATIENCE).context("a process that is killed does not end")?;
        killed.pids.insert(pid);
        killed.count += 1;
    }
    Ok(killed)
}

/// One that has given a result since it was chosen last, or another one.
fn choose(seen: &Seen) -> Option<u32> {
    let mut pids = seen.pids.lock().unwrap_or_else(PoisonError::into_inner);
    let chosen = fastrand::choice(pids.iter().copied())?;
    pids.remove(&chosen);
    Some(chosen)
}

/// Where the kernel keeps who waits until what it writes to a socket is read, and who waits for something to be read.
const WRITING: &str = "sock_alloc_send";
const WAITING: &str = "unix_stream_read";

/// Whether the main thread of a process waits there.
fn waits(pid: u32, place: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|here| here.contains(place))
}

fn open_files() -> Result<i64> {
    Ok(i64::try_from(fs::read_dir("/proc/self/fd")?.count())?)
}
