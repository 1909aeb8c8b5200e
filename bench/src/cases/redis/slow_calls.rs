//! Calls that keep a server from everything else for long, by its slow log.

use std::{collections::BTreeMap, future::Future};

use anyhow::{Context, Result, ensure};
use manyhands::connect;
use manyhands_broker::{Beat, Claim, End, Settlement};
use manyhands_test_support::servers::{Redis, RedisOptions};
use redis::Connection;

use crate::work::{Work, queue};

/// How long a call may take, in microseconds.
const LIMIT: u64 = 2000;

/// The most that the server keeps of them.
const KEPT: u64 = 100_000;

/// One entry of the log: its number, when it was, how long it took in microseconds, what was called, and by whom.
type Entry = (u64, u64, u64, Vec<Vec<u8>>, String, String);

/// The slow log of a server, with the names of our scripts.
pub(super) struct SlowCalls {
    connection: Connection,
    /// What each script does, by the digest that it is called by.
    names: BTreeMap<String, &'static str>,
    /// What was found: during what, what was called, and for how long, in milliseconds.
    found: BTreeMap<(&'static str, String), Vec<f64>>,
    /// How many calls of scripts there were.
    calls: u64,
}

/// A server that keeps nothing on the disk and notes what takes longer than this.
fn noting(microseconds: u64) -> RedisOptions {
    Redis::options().with("slowlog-log-slower-than", microseconds).with("slowlog-max-len", KEPT)
}

impl SlowCalls {
    /// Starts a server that notes calls of more than 2 ms.
    pub(super) fn start() -> Result<(Redis, Self)> {
        let names = names()?;
        let server = noting(LIMIT).start()?;
        let connection = redis::Client::open(server.url())?.get_connection()?;
        Ok((server, Self { connection, names, found: BTreeMap::new(), calls: 0 }))
    }

    /// Notes what was slow since the last time, and that it was during this.
    pub(super) fn note(&mut self, during: &'static str) -> Result<()> {
        let entries = take(&mut self.connection)?;
        ensure!((entries.len() as u64) < KEPT, "the slow log of the server is full");
        for (_, _, took, call, ..) in entries {
            let called = self.called(&call);
            self.found.entry((during, called)).or_default().push(took as f64 / 1e3);
        }
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut self.connection)?;
        let calls =
            stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")?.split_once(','));
        self.calls = calls.and_then(|(calls, _)| calls.parse().ok()).unwrap_or_default();
        Ok(())
    }

    /// How many there were.
    pub(super) fn count(&self) -> usize {
        self.found.values().map(Vec::len).sum()
    }

    /// What they were, in words.
    pub(super) fn told(&self) -> String {
        let one = |((during, called), took): (&(&str, String), &Vec<f64>)| {
            let longest = took.iter().copied().fold(0.0, f64::max);
            format!("{} of {called} while {during}, the longest {longest:.2} ms", took.len())
        };
        let all: Vec<_> = self.found.iter().map(one).collect();
        let what = if all.is_empty() { "none".to_owned() } else { all.join("; ") };
        format!("of {} calls of scripts, longer than {} ms: {what}", self.calls, LIMIT as f64 / 1e3)
    }

    /// The name of a call.
    fn called(&self, call: &[Vec<u8>]) -> String {
        let word = |at: usize| call.get(at).map(|word| String::from_utf8_lossy(word).into_owned());
        let (name, digest) = (word(0).unwrap_or_default(), word(1).unwrap_or_default());
        match self.names.get(&digest) {
            Some(operation) => format!("the script of `{operation}`"),
            None => format!("{name} {digest}"),
        }
    }
}

/// What is in the log, which is empty after this.
fn take(connection: &mut Connection) -> Result<Vec<Entry>> {
    let entries = redis::cmd("SLOWLOG").arg("GET").arg(-1).query(connection)?;
    redis::cmd("SLOWLOG").arg("RESET").exec(connection)?;
    Ok(entries)
}

/// What each of our scripts is called by: learned from a server that notes all calls.
fn names() -> Result<BTreeMap<String, &'static str>> {
    let server = noting(0).start()?;
    let mut connection = redis::Client::open(server.url())?.get_connection()?;
    let mut names = BTreeMap::new();
    let mut learn = |operation: &'static str| -> Result<()> {
        for (_, _, _, call, ..) in take(&mut connection)? {
            if let [name, digest, ..] = call.as_slice()
                && name.eq_ignore_ascii_case(b"EVALSHA")
            {
                names.entry(String::from_utf8_lossy(digest).into_owned()).or_insert(operation);
            }
        }
        Ok(())
    };
    block_on(async {
        let queue = queue()?;
        let broker = connect(&server.url().parse()?).await?;
        learn("connect")?;
        broker.declare(&queue, None).await?;
        learn("declare")?;
        broker.enqueue(&[Work::task(0)?], None).await?;
        learn("enqueue")?;
        let task =
            broker.claim(&Claim::new(queue.clone(), 1)).await?.tasks.pop().context("nothing is claimed")?;
        learn("claim")?;
        broker.beat(&[Beat::from(task.lease.clone())], manyhands_broker::limits::LEASE).await?;
        learn("beat")?;
        broker.settle(&[Settlement::new(task.lease, End::complete(Vec::new()))]).await?;
        learn("settle")?;
        broker.status(&queue).await?;
        learn("status")
    })?;
    Ok(names)
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
