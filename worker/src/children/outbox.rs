//! What is to be written to a child.

use std::{io, ops::Range};

use tokio::{io::AsyncWriteExt, net::unix::pipe};

/// Lines for a child, which reads them when it likes.
#[derive(Debug)]
pub(super) struct Outbox {
    pipe: Option<pipe::Sender>,
    /// What is not written yet, from `at` on.
    bytes: Vec<u8>,
    at: usize,
    /// How many bytes the pipe took so far, and how many it was to take.
    written: u64,
    queued: u64,
}

impl Outbox {
    pub(super) fn new(pipe: Option<pipe::Sender>) -> Self {
        Self { pipe, bytes: Vec::new(), at: 0, written: 0, queued: 0 }
    }

    /// Adds a line, and writes what can be written at once; returns where it begins and ends.
    pub(super) fn push(&mut self, line: &[u8]) -> Range<u64> {
        let begin = self.queued;
        self.queued += line.len() as u64;
        self.bytes.extend_from_slice(line);
        if let Some(pipe) = &self.pipe {
            // What fails now fails again when it is waited for.
            if let Ok(written) = pipe.try_write(&self.bytes[self.at..]) {
                self.took(written);
            }
        }
        begin..self.queued
    }

    /// How far the pipe took what was to be written.
    pub(super) fn taken(&self) -> u64 {
        self.written
    }

    /// Writes what is left, and then waits for ever.
    ///
    /// # Errors
    /// When the child reads no more.
    ///
    /// # Cancel safety
    /// Cancel safe: what was written is known.
    pub(super) async fn flush(&mut self) -> io::Error {
        while self.at < self.bytes.len() {
            let Some(pipe) = &mut self.pipe else { return io::ErrorKind::BrokenPipe.into() };
            match pipe.write(&self.bytes[self.at..]).await {
                Ok(written) => self.took(written),
                Err(error) => return error,
            }
        }
        std::future::pending().await
    }

    /// Nothing more comes: the child sees the end of its input.
    pub(super) fn close(&mut self) {
        self.pipe = None;
    }

    fn took(&mut self, written: usize) {
        self.at += written;
        self.written += written as u64;
        if self.at == self.bytes.len() {
            self.bytes.clear();
            self.at = 0;
        }
    }
}
