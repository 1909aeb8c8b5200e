//! One worker process of a supervisor, from its start to its end.

use std::{
    ffi::OsString,
    io,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::sync::mpsc;

use super::{
    fleet::Number,
    line::{self, Ready},
};
use crate::children::{Exit, Limits, Plan, Process, SUPERVISOR, Socket, Spawner, Start};

/// How long running tasks get where a worker process does not say.
const GRACE: Duration = Duration::from_secs(30);

/// How much longer than its grace a worker process may take to end: it stops its tasks, gives them back, and dismisses its children.
const MARGIN: Duration = Duration::from_secs(20);

/// What is started: a file, and the arguments.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<OsString>,
}

/// What is heard of a worker process.
#[derive(Debug)]
pub(super) enum News {
    /// It has begun to claim.
    Ready(Ready),
    /// It has ended. Nothing more is heard of it.
    Ended(io::Result<Exit>),
}

/// One that was started.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) pid: u32,
    /// When it is killed, unless something happens before.
    pub(super) deadline: Option<Instant>,
    /// It was told to end.
    draining: bool,
    ready: bool,
    grace: Duration,
    signals: mpsc::UnboundedSender<Signal>,
}

impl Member {
    /// Starts one. What is heard of it comes under its number. When it is dropped, the process is killed.
    pub(super) async fn start(
        spawner: &Spawner,
        program: &Program,
        number: Number,
        news: mpsc::UnboundedSender<(Number, News)>,
    ) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let hears = ours.try_clone()?;
        let plan = Plan {
            start: Start::Program(
                std::iter::once(program.path.clone().into_os_string())
                    .chain(program.args.iter().cloned())
                    .collect(),
            ),
            limits: Limits::default(),
            folder: PathBuf::new(),
            env: vec![(SUPERVISOR, std::process::id().to_string())],
        };
        let process = spawner.start_on(Socket { ours, theirs }, plan).await?;
        let pid = process.pid();
        let (signals, orders) = mpsc::unbounded_channel();
        tokio::spawn(attend(process, hears, number, orders, news));
        Ok(Self { pid, deadline: None, draining: false, ready: false, grace: GRACE, signals })
    }

    /// Notes what it told.
    pub(super) fn is_ready(&mut self, ready: &Ready) {
        self.ready = true;
        self.grace = ready.grace_ms.map_or(GRACE, Duration::from_millis);
        // One that drains may be about to be told to end at once, and has less time then.
        if !self.draining {
            self.deadline = None;
        }
    }

    /// Whether it was ever ready.
    pub(super) fn was_ready(&self) -> bool {
        self.ready
    }

    /// Tells it to drain, if it was not told so.
    pub(super) fn drain(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.draining, true) {
            self.signal(Signal::TERM);
            self.deadline = now.checked_add(self.grace.saturating_add(MARGIN));
        }
    }

    /// Tells it, after it was told to drain, to end at once.
    pub(super) fn abort(&mut self, now: Instant) {
        // Another signal: two of one kind that come at once are one.
        self.signal(Signal::INT);
        self.deadline = Some(now + MARGIN);
    }

    /// Kills it.
    pub(super) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.deadline = None;
    }

    fn signal(&self, signal: Signal) {
        // Who attends to it is there until it has ended.
        let _ = self.signals.send(signal);
    }
}

/// Hears and tells one until it has ended.
async fn attend(
    process: Process,
    line: UnixStream,
    number: Number,
    mut orders: mpsc::UnboundedReceiver<Signal>,
    news: mpsc::UnboundedSender<(Number, News)>,
) {
    let ready = line::hear(line);
    tokio::pin!(ready);
    let mut heard = false;
    loop {
        tokio::select! {
            biased;
            ready = &mut ready, if !heard => {
                heard = true;
                if let Some(ready) = ready {
                    // Without a supervisor, nobody gives orders either.
                    let _ = news.send((number, News::Ready(ready)));
                }
            }
            () = process.ended() => break,
            order = orders.recv() => match order {
                Some(signal) => process.signal(signal),
                None => return,
            },
        }
    }
    let exit = process.reap().await;
    let _ = news.send((number, News::Ended(exit)));
}
