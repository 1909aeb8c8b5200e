//! The lines of a file, one after the other, in memory that does not grow with the file or with a line.

use std::io::{self, BufRead};

use manyhands_broker::{Payload, limits};

/// A line that is a payload, or the reason why it is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    pub(super) content: Result<Payload, Bad>,
}

/// Why a line is rejected.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) reason: String,
    /// What it is, with � for what is no UTF-8; not if it is longer than a payload can be.
    pub(super) text: Option<String>,
    /// How many bytes it has.
    pub(super) bytes: u64,
}

/// Reads lines.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    number: u64,
    /// How many bytes were read.
    pub(super) position: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, number: 0, position: 0 }
    }

    /// What was read ahead.
    pub(super) fn reader(&self) -> &R {
        &self.reader
    }

    /// The next line that is not blank; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let mut text = Vec::new();
            let bytes = self.read(&mut text)?;
            if bytes == 0 {
                return Ok(None);
            }
            self.number += 1;
            let content = content(text, bytes, self.number == 1);
            if let Some(content) = content {
                return Ok(Some(Line { number: self.number, content }));
            }
        }
    }

    /// Reads a line with its end, and keeps as much of it as a payload can be long, and one byte more; returns its length.
    fn read(&mut self, text: &mut Vec<u8>) -> io::Result<u64> {
        let mut bytes = 0;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.map_or(buffer.len(), |end| end + 1)];
            let room = (LONGEST + 1).saturating_sub(text.len());
            text.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len();
            self.reader.consume(used);
            bytes += used as u64;
            self.position += used as u64;
            if end.is_some() || used == 0 {
                return Ok(bytes);
            }
        }
    }
}

/// The longest line that may hold a payload: with its end, `\r\n`.
const LONGEST: usize = limits::MAX_PAYLOAD + 2;

/// What a line holds; `None` if it is blank.
fn content(mut text: Vec<u8>, bytes: u64, first: bool) -> Option<Result<Payload, Bad>> {
    let too_long = |bytes: u64| {
        let reason = format!("it has {bytes} bytes, at most {} are allowed", limits::MAX_PAYLOAD);
        Some(Err(Bad { reason, text: None, bytes }))
    };
    if bytes > LONGEST as u64 {
        return too_long(bytes);
    }
    // The mark that some editors put before a text in UTF-8.
    if first && text.starts_with(b"\xef\xbb\xbf") {
        text.drain(..3);
    }
    if text.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let read = match std::str::from_utf8(&text) {
        Ok(text) => Payload::from_json(text).map_err(|e| e.report().replacen("the payload is not", "not", 1)),
        Err(error) => Err(format!("not UTF-8: byte {} is none of a character's", error.valid_up_to() + 1)),
    };
    match read {
        Ok(payload) if payload.len() > limits::MAX_PAYLOAD => too_long(payload.len() as u64),
        Ok(payload) => Some(Ok(payload)),
        Err(reason) => {
            let text = String::from_utf8_lossy(&text).trim_end_matches(['\r', '\n']).to_owned();
            Some(Err(Bad { reason, text: Some(text), bytes }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn read(text: &[u8]) -> Vec<(u64, Result<String, String>)> {
        // A buffer that is smaller than the lines.
        let mut lines = Lines::new(BufReader::with_capacity(3, text));
        let mut found = Vec::new();
        while let Some(Line { number, content }) = lines.next().unwrap() {
            found.push((number, content.map(|p| p.as_str().to_owned()).map_err(|bad| bad.reason)));
        }
        assert_eq!(lines.position, text.len() as u64);
        found
    }

    #[test]
    fn lines_have_numbers() {
        let found = read(b"1\n\n {\"a\": [1, 2]} \r\n\t\n\"last\"");
        let good = |text: &str| Ok(text.to_owned());
        assert_eq!(found, [(1, good("1")), (3, good("{\"a\": [1, 2]}")), (5, good("\"last\""))]);
        assert_eq!(read(b""), []);
        assert_eq!(read(b"\xef\xbb\xbf1\n"), [(1, good("1"))]);
    }

    #[test]
    fn bad_lines_have_reasons_and_the_others_are_read() {
        let found = read(b"1\n{a}\n\"\xff\"\n1 2\n2\n");
        let reasons: Vec<_> = found
            .iter()
            .map(|(number, line)| (*number, line.as_ref().err().map_or("", |e| e.as_str())))
            .collect();
        assert_eq!(reasons[0], (1, ""));
        assert!(reasons[1].1.starts_with("not JSON: key must be a string"), "{reasons:?}");
        assert_eq!(reasons[2], (3, "not UTF-8: byte 2 is none of a character's"));
        assert!(reasons[3].1.contains("trailing characters"), "{reasons:?}");
        assert_eq!(reasons[4], (5, ""));
    }

    #[test]
    fn a_line_may_be_as_long_as_a_payload_and_no_longer() {
        let most = format!("\"{}\"", "x".repeat(limits::MAX_PAYLOAD - 2));
        let more = format!("\"{}\"", "x".repeat(limits::MAX_PAYLOAD - 1));
        let found = read(format!("{most}\r\n{more}\n1").as_bytes());
        assert_eq!(found[0], (1, Ok(most)));
        assert_eq!(found[1], (2, Err("it has 1048577 bytes, at most 1048576 are allowed".to_owned())));
        assert_eq!(found[2], (3, Ok("1".to_owned())));
    }

    /// What is kept of a line has a bound; all of it is counted.
    #[test]
    fn a_line_without_end_is_not_held() {
        let bytes = 100 * limits::MAX_PAYLOAD as u64;
        let mut lines = Lines::new(BufReader::new(std::io::repeat(b'x').take(bytes)));
        let mut text = Vec::new();
        assert_eq!(lines.read(&mut text).unwrap(), bytes);
        assert_eq!(text.len(), LONGEST + 1);
    }
}
