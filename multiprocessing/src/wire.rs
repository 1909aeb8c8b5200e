//! What a pool and its children say to each other: frames over a socket, each with its length.
//!
//! A frame that is cut off by the death of who wrote it is never whole, and is dropped. Lengths are enough for that: a socket of
//! the kernel loses and changes nothing.

use std::io;

/// The most bytes of a frame: 1 GiB.
pub(crate) const LONGEST: usize = 1 << 30;

/// The most bytes of a body, beside what else a frame has.
pub(crate) const MOST: usize = LONGEST - 1024;

/// Before every frame: its length without this, as four bytes, the last significant first.
const HEADER: usize = 4;

/// How much is read at a time at least.
pub(crate) const LEAST: usize = 64 * 1024;

/// How much room is kept.
const KEPT: usize = 1024 * 1024;

/// A kind and a number.
const HEAD: usize = 9;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To a child: what it is to be, as JSON.
    Begin,
    /// To a child: do these calls. A byte that says whether nothing else is given before the answer, the length of the function's
    /// name as a byte, the name, the calls.
    Run,
    /// From a child: it is ready.
    Ready,
    /// From a child: it can never be ready, for this reason.
    Broken,
    /// From a child: what calls came to. Eight bytes of how long they took in nanoseconds, the reply.
    Done,
    /// From a child: calls were not done, for this reason.
    Refused,
    /// From a child: calls that it gives back untouched, as one before them takes long.
    Back,
}

const KINDS: [Kind; 7] =
    [Kind::Begin, Kind::Run, Kind::Ready, Kind::Broken, Kind::Done, Kind::Refused, Kind::Back];

/// A frame as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'b> {
    pub(crate) kind: Kind,
    /// Which calls it is about.
    pub(crate) number: u64,
    pub(crate) body: &'b [u8],
}

/// Writes a frame, its body in parts. To be called with what [`fits`] only.
pub(crate) fn put(out: &mut Vec<u8>, kind: Kind, number: u64, parts: &[&[u8]]) {
    let length = HEAD + parts.iter().map(|part| part.len()).sum::<usize>();
    // It fits.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.push(kind as u8);
    out.extend_from_slice(&number.to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Empties what was written, and keeps no more room than is usual.
pub(crate) fn empty(out: &mut Vec<u8>) {
    out.clear();
    out.shrink_to(KEPT);
}

/// Whether a body of so many bytes can be written, with what else a frame has.
pub(crate) fn fits(bytes: usize) -> bool {
    bytes <= MOST
}

/// What was read of a socket, as frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    at: usize,
    /// Where what was read ends.
    end: usize,
}

impl Frames {
    /// Room for what is read next: for all of a frame of which the beginning is there.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.at > 0 {
            self.bytes.copy_within(self.at..self.end, 0);
            (self.at, self.end) = (0, self.end - self.at);
            if self.bytes.len() > KEPT && self.end < LEAST {
                // One large frame is no reason to keep so much for ever.
                self.bytes.truncate(KEPT);
                self.bytes.shrink_to_fit();
            }
        }
        let whole = self.length().map_or(0, |length| (HEADER + length).saturating_sub(self.end));
        // No more than is really there at a time, whatever the length says.
        let wanted = self.end + whole.clamp(LEAST, 16 * LEAST);
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// So many bytes of the room were read.
    pub(crate) fn read(&mut self, count: usize) {
        self.end += count;
    }

    /// The next frame, if it is there as a whole.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame<'_>>> {
        let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
        let Some(length) = self.length() else { return Ok(None) };
        if !(HEAD..=LONGEST).contains(&length) {
            return wrong("a frame has an impossible length");
        }
        let (begin, end) = (self.at + HEADER, self.at + HEADER + length);
        if end > self.end {
            return Ok(None);
        }
        self.at = end;
        let frame = &self.bytes[begin..end];
        let Some(kind) = KINDS.get(usize::from(frame[0])) else {
            return wrong("a frame has an unknown kind");
        };
        let number = frame[1..HEAD].try_into().map(u64::from_le_bytes).unwrap_or_default();
        Ok(Some(Frame { kind: *kind, number, body: &frame[HEAD..] }))
    }

    fn length(&self) -> Option<usize> {
        let header = self.bytes.get(self.at..self.end)?.first_chunk::<HEADER>()?;
        usize::try_from(u32::from_le_bytes(*header)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_pass_in_any_pieces() {
        let mut sent = Vec::new();
        for number in 0..100_u64 {
            let body = vec![b'x'; usize::try_from(number * 37).unwrap()];
            put(&mut sent, KINDS[usize::try_from(number % 7).unwrap()], number, &[b"ab", &body]);
        }
        for piece in [1, 2, 3, 5, 13, 4096, 1 << 20] {
            let (mut frames, mut number) = (Frames::default(), 0);
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let room = frames.room();
                let count = piece.min(room.len()).min(rest.len());
                room[..count].copy_from_slice(&rest[..count]);
                frames.read(count);
                rest = &rest[count..];
                while let Some(frame) = frames.next().unwrap() {
                    assert_eq!(
                        (frame.number, frame.kind),
                        (number, KINDS[usize::try_from(number % 7).unwrap()])
                    );
                    assert_eq!(frame.body.len(), 2 + usize::try_from(number * 37).unwrap());
                    number += 1;
                }
            }
            assert_eq!(number, 100, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_frame_is_told() {
        for wrong in [[0; 13], [255; 13]] {
            let mut frames = Frames::default();
            frames.room()[..wrong.len()].copy_from_slice(&wrong);
            frames.read(wrong.len());
            assert!(frames.next().is_err());
        }
    }
}
