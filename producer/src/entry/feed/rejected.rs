//! The file of the lines that were not sent.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use manyhands_broker::{Error, Result};

use super::lines::Bad;

/// Written from its beginning in each run, as each run reads all lines; there is none if no line is rejected.
#[derive(Debug)]
pub(super) struct Rejected {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    /// How many lines.
    pub(super) count: u64,
}

impl Rejected {
    /// Removes what an earlier run left.
    pub(super) fn new(path: PathBuf) -> Result<Self> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path, error)),
            _ => Ok(Self { path, file: None, count: 0 }),
        }
    }

    /// Where they are, if there are any.
    pub(super) fn path(&self) -> Option<&Path> {
        (self.count > 0).then_some(self.path.as_path())
    }

    /// Writes lines, each as a JSON object, before any later one is sent.
    pub(super) fn add(&mut self, lines: &[(u64, Bad)]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.write(lines).map_err(|e| failed(&self.path, e))
    }

    fn write(&mut self, lines: &[(u64, Bad)]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::new(File::create(&self.path)?)),
        };
        for (number, Bad { reason, text, bytes }) in lines {
            let line = serde_json::json!({ "line": number, "reason": reason, "bytes": bytes, "text": text });
            writeln!(file, "{line}")?;
            self.count += 1;
        }
        file.flush()
    }
}

fn failed(path: &Path, error: io::Error) -> Error {
    let message = format!("rejected lines cannot be written to {}", path.display());
    Error::invalid("feed", message).because(error).advise("--rejected FILE, a file that can be written")
}
