//! What a worker process tells its supervisor, through the socket that it has in the place of its standard input.
//!
//! One line, once: when it has begun to claim. The two may be of different versions, as new workers are started by an old supervisor:
//! fields that a version does not know are left out by it, and those that it misses have their default.

use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::net::{SocketAddr, UnixStream},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// The most bytes of a line that are read. It names all queues and handlers.
const MAX_LINE: u64 = 1024 * 1024;

/// What a worker process tells when it has begun to claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ready {
    /// Its broker, queues, handlers and slots, in one line.
    pub(crate) about: String,
    /// The names of its queues.
    pub(crate) queues: Vec<String>,
    /// How many tasks it can run at a time.
    pub(crate) slots: usize,
    /// How long its running tasks get after the order to stop; `None` where it does not say.
    pub(crate) grace_ms: Option<u64>,
}

impl Ready {
    /// Sets how long its running tasks get.
    pub(crate) fn with_grace(self, grace: Duration) -> Self {
        Self { grace_ms: Some(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)), ..self }
    }
}

/// The worker's end.
#[derive(Debug)]
pub(crate) struct Line(UnixStream);

impl Line {
    /// Takes it from standard input, in whose place nothing is left to read: what handlers start does not have it.
    pub(crate) fn take() -> io::Result<Self> {
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        // Somebody else may have set the variable.
        let _: SocketAddr = stream.peer_addr()?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Self(stream))
    }

    /// Tells that this worker has begun to claim.
    pub(crate) fn tell(&mut self, ready: &Ready) -> io::Result<()> {
        let mut line = serde_json::to_vec(ready)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }
}

/// The supervisor's end: waits until the worker is ready; `None` if it ends before, or says something else.
///
/// # Cancel safety
/// Not cancel safe: what was read is lost.
pub(super) async fn hear(stream: UnixStream) -> Option<Ready> {
    stream.set_nonblocking(true).ok()?;
    let stream = tokio::net::UnixStream::from_std(stream).ok()?;
    let mut line = String::new();
    BufReader::new(stream).take(MAX_LINE).read_line(&mut line).await.ok()?;
    serde_json::from_str(&line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(text: &[u8]) -> Option<Ready> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let text = text.to_vec();
        // More than fits into the socket is written while it is read, or not at all.
        let writes = std::thread::spawn(move || theirs.write_all(&text));
        let heard = hear(ours).await;
        let _ = writes.join().unwrap();
        heard
    }

    #[tokio::test]
    async fn what_a_worker_tells_is_heard() {
        let about = "queues \"a\"".to_owned();
        let ready = Ready { about, queues: vec!["a".to_owned()], slots: 3, grace_ms: None };
        let ready = ready.with_grace(Duration::from_secs(5));
        let (ours, theirs) = UnixStream::pair().unwrap();
        Line(theirs).tell(&ready).unwrap();
        assert_eq!(hear(ours).await, Some(ready));
    }

    #[tokio::test]
    async fn other_versions_are_heard_as_far_as_they_are_known() {
        assert_eq!(heard(b"{\"mood\":\"good\"}\n").await, Some(Ready::default()));
        assert_eq!(heard(b"").await, None);
        assert_eq!(heard(b"hello\n").await, None);
        let many = format!("{{\"about\":\"{}\"}}\n", "q,".repeat(400_000));
        assert_eq!(heard(many.as_bytes()).await.map(|ready| ready.about.len()), Some(800_000));
        assert_eq!(heard(&vec![b'x'; 3_000_000]).await, None, "it is not read for ever");
    }
}
