//! Frames: 4 bytes, big endian, how many follow, and these.

use std::{fmt, io};

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How much is read and sent at a time.
pub(crate) const PIECE: usize = 32 << 10;

/// The longest frame that is no request.
pub(crate) const SHORT: usize = PIECE + 1;

/// Why there is no frame.
#[derive(Debug)]
pub(crate) enum Broken {
    TooLong { bytes: usize, most: usize },
    CutOff,
    Io(io::Error),
}

impl std::error::Error for Broken {}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes, most } => {
                write!(
                    f,
                    "a frame of {bytes} bytes is too long, or is no frame: {most} bytes at most, after 4 that say how many"
                )
            }
            Self::CutOff => write!(f, "it ended in the middle of a frame"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

/// Reads a frame of at most so many bytes; `None` at the end.
pub(crate) async fn read(
    from: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> Result<Option<Vec<u8>>, Broken> {
    let mut length = Vec::new();
    from.take(4).read_to_end(&mut length).await.map_err(Broken::Io)?;
    if length.is_empty() {
        return Ok(None);
    }
    let bytes = <[u8; 4]>::try_from(length).map_err(|_| Broken::CutOff)?;
    let bytes = u32::from_be_bytes(bytes) as usize;
    if bytes > most {
        return Err(Broken::TooLong { bytes, most });
    }
    // It grows with what comes: whoever only says that a frame is long costs nothing.
    let mut frame = Vec::new();
    from.take(bytes as u64).read_to_end(&mut frame).await.map_err(Broken::Io)?;
    if frame.len() < bytes { Err(Broken::CutOff) } else { Ok(Some(frame)) }
}

/// The frame that has these bytes.
pub(crate) fn frame(parts: &[&[u8]]) -> io::Result<Vec<u8>> {
    let bytes = u32::try_from(parts.iter().map(|part| part.len()).sum::<usize>());
    let bytes = bytes.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut frame = bytes.to_be_bytes().to_vec();
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    Ok(frame)
}

/// Writes a frame of JSON.
pub(crate) async fn say(to: &mut (impl AsyncWrite + Unpin), what: &impl Serialize) -> io::Result<()> {
    to.write_all(&frame(&[&serde_json::to_vec(what)?])?).await
}
