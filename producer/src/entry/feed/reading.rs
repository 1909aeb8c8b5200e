//! A thread that reads lines ahead of the sender, a bounded number of them.

use std::{
    io::{self, BufReader, Read},
    thread,
};

use manyhands_broker::{Payload, limits};
use tokio::sync::mpsc;

use super::lines::{Bad, Line, Lines};

/// How many chunks are read ahead.
const AHEAD: usize = 2;

/// The size of the buffer that lines are taken from.
const BUFFER: usize = 256 * 1024;

/// What goes into one call, and what is rejected on the way.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) good: Vec<(u64, Payload)>,
    pub(super) bad: Vec<(u64, Bad)>,
    /// Up to where the source was read.
    pub(super) position: u64,
    /// How many bytes of lines it holds.
    bytes: usize,
}

impl Chunk {
    fn is_empty(&self) -> bool {
        self.good.is_empty() && self.bad.is_empty()
    }

    fn add(&mut self, Line { number, content }: Line) {
        match content {
            Ok(payload) => {
                self.bytes += payload.len();
                self.good.push((number, payload));
            }
            Err(bad) => {
                self.bytes += bad.text.as_ref().map_or(0, String::len);
                self.bad.push((number, bad));
            }
        }
    }

    /// Whether a further line of any length might be too much for one call.
    fn is_full(&self) -> bool {
        self.good.len().max(self.bad.len()) >= limits::MAX_BATCH
            || self.bytes + limits::MAX_PAYLOAD > limits::MAX_BATCH_BYTES
    }
}

/// Begins to read. The thread ends with the source, with the first bad line if `strict`, or when nobody takes its chunks.
pub(super) fn start(
    reader: Box<dyn Read + Send>,
    is_file: bool,
    strict: bool,
) -> io::Result<mpsc::Receiver<io::Result<Chunk>>> {
    let (chunks, taken) = mpsc::channel(AHEAD);
    let lines = Lines::new(BufReader::with_capacity(BUFFER, reader));
    thread::Builder::new().name("lines".to_owned()).spawn(move || read(lines, is_file, strict, &chunks))?;
    Ok(taken)
}

fn read(
    mut lines: Lines<BufReader<Box<dyn Read + Send>>>,
    is_file: bool,
    strict: bool,
    chunks: &mpsc::Sender<io::Result<Chunk>>,
) {
    let mut chunk = Chunk::default();
    loop {
        let last = match lines.next() {
            Ok(Some(line)) => {
                let bad = line.content.is_err();
                chunk.add(line);
                bad && strict
            }
            Ok(None) => true,
            Err(error) => {
                // What was read before it is good all the same.
                if chunk.is_empty() || chunks.blocking_send(Ok(chunk)).is_ok() {
                    let _ = chunks.blocking_send(Err(error));
                }
                return;
            }
        };
        chunk.position = lines.position;
        // Whoever writes into a pipe line by line does not wait for others to fill a call.
        let waits = !is_file && lines.reader().buffer().is_empty();
        if (last || waits || chunk.is_full()) && !chunk.is_empty() {
            let full = std::mem::take(&mut chunk);
            if chunks.blocking_send(Ok(full)).is_err() {
                return;
            }
        }
        if last {
            return;
        }
    }
}
