//! The one thread of a process that writes.
//!
//! Callers hand it jobs. It takes all that have piled up as one group, waits for the turn, runs them in one
//! transaction, with what comes meanwhile, and commits: under load many calls share one commit and one sync, without any timer.
//!
//! A commit itself is never synced: it survives a kill, and the turn is short. What must survive a power cut is answered
//! after the log was synced, once for the whole group, while others write already. They may see what is not synced yet, and act on
//! it: what they write comes behind it in the log, which a power cut leaves as a prefix.

use std::sync::{Arc, mpsc};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    liveness::Alive, log::Log, prepared::Prepared, steps::Steps, transaction::Hand, turn::Turn, wakeup::Bell,
};
use crate::{
    Durability, Error, ErrorKind, Result,
    clock::Clock,
    crash::{Point, at},
};

/// The most jobs of one group.
const GROUP: usize = 256;

/// One call on its way through the thread.
trait Job: Send {
    fn durability(&self) -> Durability;
    /// Whether it has a part in transactions.
    fn writes(&self) -> bool;
    /// Whether it may be answered without one.
    fn reads(&self) -> bool;
    /// Answers without writing, if that is possible.
    fn peek(&mut self, steps: &Steps<'_, '_>) -> bool;
    /// Does its part of the transaction.
    fn step(&mut self, steps: &mut Steps<'_, '_>) -> Result<()>;
    /// Answers, after the commit or instead of it.
    fn finish(self: Box<Self>, failed: Option<Error>);
}

type Step<T> = Box<dyn FnMut(&mut Steps<'_, '_>) -> Result<T> + Send>;
type Peek<T> = Box<dyn FnMut(&Steps<'_, '_>) -> Result<Option<T>> + Send>;

/// A call with a typed answer.
pub(super) struct Call<T> {
    /// What its answer promises, where the directory promises as much.
    durability: Durability,
    operation: &'static str,
    peek: Option<Peek<T>>,
    step: Option<Step<T>>,
    answer: Option<Result<T>>,
}

impl<T: Send + 'static> Call<T> {
    /// A call that writes.
    pub(super) fn write(
        operation: &'static str,
        durability: Durability,
        step: impl FnMut(&mut Steps<'_, '_>) -> Result<T> + Send + 'static,
    ) -> Self {
        Self { durability, operation, peek: None, step: Some(Box::new(step)), answer: None }
    }

    /// A call that only reads.
    pub(super) fn read(
        operation: &'static str,
        mut read: impl FnMut(&Steps<'_, '_>) -> Result<T> + Send + 'static,
    ) -> Self {
        let peek: Peek<T> = Box::new(move |steps| read(steps).map(Some));
        Self { durability: Durability::Process, operation, peek: Some(peek), step: None, answer: None }
    }

    /// Lets the call be answered by reading where that is enough.
    pub(super) fn or_read(
        mut self,
        peek: impl FnMut(&Steps<'_, '_>) -> Result<Option<T>> + Send + 'static,
    ) -> Self {
        self.peek = Some(Box::new(peek));
        self
    }
}

struct Pending<T> {
    call: Call<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send + 'static> Job for Pending<T> {
    fn durability(&self) -> Durability {
        self.call.durability
    }

    fn writes(&self) -> bool {
        self.call.step.is_some()
    }

    fn reads(&self) -> bool {
        self.call.peek.is_some()
    }

    fn peek(&mut self, steps: &Steps<'_, '_>) -> bool {
        self.call.answer = self.call.peek.as_mut().and_then(|peek| peek(steps).transpose());
        self.call.answer.is_some()
    }

    fn step(&mut self, steps: &mut Steps<'_, '_>) -> Result<()> {
        if let Some(step) = &mut self.call.step {
            self.call.answer = Some(Ok(step(steps)?));
        }
        Ok(())
    }

    fn finish(self: Box<Self>, failed: Option<Error>) {
        let unanswered =
            || Err(Error::new(ErrorKind::Internal, self.call.operation, "the writer had no answer"));
        let answer = failed.map(Err).or(self.call.answer).unwrap_or_else(unanswered);
        // The caller may be gone; what was committed stays committed.
        let _ = self.reply.send(answer);
    }
}

/// The way to the writer's thread. The thread ends after the last one is dropped.
#[derive(Clone, Debug)]
pub(super) struct Writer(mpsc::Sender<Box<dyn Job>>);

impl Writer {
    /// Starts the thread.
    pub(super) fn start(
        connection: Connection,
        log: Log,
        turn: Turn,
        bell: Arc<Bell>,
        clock: Arc<dyn Clock>,
        alive: Arc<Alive>,
    ) -> std::io::Result<Self> {
        let (sender, jobs) = mpsc::channel();
        let run = move || {
            let prepared = Prepared::new(&connection);
            let mut thread =
                Thread { connection: &connection, prepared, log, turn, bell, clock, jobs, next: None };
            thread.run();
            at(Point::WriterEnding);
            drop(thread);
            drop(connection);
            // Held for as long as anything may still be committed in this incarnation's name: it is not dead before that.
            drop(alive);
            at(Point::WriterEnded);
        };
        std::thread::Builder::new().name("mh-writer".to_owned()).spawn(run)?;
        Ok(Self(sender))
    }

    /// Hands in a call. The answer can be awaited or waited for.
    pub(super) fn call<T: Send + 'static>(&self, call: Call<T>) -> oneshot::Receiver<Result<T>> {
        let (reply, answer) = oneshot::channel();
        // If the thread is gone, so is the reply's sender, and the receiver says so.
        let _ = self.0.send(Box::new(Pending { call, reply }));
        answer
    }
}

struct Thread<'c> {
    connection: &'c Connection,
    prepared: Prepared<'c>,
    log: Log,
    turn: Turn,
    bell: Arc<Bell>,
    clock: Arc<dyn Clock>,
    jobs: mpsc::Receiver<Box<dyn Job>>,
    /// One that came too late for a group, and could not go along.
    next: Option<Box<dyn Job>>,
}

impl Thread<'_> {
    fn run(&mut self) {
        while let Some(first) = self.next.take().or_else(|| self.jobs.recv().ok()) {
            let mut group = vec![first];
            group.extend(self.jobs.try_iter().take(GROUP - 1));
            at(Point::WriterGroup);
            let group = self.answer_by_reading(group);
            if group.is_empty() {
                continue;
            }
            self.write(group, true);
            self.turn.let_others_in();
        }
    }

    /// Answers what needs no writing and returns the rest.
    fn answer_by_reading(&mut self, group: Vec<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
        let steps = Steps::new(&self.prepared, self.clock.now());
        let (mut read, mut rest) = (Vec::new(), Vec::new());
        // Where there is a commit anyhow, what can have a part in it costs less than a look at whether it needs one.
        let commits = group.iter().any(|job| !job.reads());
        for mut job in group {
            if !(commits && job.writes()) && job.peek(&steps) {
                at(Point::WriterRead);
                read.push(job);
            } else {
                rest.push(job);
            }
        }
        drop(steps);
        self.answer(read);
        rest
    }

    /// Answers calls whose part is committed, or was, by whomever: those that must survive a power cut when it would.
    fn answer(&mut self, group: Vec<Box<dyn Job>>) {
        let (durable, rest): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|job| job.durability() == Durability::Power);
        for job in rest {
            job.finish(None);
            at(Point::WriterAnswered);
        }
        if durable.is_empty() {
            return;
        }
        let synced = self.log.sync();
        at(Point::WriterSynced);
        for job in durable {
            job.finish(synced.as_ref().err().map(again));
            at(Point::WriterAnswered);
        }
    }

    /// Writes a group, with those that come meanwhile if it is `open`.
    fn write(&mut self, mut group: Vec<Box<dyn Job>>, open: bool) {
        let committed = self.commit(&mut group, open);
        at(if committed.is_ok() { Point::WriterGiven } else { Point::WriterFailed });
        match committed {
            Ok(()) => self.answer(group),
            Err(error) => match <[Box<dyn Job>; 1]>::try_from(group) {
                Ok([job]) => job.finish(Some(error)),
                // A lock or a disk that does not let one of them through lets none through, and each would wait again.
                Err(group) if error.kind() == ErrorKind::Unavailable => {
                    group.into_iter().for_each(|job| job.finish(Some(again(&error))));
                }
                // One of them is to blame: alone, each gets its own answer.
                Err(group) => group.into_iter().for_each(|job| self.write(vec![job], false)),
            },
        }
    }

    fn commit(&mut self, group: &mut Vec<Box<dyn Job>>, open: bool) -> Result<()> {
        at(Point::WriterWaiting);
        let _turn = self.turn.take().map_err(|e| {
            Error::new(ErrorKind::Unavailable, "commit", "the turn at writing cannot be taken").because(e)
        })?;
        let hand = Hand {
            connection: self.connection,
            prepared: &self.prepared,
            bell: &self.bell,
            clock: &*self.clock,
        };
        let (jobs, next) = (&self.jobs, &mut self.next);
        hand.write("commit", |steps| {
            for job in group.iter_mut() {
                job.step(steps)?;
                at(Point::WriterStepped);
            }
            while open && group.len() < GROUP {
                let Ok(mut job) = jobs.try_recv() else { break };
                if !job.writes() {
                    // What was not committed yet is not to be read.
                    *next = Some(job);
                    break;
                }
                let stepped = job.step(steps);
                // It belongs to the group, whatever came of it: if that is an error, all of them are tried alone.
                group.push(job);
                stepped?;
                at(Point::WriterStepped);
            }
            Ok(())
        })
    }
}

/// The error of a whole group, for one of it.
fn again(error: &Error) -> Error {
    let advice = error.advice().unwrap_or_default();
    Error::new(error.kind(), error.operation(), error.report()).advise(advice)
}
