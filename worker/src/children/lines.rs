//! Lines of a pipe, in memory that does not grow with them.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Reads lines and keeps at most so many bytes of each.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    limit: usize,
    /// A line that begins so is told as soon as it is too long, without its end.
    impatient: Option<u8>,
}

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: Vec<u8>,
    /// How many bytes it has; more than are kept if it is too long.
    pub(super) bytes: usize,
    /// Whether its end came; the last one may lack it.
    pub(super) ended: bool,
}

impl Line {
    pub(super) fn is_cut(&self) -> bool {
        self.bytes > self.text.len()
    }
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, limit: usize) -> Self {
        Self { reader: BufReader::with_capacity(64 * 1024, reader), limit, impatient: None }
    }

    /// Tells a line that begins so as soon as it is too long: its end may never come.
    pub(super) fn impatient(mut self, begin: u8) -> Self {
        self.impatient = Some(begin);
        self
    }

    /// The next line; `None` at the end. A last one may lack its end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        let mut line = Line { text: Vec::new(), bytes: 0, ended: false };
        let mut any = false;
        loop {
            let buffer = self.reader.fill_buf().await?;
            if buffer.is_empty() {
                return Ok(any.then_some(line));
            }
            any = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            line.bytes += part.len();
            let room = self.limit - line.text.len();
            line.text.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            let too_long = line.is_cut() && line.text.first() == self.impatient.as_ref();
            line.ended = end.is_some();
            if line.ended || too_long {
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_without_an_end_is_told_all_the_same() {
        let endless = tokio::io::AsyncReadExt::chain(&b"{"[..], tokio::io::repeat(b'x'));
        let line = Lines::new(endless, 4).impatient(b'{').next().await.unwrap().unwrap();
        assert!(line.is_cut() && line.text == b"{xxx");
    }

    #[tokio::test]
    async fn lines_are_cut_not_held() {
        let mut lines = Lines::new(&b"ab\n\nabcdef\nlast"[..], 4);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push((String::from_utf8(line.text.clone()).unwrap(), line.bytes, line.is_cut()));
        }
        let line = |text: &str, bytes, cut| (text.to_owned(), bytes, cut);
        assert_eq!(
            found,
            [line("ab", 2, false), line("", 0, false), line("abcd", 6, true), line("last", 4, false)]
        );
    }
}
