//! One process of a pool, as the pool sees it: units out, replies in.

use std::{
    collections::VecDeque,
    io,
    os::unix::net::UnixStream as StdStream,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use manyhands_broker::Error;
use manyhands_worker::{
    function::Pace,
    processes::{Exit, Process},
};
use tokio::{net::UnixStream, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    OnCrash,
    builder::Terms,
    line::{Line, Standing},
    unit::{Ended, Unit},
};
use crate::{
    CallError,
    wire::{Frames, Kind, LEAST, empty, put},
};

/// How many bytes of arguments a process is given ahead.
const BYTES: usize = 1 << 20;

/// How many processes may die that were given a unit and had not read it, until one more counts as a crash of it: else nothing would end
/// where processes die of themselves.
const UNREAD: u32 = 10;

/// How long a process that has nothing more to do gets to end by itself.
const GOODBYE: Duration = Duration::from_secs(5);

/// A process, and what it was given.
pub(super) struct Child {
    process: Process,
    socket: UnixStream,
    frames: Frames,
    terms: Terms,
    /// What it was given and has not answered, in that order.
    given: VecDeque<Given>,
    /// How many bytes of arguments these have.
    bytes: usize,
    /// What is not written yet, and from where on.
    out: Vec<u8>,
    written: usize,
    next: u64,
    pace: Pace,
    ready: bool,
    /// Since when it has answered nothing.
    since: Instant,
    /// What was written to it since it had nothing to do, unless it has answered.
    asked: Asked,
    /// How many units it may still be given.
    left: Option<u32>,
}

struct Given {
    number: u64,
    unit: Unit,
}

/// What was written to a process that had nothing to do, before it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// In one piece, which it reads as a whole or not at all.
    Once,
    /// Nothing, as it was dead by then.
    InVain,
    /// More than that, or it has answered since: it may have read some of it.
    More,
}

/// How the time of a process ended.
pub(super) enum End {
    /// It was replaced or died, and another may take its place.
    Gone,
    /// It never was ready.
    Stillborn(Stillborn),
    /// It can never be ready, for this reason.
    Broken(String),
    /// The pool has ended.
    Over,
}

/// Why a process never was ready.
#[derive(Debug)]
pub(super) enum Stillborn {
    /// The system did not start it, for this reason.
    NotStarted(String),
    /// It died, so.
    Died(String),
}

/// Why a process is not given anything any more.
enum Why {
    /// It ended, or closed its socket.
    Ended,
    /// It ended, and had not read what it was given last, after it had nothing to do.
    Unread,
    /// It said that it cannot be ready.
    Broken(String),
    /// It said what it should not.
    Nonsense(io::Error),
    /// It ran one unit for too long.
    Late(Duration),
    /// It has done all that it was to do, or all that there was.
    Done(Standing),
    Killed,
}

impl Child {
    pub(super) fn new(process: Process, socket: StdStream, terms: &Terms) -> io::Result<Self> {
        let left = terms.most_tasks;
        Ok(Self {
            process,
            socket: UnixStream::from_std(socket)?,
            frames: Frames::default(),
            terms: terms.clone(),
            given: VecDeque::new(),
            bytes: 0,
            out: Vec::new(),
            written: 0,
            next: 0,
            pace: Pace::default(),
            ready: false,
            since: Instant::now(),
            asked: Asked::Nothing,
            left,
        })
    }

    /// Gives it units and takes its replies, until it ends or is to end.
    pub(super) async fn serve(
        mut self,
        line: &Line,
        killing: &CancellationToken,
        ready: &AtomicUsize,
    ) -> End {
        let why = self.work(line, killing, ready).await;
        if self.ready {
            ready.fetch_sub(1, Ordering::SeqCst);
        }
        self.end(line, why).await
    }

    async fn work(&mut self, line: &Line, killing: &CancellationToken, ready: &AtomicUsize) -> Why {
        loop {
            let news = line.news();
            tokio::pin!(news);
            news.as_mut().enable();
            let standing = self.give(line);
            if self.given.is_empty() && (self.left == Some(0) || standing != Standing::Open) {
                return Why::Done(standing);
            }
            let hungry = self.ready && self.left != Some(0) && self.given.len() < self.pace.window();
            let late =
                self.terms.run_limit.filter(|_| !self.given.is_empty()).map(|limit| self.since + limit);
            if let Err(error) = self.write() {
                // What it said last may still be read.
                tracing::debug!(%error, "a process of the pool cannot be written to");
            }
            let unwritten = self.written < self.out.len();
            tokio::select! {
                biased;
                () = killing.cancelled() => return Why::Killed,
                _ = self.socket.readable() => match self.read(line, ready) {
                    Ok(None) => {}
                    Ok(Some(why)) => return why,
                    Err(error) => return Why::Nonsense(error),
                },
                _ = self.socket.writable(), if unwritten => {}
                () = &mut news, if hungry => {}
                () = at(late), if late.is_some() => return Why::Late(self.terms.run_limit.unwrap_or_default()),
            }
        }
    }

    /// Gives it what it has room for, and tells how the line stands.
    fn give(&mut self, line: &Line) -> Standing {
        if !self.ready {
            return line.standing();
        }
        let room = self.pace.window().saturating_sub(self.given.len());
        let room = self.left.map_or(room, |left| room.min(usize::try_from(left).unwrap_or(usize::MAX)));
        if room == 0 {
            return line.standing();
        }
        let (mut units, idle) = (Vec::new(), self.given.is_empty());
        let standing = line.take(room, BYTES.saturating_sub(self.bytes), idle, &mut units);
        // Nothing more is given before it is answered.
        let alone = idle && room == 1;
        if idle && !units.is_empty() {
            self.since = Instant::now();
            self.asked = Asked::Nothing;
        }
        for unit in units {
            let name = unit.function.as_str().as_bytes();
            // A name has at most 128 bytes.
            let head = [u8::from(alone), u8::try_from(name.len()).unwrap_or(u8::MAX)];
            put(&mut self.out, Kind::Run, self.next, &[&head, name, unit.calls.as_bytes()]);
            self.bytes += unit.calls.len();
            self.given.push_back(Given { number: self.next, unit });
            self.next += 1;
            self.left = self.left.map(|left| left - 1);
        }
        standing
    }

    fn write(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.socket.try_write(&self.out[self.written..]) {
                Ok(count) => {
                    self.written += count;
                    self.asked = match self.asked {
                        Asked::Nothing if count <= LEAST => Asked::Once,
                        _ => Asked::More,
                    };
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    // Nobody will read it.
                    self.written = self.out.len();
                    if self.asked == Asked::Nothing {
                        self.asked = Asked::InVain;
                    }
                    return Err(e);
                }
            }
        }
        empty(&mut self.out);
        self.written = 0;
        Ok(())
    }

    /// Reads what there is; tells if nothing more will come.
    fn read(&mut self, line: &Line, ready: &AtomicUsize) -> io::Result<Option<Why>> {
        loop {
            let room = self.frames.room();
            let (most, count) = (
                room.len(),
                match self.socket.try_read(room) {
                    Ok(0) => {
                        return Ok(Some(if self.asked == Asked::InVain { Why::Unread } else { Why::Ended }));
                    }
                    Ok(count) => count,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    // It died with something unread.
                    Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {
                        let nothing_read = matches!(self.asked, Asked::Once | Asked::InVain);
                        return Ok(Some(if nothing_read { Why::Unread } else { Why::Ended }));
                    }
                    Err(e) => return Err(e),
                },
            );
            self.frames.read(count);
            if let Some(why) = self.hear(line, ready)? {
                return Ok(Some(why));
            }
            if count < most {
                return Ok(None);
            }
        }
    }

    fn hear(&mut self, line: &Line, ready: &AtomicUsize) -> io::Result<Option<Why>> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "it answers what it was not asked");
        let mut back = Vec::new();
        while let Some(frame) = self.frames.next()? {
            match frame.kind {
                Kind::Ready if !self.ready => {
                    self.ready = true;
                    ready.fetch_add(1, Ordering::SeqCst);
                }
                Kind::Broken => {
                    return Ok(Some(Why::Broken(String::from_utf8_lossy(frame.body).into_owned())));
                }
                Kind::Done | Kind::Refused => {
                    // In their order, unless one was given back meanwhile.
                    if self.given.front().is_none_or(|given| given.number != frame.number) {
                        return Err(wrong());
                    }
                    let given = self.given.pop_front().ok_or_else(wrong)?;
                    self.bytes -= given.unit.calls.len();
                    self.since = Instant::now();
                    // What else it has may be what it read with this.
                    self.asked = Asked::More;
                    let ended = match frame.kind {
                        Kind::Done => {
                            let (took, reply) = frame.body.split_first_chunk::<8>().ok_or_else(wrong)?;
                            self.pace.took(Duration::from_nanos(u64::from_le_bytes(*took)));
                            Ended::Replied(String::from_utf8(reply.to_vec()).map_err(|_| wrong())?)
                        }
                        _ => {
                            let why = String::from_utf8_lossy(frame.body).into_owned();
                            Ended::Failed(Error::invalid("call", why).into())
                        }
                    };
                    line.end(given.unit, ended);
                }
                Kind::Back => {
                    let at =
                        self.given.iter().position(|given| given.number == frame.number).ok_or_else(wrong)?;
                    let given = self.given.remove(at).ok_or_else(wrong)?;
                    self.bytes -= given.unit.calls.len();
                    self.left = self.left.map(|left| left + 1);
                    back.push(given.unit);
                }
                Kind::Ready | Kind::Begin | Kind::Run => return Err(wrong()),
            }
        }
        if !back.is_empty() {
            self.pace.slow();
            line.give_back(back);
        }
        Ok(None)
    }

    /// Ends the process, and decides what becomes of what it was given.
    async fn end(mut self, line: &Line, why: Why) -> End {
        if let Why::Done(standing) = why {
            drop(self.socket);
            // Either way it ends.
            let _ = tokio::time::timeout(GOODBYE, self.process.ended()).await;
            let _ = self.process.reap().await;
            return if standing == Standing::Open { End::Gone } else { End::Over };
        }
        let exit = self.process.reap().await;
        let how = match (&why, &exit) {
            (Why::Nonsense(error), _) => format!("it was killed, as {error}"),
            (_, Ok(exit)) => exit.to_string(),
            (_, Err(error)) => format!("its end is not known: {error}"),
        };
        match why {
            Why::Killed => {
                let reason = line.over().unwrap_or(CallError::Terminated);
                for given in self.given {
                    line.end(given.unit, Ended::Failed(reason.clone()));
                }
                End::Over
            }
            Why::Broken(why) => End::Broken(why),
            _ if !self.ready => End::Stillborn(Stillborn::Died(how)),
            Why::Late(limit) => {
                if let Some(late) = self.given.pop_front() {
                    line.end(late.unit, Ended::Failed(CallError::RanTooLong(limit)));
                }
                // These were not begun: who runs for so long has been given nothing ahead for long.
                line.give_back(self.given.into_iter().map(|given| given.unit).collect());
                End::Gone
            }
            _ => {
                tracing::warn!(%how, units = self.given.len(), "a process of the pool died");
                match self.given.front_mut() {
                    Some(Given { unit, .. }) if matches!(why, Why::Unread) && unit.unread < UNREAD => {
                        unit.unread += 1;
                        line.give_back(self.given.into_iter().map(|given| given.unit).collect());
                    }
                    _ => bury(self.given, self.terms.on_crash, line, exit.ok(), &how),
                }
                End::Gone
            }
        }
    }
}

/// What becomes of the units of a process that died. It sent each reply before it began the next unit: the first that has none is what it died of, or
/// would have begun next.
fn bury(mut given: VecDeque<Given>, on_crash: OnCrash, line: &Line, exit: Option<Exit>, how: &str) {
    let mut again = Vec::new();
    if let Some(Given { mut unit, .. }) = given.pop_front() {
        let most = match on_crash {
            OnCrash::Rerun { max_crashes } => max_crashes,
            OnCrash::Fail => 1,
        };
        // Of several calls none is known to be the one: each gets its own chance.
        let several = unit.count > 1 && on_crash != OnCrash::Fail;
        unit.crashes += u32::from(!several);
        if unit.crashes >= most {
            let crashes = unit.crashes;
            line.end(unit, Ended::Failed(CallError::Crashed { crashes, exit, how: how.to_owned() }));
        } else {
            again = unit.apart();
            line.took_apart(again.len());
        }
    }
    again.extend(given.into_iter().map(|given| given.unit));
    line.give_back(again);
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
