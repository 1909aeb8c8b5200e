//! One warm child: started, greeted, given one task after the other.

use std::{io, process::ExitStatus, time::Duration};

use manyhands_broker::Payload;
use tokio::{
    io::{AsyncRead, AsyncWriteExt},
    net::unix::pipe,
    sync::mpsc,
    task::JoinHandle,
};

use super::{
    Outfit,
    command::{describe, drain},
    lines::Lines,
    log::Log,
    process::Process,
    protocol::{self, Said},
    spawner::{Plan, Spawner},
};

/// How many messages are read ahead. A child that says more than it was asked is stopped by its pipe.
const AHEAD: usize = 4;

/// After how long it is said that a child has not greeted yet.
const SLOW: Duration = Duration::from_secs(10);

/// A child that may run tasks.
#[derive(Debug)]
pub(super) struct Warm {
    process: Process,
    stdin: Option<pipe::Sender>,
    said: mpsc::Receiver<Result<Said, Wrong>>,
    log: Log,
    readers: Vec<JoinHandle<()>>,
}

/// What a child said that it should not have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is no message, for this reason.
    NoMessage(String),
    /// It has so many bytes.
    TooLong(usize),
}

/// What is heard of a child.
#[derive(Debug)]
pub(super) enum News {
    Said(Said),
    Wrong(Wrong),
    /// It has ended, or closed its standard output.
    Ended,
}

impl Warm {
    /// Starts a child and waits for its greeting.
    ///
    /// # Errors
    /// Why it cannot be used.
    ///
    /// # Cancel safety
    /// A child that is waited for no longer is killed.
    pub(super) async fn start(spawner: &Spawner, outfit: &Outfit, words: &[String]) -> Result<Self, String> {
        let plan = Plan {
            words: words.iter().map(Into::into).collect(),
            folder: outfit.folder.clone(),
            env: Vec::new(),
        };
        let process = spawner.start(plan).await.map_err(|e| format!("its process cannot be started: {e}"))?;
        let mut warm = Self::of(process, outfit);
        let slow = tokio::time::sleep(SLOW);
        tokio::pin!(slow);
        let news = loop {
            tokio::select! {
                news = warm.news() => break news,
                () = &mut slow, if !slow.is_elapsed() => {
                    let (name, pid) = (&outfit.name, warm.process.pid());
                    tracing::warn!(task = %name, pid, "the handler's process has not said hello yet");
                }
            }
        };
        let why = match news {
            News::Said(Said::Hello { tasks }) if tasks.iter().any(|task| task == outfit.name.as_str()) => {
                return Ok(warm);
            }
            News::Said(Said::Hello { tasks }) => {
                format!("it handles {}, not \"{}\"", tasks.join(", "), outfit.name)
            }
            News::Said(Said::Answer { .. }) => "it answers before it says hello".to_owned(),
            News::Wrong(wrong) => format!("instead of hello: {wrong}"),
            News::Ended => {
                let (status, words) = warm.end().await;
                return Err(format!("it ended before it said hello: {status}{words}"));
            }
        };
        warm.end().await;
        Err(why)
    }

    fn of(mut process: Process, outfit: &Outfit) -> Self {
        let log = Log::new(outfit.name.clone(), process.pid());
        let mut readers = Vec::new();
        let (messages, said) = mpsc::channel(AHEAD);
        if let Some(pipe) = process.stdout.take() {
            readers.push(tokio::spawn(listen(pipe, messages, log.clone())));
        }
        if let Some(pipe) = process.stderr.take() {
            readers.push(tokio::spawn(log.clone().follow(pipe)));
        }
        Self { stdin: process.stdin.take(), process, said, log, readers }
    }

    /// What the child says next, or that it has ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn news(&mut self) -> News {
        // What it said before its end comes before that: a pipe outlives who wrote to it.
        match self.said.recv().await {
            Some(Ok(said)) => News::Said(said),
            Some(Err(wrong)) => News::Wrong(wrong),
            None => News::Ended,
        }
    }

    /// Gives the child a line.
    ///
    /// # Errors
    /// How much it took before it read no more.
    ///
    /// # Cancel safety
    /// A part of the line may be written: the child is of no use then.
    pub(super) async fn give(stdin: &mut Option<pipe::Sender>, line: &[u8]) -> Result<(), usize> {
        let pipe = stdin.as_mut().ok_or(0usize)?;
        let mut written = 0;
        while written < line.len() {
            written += pipe.write(&line[written..]).await.map_err(|_| written)?;
        }
        Ok(())
    }

    /// The pipe to the child and what is heard of it, to be used at the same time: it may write before it reads.
    pub(super) fn split(&mut self) -> (&mut Option<pipe::Sender>, &mut mpsc::Receiver<Result<Said, Wrong>>) {
        (&mut self.stdin, &mut self.said)
    }

    /// Asks the child to end, and kills it if it does not within that time.
    pub(super) async fn dismiss(mut self, within: Duration) {
        drop(self.stdin.take());
        // Either way it ends.
        let _ = tokio::time::timeout(within, self.process.ended()).await;
        self.end().await;
    }

    /// Kills what is left of the child and its group; how it ended, and what it said last.
    pub(super) async fn end(self) -> (String, String) {
        // Its end is waited for a moment where only its output has ended: how a program ends says more than that it was killed.
        let _ = tokio::time::timeout(Duration::from_millis(100), self.process.ended()).await;
        self.kill().await
    }

    /// Kills the child and its group, and returns when the child is dead.
    pub(super) async fn kill(self) -> (String, String) {
        let Self { process, stdin, said, log, readers } = self;
        drop((stdin, said));
        let status: io::Result<ExitStatus> = process.reap().await;
        for reader in readers {
            drain(Some(reader)).await;
        }
        let status = status.map_or_else(|e| format!("its end is not known: {e}"), describe);
        (status, log.last_words())
    }
}

/// Reads what a child says: what begins with a brace is for us, all else is its log.
async fn listen(pipe: impl AsyncRead + Unpin, messages: mpsc::Sender<Result<Said, Wrong>>, log: Log) {
    let mut lines = Lines::new(pipe, protocol::LONGEST);
    while let Ok(Some(line)) = lines.next().await {
        if line.text.first() != Some(&b'{') {
            log.say(&line);
            continue;
        }
        let said = if line.is_cut() {
            Err(Wrong::TooLong(line.bytes))
        } else {
            protocol::read(&line.text).map_err(Wrong::NoMessage)
        };
        if messages.send(said).await.is_err() {
            // Nobody listens any more; it must not wait for us before it is killed.
            return;
        }
    }
    log.flush();
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoMessage(why) => {
                write!(f, "a line that begins with a brace is no message of the protocol: {why}")
            }
            Self::TooLong(bytes) => {
                write!(f, "an answer of {bytes} bytes is too long: a result has at most 1 MiB")
            }
        }
    }
}

/// What becomes of a result that is too long to be kept.
pub(super) fn too_long(result: &Payload) -> String {
    let bytes = result.len();
    format!(
        "it ran, but its result of {bytes} bytes cannot be kept: at most 1 MiB; store it elsewhere and return a reference"
    )
}
