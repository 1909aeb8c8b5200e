//! Python's own pools, beside which ours are measured: `bench/peers/pools.py`.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::roles::{Called, Calls};

/// The program.
const POOLS: &str = include_str!("../peers/pools.py");

/// A pool of Python.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Python {
    /// `multiprocessing.Pool`.
    Pool,
    /// `concurrent.futures.ProcessPoolExecutor`.
    Executor,
}

/// What one measurement came to.
#[derive(Debug, Deserialize)]
pub(crate) struct Measured {
    /// The pool, and the version of Python.
    pub(crate) name: String,
    /// How long it took.
    #[serde(flatten)]
    pub(crate) called: Called,
}

impl Python {
    /// Measures the same calls, of a function that does the same, in a folder.
    pub(crate) fn measure(self, folder: &Path, calls: Calls) -> Result<Measured> {
        let (what, chunk, n) = match calls {
            Calls::Map { n, chunk } => ("map", chunk.unwrap_or(0), n),
            Calls::Apply { n } => ("apply", 0, n),
            Calls::Imap { .. } | Calls::Hang { .. } => {
                anyhow::bail!("{calls:?} is not measured beside Python")
            }
        };
        let kind = match self {
            Self::Pool => "pool",
            Self::Executor => "executor",
        };
        let program = folder.join("pools.py");
        std::fs::write(&program, POOLS)?;
        let mut command = Command::new("python3");
        command.arg(program).args([kind, what, &chunk.to_string(), &n.to_string()]);
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.context("python3 cannot be started")?;
        ensure!(output.status.success(), "Python's {kind} cannot be measured ({})", output.status);
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("Python's {kind} said {:?}", String::from_utf8_lossy(&output.stdout)))
    }
}
