//! Functions that are called in the processes of a pool, or by workers.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
};

use manyhands::App;
use serde::{Deserialize, Serialize};

/// Adds all of them.
pub(crate) fn register(app: App) -> App {
    app.function(square).function(wide).function(hang)
}

/// Next to nothing, so that what is measured is the way there and back.
pub(crate) fn square(n: u64) -> u64 {
    n * n
}

/// A call that is to write a long result.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Wide {
    pub(crate) n: u64,
    /// How long the result is, in bytes.
    pub(crate) bytes: usize,
    /// Where it is written down that the call began.
    pub(crate) ledger: PathBuf,
}

impl Wide {
    /// Whether this is its result.
    pub(crate) fn gives(&self, text: &str) -> bool {
        text == self.text()
    }

    fn text(&self) -> String {
        let digits = self.n.to_string();
        digits.repeat(self.bytes / digits.len())
    }
}

/// Its number, by which process it was done, and a long text: that is busy writing results for most of the time.
pub(crate) fn wide(call: Wide) -> Result<(u64, u32, String), String> {
    let pid = std::process::id();
    note(&call.ledger, pid, call.n).map_err(|e| e.to_string())?;
    Ok((call.n, pid, call.text()))
}

/// A line of the ledger, in one piece.
fn note(ledger: &Path, pid: u32, n: u64) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(ledger)?.write_all(format!("{pid} {n}\n").as_bytes())
}

/// Never returns: who runs it must be killed.
pub(crate) fn hang(_n: u64) {
    loop {
        std::thread::park();
    }
}
