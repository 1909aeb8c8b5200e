//! One warm child: started, greeted, given one task after the other.

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use tokio::{io::AsyncRead, sync::mpsc, task::JoinHandle};

use super::{
    Outfit,
    command::drain,
    exit::Exit,
    lines::Lines,
    log::Log,
    outbox::Outbox,
    process::Process,
    protocol::{self, Said},
    spawner::{Plan, Spawner, Start},
};
use crate::TaskError;

/// What a message begins with.
const BRACE: u8 = b'{';

/// How many messages are read ahead. A child that says more than it was asked is stopped by its pipe.
const AHEAD: usize = 4;

/// After how long it is said that a child has not greeted yet.
const SLOW: Duration = Duration::from_secs(10);

/// How long a child that says no more gets to end by itself: how a program ends says more than that it was killed.
const LAST_BREATH: Duration = Duration::from_millis(500);

/// A child that may run tasks.
#[derive(Debug)]
pub(super) struct Warm {
    process: Process,
    outbox: Outbox,
    said: mpsc::Receiver<Result<Said, Wrong>>,
    log: Log,
    readers: Vec<JoinHandle<()>>,
    began: Instant,
    /// How many tasks it may be given beside the one that it runs.
    ahead: usize,
}

/// The end of a child.
#[derive(Debug)]
pub(super) struct Ended {
    /// How it ended, where that is known.
    pub(super) exit: io::Result<Exit>,
    /// Whether it was not we who killed it.
    pub(super) by_itself: bool,
    /// What it said last, to be added to an error.
    pub(super) words: String,
}

/// What a child said that it should not have.
#[derive(Debug)]
pub(super) enum Wrong {
    /// It is no message, for this reason.
    NoMessage(String),
    /// It has more bytes than any message.
    TooLong,
    /// It is a message, but not one that may come now: what it said.
    NotNow(String),
    /// A task that it hands on is none, or one too many.
    HandedOn(TaskError),
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
    pub(super) async fn start(spawner: &Spawner, outfit: &Outfit, start: &Start) -> Result<Self, String> {
        let (folder, limits) = (outfit.folder.clone(), outfit.limits);
        let plan = Plan { start: start.clone(), folder, env: Vec::new(), limits };
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
            News::Said(Said::Hello(hello)) if hello.tasks.iter().any(|task| task == outfit.name.as_str()) => {
                warm.ahead = hello.ahead;
                return Ok(warm);
            }
            News::Said(Said::Hello(hello)) => {
                format!("it handles {}, not \"{}\"", hello.tasks.join(", "), outfit.name)
            }
            News::Said(_) => "it speaks of a task before it says hello".to_owned(),
            News::Wrong(wrong) => format!("instead of hello: {wrong}"),
            News::Ended => return Err(format!("it ended before it said hello: {}", warm.end().await)),
        };
        warm.kill().await;
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
        let outbox = Outbox::new(process.stdin.take());
        Self { process, outbox, said, log, readers, began: Instant::now(), ahead: 0 }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Kills what a child left behind that has ended itself: it may hold the pipes.
    pub(super) fn kill_group(&self) {
        self.process.kill();
    }

    /// When it was started.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// How many tasks it may be given beside the one that it runs.
    pub(super) fn ahead(&self) -> usize {
        self.ahead
    }

    /// What the child says next, or that it has ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn news(&mut self) -> News {
        heard(self.said.recv().await)
    }

    /// What is to be written to the child, what it says, and the process itself, to be used at the same time: it may write before it reads.
    pub(super) fn split(&mut self) -> (&mut Outbox, &mut mpsc::Receiver<Result<Said, Wrong>>, &Process) {
        (&mut self.outbox, &mut self.said, &self.process)
    }

    pub(super) fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Asks the child to end, and kills it if it does not within that time.
    pub(super) async fn dismiss(mut self, within: Duration) {
        self.outbox.close();
        // Either way it ends.
        let _ = tokio::time::timeout(within, self.process.ended()).await;
        self.kill().await;
    }

    /// Waits a moment for the end of a child that says no more, then kills what is left of it and its group.
    pub(super) async fn end(self) -> Ended {
        let by_itself = tokio::time::timeout(LAST_BREATH, self.process.ended()).await.is_ok();
        Ended { by_itself, ..self.kill().await }
    }

    /// Kills the child and its group, and returns when the child is dead.
    pub(super) async fn kill(self) -> Ended {
        let Self { process, outbox, said, log, readers, .. } = self;
        drop((outbox, said));
        let exit = process.reap().await;
        for reader in readers {
            drain(Some(reader)).await;
        }
        Ended { exit, by_itself: false, words: log.last_words() }
    }
}

/// What was said before the end comes before that: a pipe outlives who wrote to it.
pub(super) fn heard(said: Option<Result<Said, Wrong>>) -> News {
    match said {
        Some(Ok(said)) => News::Said(said),
        Some(Err(wrong)) => News::Wrong(wrong),
        None => News::Ended,
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exit {
            Ok(exit) => write!(f, "{exit}{}", self.words),
            Err(error) => write!(f, "its end is not known: {error}{}", self.words),
        }
    }
}

/// Reads what a child says: what begins with a brace is for us, all else is its log.
async fn listen(pipe: impl AsyncRead + Unpin, messages: mpsc::Sender<Result<Said, Wrong>>, log: Log) {
    let mut lines = Lines::new(pipe, protocol::LONGEST).impatient(BRACE);
    while let Ok(Some(line)) = lines.next().await {
        if line.text.first() != Some(&BRACE) {
            log.say(&line);
            continue;
        }
        let said = if line.is_cut() {
            Err(Wrong::TooLong)
        } else if !line.ended {
            // It died while it wrote: its end says more.
            continue;
        } else {
            protocol::read(&line.text).map_err(Wrong::NoMessage)
        };
        if let Ok(Said::Log { level, text, id }) = &said {
            log.message(*level, text, id.as_deref());
            continue;
        }
        if messages.send(said).await.is_err() {
            // Nobody listens any more; it must not wait for us before it is killed.
            return;
        }
    }
    log.flush();
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMessage(why) => {
                write!(f, "a line that begins with a brace is no message of the protocol: {why}")
            }
            Self::NotNow(what) => f.write_str(what),
            Self::HandedOn(error) => f.write_str(error.message()),
            Self::TooLong => {
                f.write_str("a line of more than 1 MiB and 64 KiB is too long: a result has at most 1 MiB")
            }
        }
    }
}
