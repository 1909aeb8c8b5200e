//! What a server says of itself before anybody logs in: its version. The client library reads that and tells nobody, so it is asked
//! once more.

use std::{fmt, io, time::Duration};

use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use lapin::{
    protocol::{AMQPClass, connection::AMQPMethod, parse_class},
    types::FieldTable,
};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a client says first.
const HELLO: &[u8] = b"AMQP\0\0\x09\x01";

/// The kind of a frame, its channel, its length.
const HEAD: usize = 7;

/// How long a greeting may be, in bytes.
const MOST: u32 = 1 << 16;

/// The version of a RabbitMQ server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    text: String,
    /// Its first two numbers, which say what it can.
    release: (u32, u32),
}

impl Version {
    /// The oldest that has what is needed.
    pub(super) const OLDEST: (u32, u32) = (3, 10);

    /// From this on the server has streams without being told to.
    pub(super) const STREAMS: (u32, u32) = (3, 12);

    /// From this on a queue says how long its tasks may run.
    pub(super) const TIMEOUTS: (u32, u32) = (3, 12);

    /// From this on a quorum queue without a delivery limit has one all the same.
    pub(super) const LIMITS: (u32, u32) = (4, 0);

    /// Reads `3.10.8`, `4.0.0-beta.1`; `None` when it is nothing like that.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(str::parse::<u32>);
        let release = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self { text: text.to_owned(), release })
    }

    /// Whether it is of this release or a later one.
    pub(super) fn is_at_least(&self, release: (u32, u32)) -> bool {
        self.release >= release
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Asks the server at the other end for its version. It notes in its log that somebody connected and left.
///
/// # Errors
/// When it is none of RabbitMQ's, or says nothing.
pub(super) async fn version(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Version> {
    let asked = async {
        stream.write_all(HELLO).await?;
        stream.flush().await?;
        let mut head = [0; HEAD];
        stream.read_exact(&mut head).await?;
        let mut body = vec![0; length(head)?];
        stream.read_exact(&mut body).await?;
        properties(&body).as_ref().and_then(version_in).ok_or_else(|| strange("no greeting of RabbitMQ"))
    };
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn length([_, _, _, length @ ..]: [u8; HEAD]) -> io::Result<usize> {
    let length = u32::from_be_bytes(length);
    if length > MOST {
        return Err(strange("too long a greeting"));
    }
    usize::try_from(length).map_err(io::Error::other)
}

/// The properties of the server in the body of its first frame.
fn properties(body: &[u8]) -> Option<FieldTable> {
    match parse_class(body) {
        Ok((_, AMQPClass::Connection(AMQPMethod::Start(start)))) => Some(start.server_properties),
        _ => None,
    }
}

fn version_in(properties: &FieldTable) -> Option<Version> {
    let text = properties.inner().get("version")?.as_long_string()?.to_string();
    Version::parse(&text)
}

fn strange(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_release() {
        for (text, least, yes) in [
            ("3.10.8", Version::OLDEST, true),
            ("3.9.29", Version::OLDEST, false),
            ("3.10.8", Version::TIMEOUTS, false),
            ("3.12.0", Version::TIMEOUTS, true),
            ("4.0.0-beta.5", Version::LIMITS, true),
            ("10.0.1", Version::LIMITS, true),
        ] {
            assert_eq!(Version::parse(text).unwrap().is_at_least(least), yes, "{text}");
        }
        assert_eq!(Version::parse("RabbitMQ"), None);
    }

    #[test]
    fn a_greeting_is_read() {
        let mut body = vec![0, 10, 0, 10, 0, 9];
        let field = b"\x07versionS\0\0\0\x063.12.1";
        body.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        body.extend(field);
        body.extend(b"\0\0\0\x05PLAIN\0\0\0\x05en_US");
        let version = properties(&body).as_ref().and_then(version_in).unwrap();
        assert_eq!(version.to_string(), "3.12.1");
        assert_eq!(properties(b"HTTP/1.1 400"), None);
        assert!(length([1, 0, 0, 0xff, 0, 0, 0]).is_err());
    }
}
