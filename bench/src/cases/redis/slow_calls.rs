//! Calls that keep a server from everything else for long, by its slow log.

use std::{collections::BTreeMap, fmt, future::Future, time::Duration};

use anyhow::{Context, Result, ensure};
use manyhands::connect;
use manyhands_broker::{Beat, Claim, End, Settlement};
use manyhands_test_support::servers::{Redis, RedisOptions};
use redis::Connection;

use crate::{
    machine::cpu_times,
    work::{Work, queue},
};

/// How long a call may take, in microseconds.
const LIMIT: u64 = 2000;

/// What calls a script.
const EVALSHA: &str = "EVALSHA";

/// The most that the server keeps of them.
const KEPT: u64 = 100_000;

/// One entry of the log: its number, when it was, how long it took in microseconds, what was called, and by whom.
type Entry = (u64, u64, u64, Vec<Vec<u8>>, String, String);

/// The slow log of a server, with the names of our scripts.
pub(super) struct SlowCalls {
    connection: Connection,
    /// The process of the server, and how long it had run and waited the last time.
    pid: u32,
    times: (Duration, Duration),
    /// What each script does, by the digest that it is called by.
    names: BTreeMap<String, &'static str>,
    /// What was found, by what went on meanwhile.
    phases: BTreeMap<&'static str, Phase>,
}

/// What a server did while something went on. Times are in microseconds.
#[derive(Debug, Default)]
struct Phase {
    /// How many scripts ran, and how long all of them took.
    calls: u64,
    took: u64,
    /// How long the server ran, and how long it waited for a processor meanwhile: that is in the times of scripts, too.
    ran: Duration,
    waited: Duration,
    /// Scripts that took too long, by their names.
    scripts: BTreeMap<String, Vec<u64>>,
    /// Single commands that did so, of scripts or not, by their names.
    commands: BTreeMap<String, Vec<u64>>,
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
        let (pid, phases) = (server.pid(), BTreeMap::new());
        Ok((server, Self { connection, pid, times: cpu_times(pid)?, names, phases }))
    }

    /// Notes what the server did since the last time, and that it was while this went on.
    pub(super) fn note(&mut self, during: &'static str) -> Result<()> {
        let entries = take(&mut self.connection)?;
        ensure!((entries.len() as u64) < KEPT, "the slow log of the server is full");
        let (calls, took) = scripts_run(&mut self.connection)?;
        let (ran, waited) = cpu_times(self.pid)?;
        let before = std::mem::replace(&mut self.times, (ran, waited));
        let phase = self.phases.entry(during).or_default();
        phase.ran += ran.saturating_sub(before.0);
        phase.waited += waited.saturating_sub(before.1);
        phase.calls += calls;
        phase.took += took;
        for (_, _, took, call, ..) in entries {
            let word = |at: usize| call.get(at).map(|word| String::from_utf8_lossy(word).into_owned());
            let (command, about) = (word(0).unwrap_or_default(), word(1).unwrap_or_default());
            if command.eq_ignore_ascii_case(EVALSHA) {
                let name = self.names.get(&about).map_or(about, |name| (*name).to_owned());
                phase.scripts.entry(name).or_default().push(took);
            } else {
                phase.commands.entry(command).or_default().push(took);
            }
        }
        Ok(())
    }

    /// How many scripts took too long.
    pub(super) fn count(&self) -> usize {
        self.phases.values().flat_map(|phase| phase.scripts.values()).map(Vec::len).sum()
    }

    /// What they were, in words, a line for each phase.
    pub(super) fn told(&self) -> impl Iterator<Item = String> {
        self.phases.iter().map(|(during, phase)| format!("while {during}: {phase}"))
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.took as f64 / 1e3 / self.calls.max(1) as f64;
        let (calls, limit) = (self.calls, LIMIT / 1000);
        let [ran, waited] = [self.ran, self.waited].map(|time| time.as_secs_f64());
        write!(
            f,
            "{calls} scripts, {each:.2} ms each on average; the server ran for {ran:.2} s and waited {waited:.2} s for a processor; "
        )?;
        write!(f, "longer than {limit} ms: ")?;
        let list = |calls: &BTreeMap<String, Vec<u64>>| {
            let one = |(name, took): (&String, &Vec<u64>)| {
                let longest = took.iter().max().copied().unwrap_or_default() as f64 / 1e3;
                format!("{} of {name}, the longest {longest:.2} ms", took.len())
            };
            let all: Vec<_> = calls.iter().map(one).collect();
            if all.is_empty() { "none".to_owned() } else { all.join("; ") }
        };
        f.write_str(&list(&self.scripts))?;
        if !self.commands.is_empty() {
            write!(f, " (and of single commands, in scripts or alone: {})", list(&self.commands))?;
        }
        Ok(())
    }
}

/// How many scripts ran since the last time, and for how many microseconds.
fn scripts_run(connection: &mut Connection) -> Result<(u64, u64)> {
    let stats: String = redis::cmd("INFO").arg("commandstats").query(connection)?;
    redis::cmd("CONFIG").arg("RESETSTAT").exec(connection)?;
    // cmdstat_evalsha:calls=3,usec=120,…
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).unwrap_or_default();
    let field = |name: &str| {
        let value = line.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    };
    Ok((field("calls"), field("usec")))
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
                && name.eq_ignore_ascii_case(EVALSHA.as_bytes())
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
