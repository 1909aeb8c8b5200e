//! Sees to it that nothing waits behind a call that takes long: calls that were not begun are given back.
//!
//! Calls are given ahead as long as they are quick: that is what makes them cheap. Which call will be the slow one nobody knows. So a
//! thread looks every millisecond, as long as calls are there, whether one has run for so long, and then clears the desk.

use std::{
    collections::VecDeque,
    io::{self, Write},
    os::unix::net::UnixStream,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use manyhands_broker::sabotage::{Defect, planted};
use rustix::net::{RecvFlags, recv};

use crate::wire::{Frames, Kind, put};

/// How long a call may run before the others are given back.
const LONG: Duration = Duration::from_millis(1);

/// How long nobody looks at most, while a call runs.
const SELDOM: Duration = Duration::from_millis(50);

/// Calls of one function, as they were given.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) number: u64,
    pub(super) function: String,
    pub(super) calls: Vec<u8>,
    /// Nothing else is given before the answer.
    pub(super) alone: bool,
}

/// What lies about: calls that are not begun.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) socket: UnixStream,
    pub(super) frames: Frames,
    pub(super) inbox: VecDeque<Given>,
    /// Since when a call runs.
    pub(super) running: Option<Instant>,
    /// Whether the attendant looks now and then.
    awake: bool,
}

/// The desk, and who attends to it.
#[derive(Debug)]
pub(super) struct Attendant {
    desk: Mutex<Desk>,
    work: Condvar,
}

impl Desk {
    pub(super) fn new(socket: UnixStream, frames: Frames) -> Self {
        Self { socket, frames, inbox: VecDeque::new(), running: None, awake: false }
    }

    /// Puts what was read into the inbox.
    pub(super) fn sort(&mut self) -> io::Result<()> {
        let wrong =
            || io::Error::new(io::ErrorKind::InvalidData, "calls were given in a form that is not known");
        while let Some(frame) = self.frames.next()? {
            let (Kind::Run, [alone, length, rest @ ..]) = (frame.kind, frame.body) else {
                return Err(wrong());
            };
            let (function, calls) = rest.split_at_checked(usize::from(*length)).ok_or_else(wrong)?;
            let function = String::from_utf8(function.to_vec()).map_err(|_| wrong())?;
            let (number, calls, alone) = (frame.number, calls.to_vec(), *alone == 1);
            self.inbox.push_back(Given { number, function, calls, alone });
        }
        Ok(())
    }

    /// Gives back all calls that are not begun, also those that are not read yet.
    fn clear(&mut self) -> io::Result<()> {
        loop {
            match recv(&self.socket, self.frames.room(), RecvFlags::DONTWAIT) {
                // The end is for the main thread to be seen.
                Ok((_, 0)) | Err(rustix::io::Errno::WOULDBLOCK) => break,
                Ok((_, count)) => {
                    self.frames.read(count);
                    self.sort()?;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.sort()?;
        let mut out = Vec::new();
        for given in self.inbox.drain(..) {
            put(&mut out, Kind::Back, given.number, &[]);
        }
        self.socket.write_all(&out)
    }
}

impl Attendant {
    pub(super) fn new(desk: Desk) -> Self {
        Self { desk: Mutex::new(desk), work: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the attendant look now and then, until there is nothing to be seen.
    pub(super) fn wake(&self, desk: &mut Desk) {
        if !desk.awake {
            desk.awake = true;
            self.work.notify_one();
        }
    }

    /// Attends until the process ends.
    pub(super) fn attend(&self) {
        let mut pause = LONG;
        let mut desk = self.lock();
        loop {
            if !desk.awake {
                pause = LONG;
                desk = self.work.wait(desk).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            desk = self.work.wait_timeout(desk, pause).unwrap_or_else(PoisonError::into_inner).0;
            match desk.running {
                Some(since) if since.elapsed() >= LONG && !planted(Defect::CallsStayBehind) => {
                    // What cannot be sent has nobody to hear it: the main thread finds that out when it reads.
                    if desk.clear().is_err() {
                        return;
                    }
                    pause = SELDOM.min(pause * 2);
                }
                Some(_) => pause = LONG,
                None => {
                    desk.awake = !desk.inbox.is_empty();
                    pause = LONG;
                }
            }
        }
    }
}
