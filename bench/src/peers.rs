//! Queues that others built, beside which ours is measured: those of `bench/peers/peer.js`, run by Node, and the program of
//! `bench/peers/apalis`.
//!
//! `cargo xtask bench redis` installs them where it can. Where they are missing the figures of ours are told alone, with a
//! remark that says so.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use manyhands_test_support::servers::Redis;
use serde::Deserialize;

use crate::report::{Row, Target};

/// What runs a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Runs {
    /// Node, with a package of the peer's name.
    Node,
    /// A program of its own.
    Apalis,
}

/// The peers, by the names that they are asked for with.
const PEERS: [(&str, Runs); 4] = [
    ("bullmq", Runs::Node),
    ("bee-queue", Runs::Node),
    ("apalis", Runs::Apalis),
    ("apalis-unlocked", Runs::Apalis),
];

/// The most tasks for apalis: it drains them in rounds of 7000, with a second before each.
const MOST_FOR_APALIS: u64 = 21_000;

/// The folder that they are installed in.
#[derive(Clone, Debug)]
pub(crate) struct Peers(PathBuf);

/// What one measurement of a peer came to.
#[derive(Debug, Deserialize)]
struct Measured {
    /// The peer, and its version.
    name: String,
    /// What it ran with.
    about: String,
    n: u64,
    per_second: Option<f64>,
    millis: Option<f64>,
}

/// The rounds of all peers.
#[derive(Debug)]
pub(crate) struct Rounds {
    peers: Peers,
    measured: Vec<(&'static str, Vec<Measured>)>,
    missing: BTreeSet<&'static str>,
}

impl Peers {
    /// Looks for them beside the folder that this program was built in.
    pub(crate) fn find() -> Result<Self> {
        let program = env::current_exe()?;
        let target =
            program.parent().and_then(Path::parent).context("this program is in no folder of cargo")?;
        Ok(Self(target.join("bench-peers")))
    }

    /// No rounds yet.
    pub(crate) fn rounds(&self) -> Rounds {
        let measured = PEERS.iter().map(|(peer, _)| (*peer, Vec::new())).collect();
        Rounds { peers: self.clone(), measured, missing: BTreeSet::new() }
    }

    /// What a peer is started as; nothing where it is not installed.
    fn command(&self, peer: &str, runs: Runs) -> Option<Command> {
        match runs {
            Runs::Node => {
                let mut node = Command::new("node");
                node.arg(self.0.join("peer.js"));
                self.0.join("node_modules").join(peer).is_dir().then_some(node)
            }
            Runs::Apalis => {
                let program = self.0.join("apalis/release/apalis-peer");
                program.is_file().then(|| Command::new(program))
            }
        }
    }
}

/// Measures a peer over a server of its own.
fn measure(mut command: Command, peer: &str, case: &str, n: u64) -> Result<Measured> {
    let server = Redis::start()?;
    command.args([peer, case, &server.port().to_string(), &n.to_string()]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("{peer} cannot be started"))?;
    ensure!(output.status.success(), "{peer} cannot be measured: {case} ({})", output.status);
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{peer} said {:?}", String::from_utf8_lossy(&output.stdout)))
}

impl Rounds {
    /// One more round of each, where they are installed.
    pub(crate) fn measure(&mut self, case: &str, n: u64) -> Result<()> {
        PEERS.iter().try_for_each(|(peer, _)| self.measure_only(peer, case, n))
    }

    /// One more round of this one.
    pub(crate) fn measure_only(&mut self, peer: &str, case: &str, n: u64) -> Result<()> {
        for ((name, runs), (_, rounds)) in PEERS.into_iter().zip(&mut self.measured) {
            if name != peer {
                continue;
            }
            let Some(command) = self.peers.command(name, runs) else {
                self.missing.insert(name);
                return Ok(());
            };
            let n = if runs == Runs::Apalis { n.min(MOST_FOR_APALIS) } else { n };
            rounds.push(measure(command, name, case, n)?);
        }
        Ok(())
    }

    /// A row of ours beside each peer that was measured, with what is to be reached, and a remark about those that are not there; one row
    /// at least.
    pub(crate) fn rows(self, row: impl Fn() -> Row, targets: &[(&str, Target)]) -> Vec<Row> {
        let beside = |(peer, measured): (&str, Vec<Measured>)| {
            let target = targets.iter().find(|(name, _)| *name == peer).map_or(Target::None, |(_, t)| *t);
            let first = measured.first()?;
            let remark = format!("{}: {}, n {}", first.name, first.about, first.n);
            let figures = measured.iter().map(|one| one.per_second.or(one.millis).unwrap_or(f64::NAN));
            Some(row().against(&first.name, figures.collect()).target(target).remark(remark))
        };
        let mut rows: Vec<_> = self.measured.into_iter().filter_map(beside).collect();
        if !self.missing.is_empty() {
            let missing: Vec<_> = self.missing.into_iter().collect();
            let last = rows.pop().unwrap_or_else(row);
            rows.push(last.remark(format!(
                "not installed in target/bench-peers, so not measured beside: {} (`cargo xtask bench redis` installs them)",
                missing.join(", ")
            )));
        }
        rows
    }
}
