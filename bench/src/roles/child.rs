//! A warm handler that is killed while it writes a result.

use std::{
    fs::OpenOptions,
    io::{BufRead, Write},
    path::PathBuf,
};

use anyhow::{Context, Result};
use manyhands_test_support::{kill, ledger::now};
use serde::{Deserialize, Serialize};

/// Speaks the protocol of handlers by hand.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Dying {
    /// Where it writes down when it was ready, and when it died.
    pub(crate) ledger: PathBuf,
}

impl Dying {
    pub(super) fn play(&self) -> Result<()> {
        let mut ledger = OpenOptions::new().create(true).append(true).open(&self.ledger)?;
        let mut note = |what: &str| ledger.write_all(format!("{} {what}\n", now()).as_bytes());
        let mut out = std::io::stdout().lock();
        out.write_all(b"{\"hello\": 1, \"tasks\": [\"harm\"]}\n")?;
        out.flush()?;
        note("ready")?;
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            let task: serde_json::Value = serde_json::from_str(&line)?;
            let id = task["id"].as_str().context("a task without an id")?;
            let answer = format!("{{\"id\": \"{id}\", \"result\": null}}\n");
            if task["payload"]["way"] == "kill" {
                out.write_all(&answer.as_bytes()[..answer.len() / 2])?;
                out.flush()?;
                note("died")?;
                kill::kill(std::process::id())?;
            }
            out.write_all(answer.as_bytes())?;
            out.flush()?;
        }
        Ok(())
    }
}
