//! Queues that others built, beside which ours is measured: `bench/peers/peer.js`, run by Node.
//!
//! `cargo xtask bench redis` installs them where it can. Where they are missing the figures of ours are told alone, with a
//! remark that says so.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use manyhands_test_support::servers::Redis;
use serde::Deserialize;

use crate::report::{Row, Target};

/// The peers, by the names of their packages.
const PEERS: [&str; 2] = ["bullmq", "bee-queue"];

/// The folder that they are installed in, if they are.
#[derive(Clone, Debug)]
pub(crate) struct Peers(Option<PathBuf>);

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
}

impl Peers {
    /// Looks for them beside the folder that this program was built in.
    pub(crate) fn find() -> Self {
        let folder =
            env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("bench-peers")));
        let installed =
            |folder: &PathBuf| PEERS.iter().all(|peer| folder.join("node_modules").join(peer).is_dir());
        Self(folder.filter(installed))
    }

    /// No rounds yet.
    pub(crate) fn rounds(&self) -> Rounds {
        Rounds { peers: self.clone(), measured: PEERS.iter().map(|peer| (*peer, Vec::new())).collect() }
    }

    /// Measures one of them over a server of its own.
    fn measure(&self, peer: &str, case: &str, n: u64) -> Result<Option<Measured>> {
        let Some(folder) = &self.0 else { return Ok(None) };
        let server = Redis::start()?;
        let mut node = Command::new("node");
        node.arg(folder.join("peer.js")).args([peer, case]);
        node.args([server.port().to_string(), n.to_string()]).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = node.output().context("cannot start node")?;
        ensure!(output.status.success(), "{peer} cannot be measured: {case} ({})", output.status);
        let measured = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{peer} said {:?}", String::from_utf8_lossy(&output.stdout)))?;
        Ok(Some(measured))
    }
}

impl Rounds {
    /// One more round of each, where they are installed.
    pub(crate) fn measure(&mut self, case: &str, n: u64) -> Result<()> {
        PEERS.iter().try_for_each(|peer| self.measure_only(peer, case, n))
    }

    /// One more round of this one.
    pub(crate) fn measure_only(&mut self, peer: &str, case: &str, n: u64) -> Result<()> {
        let measured = self.peers.measure(peer, case, n)?;
        if let Some((_, rounds)) = self.measured.iter_mut().find(|(name, _)| *name == peer) {
            rounds.extend(measured);
        }
        Ok(())
    }

    /// A row of ours beside each peer that was measured, with what is to be reached; or one that says that there are none.
    pub(crate) fn rows(self, row: impl Fn() -> Row, targets: &[(&str, Target)]) -> Vec<Row> {
        let beside = |(peer, measured): (&str, Vec<Measured>)| {
            let target = targets.iter().find(|(name, _)| *name == peer).map_or(Target::None, |(_, t)| *t);
            let first = measured.first()?;
            let remark = format!("{}: {}, n {}", first.name, first.about, first.n);
            let figures = measured.iter().map(|one| one.per_second.or(one.millis).unwrap_or(f64::NAN));
            Some(row().against(&first.name, figures.collect()).target(target).remark(remark))
        };
        let rows: Vec<_> = self.measured.into_iter().filter_map(beside).collect();
        if rows.is_empty() {
            return vec![row().remark(
                "BullMQ and bee-queue are not installed (npm ci, in target/bench-peers): not measured beside them",
            )];
        }
        rows
    }
}
