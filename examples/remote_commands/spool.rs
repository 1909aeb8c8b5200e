//! Output that is kept until all of it is there: a little in memory, more in a file that has no name and goes with it.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
};

use tokio::task::spawn_blocking;

use crate::wire::PIECE;

/// How much is kept in memory of each.
const MEMORY: usize = 16 << 10;

/// Some bytes: all in memory, or all in a file.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    bytes: u64,
    /// How many of them were given back.
    given: u64,
    memory: Vec<u8>,
    file: Option<File>,
}

impl Spool {
    /// How many there are.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds some at the end.
    pub(crate) async fn add(&mut self, more: &[u8]) -> io::Result<()> {
        self.bytes += more.len() as u64;
        if self.file.is_none() && self.memory.len() + more.len() <= MEMORY {
            self.memory.extend_from_slice(more);
            return Ok(());
        }
        // What is in memory comes first.
        let mut bytes = std::mem::take(&mut self.memory);
        bytes.extend_from_slice(more);
        let file = self.file.take();
        let write = move || {
            let mut file = file.map_or_else(tempfile::tempfile, Ok)?;
            file.write_all(&bytes)?;
            Ok::<_, io::Error>(file)
        };
        self.file = Some(spawn_blocking(write).await??);
        Ok(())
    }

    /// Gives them back piece by piece, from the first on; `None` at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (left, at) = (self.bytes - self.given, self.given);
        if left == 0 {
            return Ok(None);
        }
        let piece = match self.file.take() {
            None => std::mem::take(&mut self.memory),
            Some(file) => {
                let read = move || {
                    let mut piece = vec![0; left.min(PIECE as u64) as usize];
                    file.read_exact_at(&mut piece, at)?;
                    Ok::<_, io::Error>((file, piece))
                };
                let (file, piece) = spawn_blocking(read).await??;
                self.file = Some(file);
                piece
            }
        };
        self.given += piece.len() as u64;
        Ok(Some(piece))
    }
}
