//! News from other processes: somebody committed something worth looking at, or somebody died.
//!
//! A hint and nothing more. Whoever waits also polls, so what gets lost costs time, never a task.

use std::{
    cell::Cell,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
    time::{Duration, Instant},
};

use super::error;
use crate::Result;

/// How often the dead are looked for where no event told of them.
const ROUND: Duration = Duration::from_secs(5);

/// The file that is written to after a commit that may concern others.
#[derive(Debug)]
pub(super) struct Bell(File);

impl Bell {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        open.map(Self).map_err(|e| error::file("open", path, e))
    }

    pub(super) fn ring(&self) {
        // One byte in place: the file never grows. A failed ring is a lost hint.
        let _ = self.0.write_at(b"!", 0);
    }
}

/// What a look at the news found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The bell was rung.
    pub(super) rung: bool,
    /// Somebody may have died.
    pub(super) death: bool,
    /// The files that were closed, where it is known which: their holders are dead, or will be in a moment.
    pub(super) closed: Vec<String>,
}

/// Waits for news until it is told to stop.
#[derive(Debug)]
pub(super) struct Watch {
    #[cfg(target_os = "linux")]
    inotify: OwnedFd,
    #[cfg(target_os = "linux")]
    bell: i32,
    stop: OwnedFd,
    /// When the dead were last looked for, whatever was heard.
    looked: Cell<Instant>,
}

/// Ends a [`Watch`] when it is dropped.
#[derive(Debug)]
pub(super) struct Stop {
    _end: OwnedFd,
}

#[cfg(target_os = "linux")]
impl Watch {
    pub(super) fn new(bell: &Path, incarnations: &Path) -> io::Result<(Self, Stop)> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let bell = add_watch(&inotify, bell, WatchFlags::MODIFY)?;
        add_watch(&inotify, incarnations, WatchFlags::CLOSE_WRITE)?;
        let (stop, end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok((Self { inotify, bell, stop, looked: Cell::new(Instant::now()) }, Stop { _end: end }))
    }

    /// Waits for news; `None` when told to stop. However much is heard, it is time to look for the dead now and then.
    pub(super) fn next(&self) -> io::Result<Option<News>> {
        let news = self.hear()?;
        Ok(news.map(|mut news| {
            news.death |= self.looked.get().elapsed() >= ROUND;
            if news.death {
                self.looked.set(Instant::now());
            }
            news
        }))
    }

    fn hear(&self) -> io::Result<Option<News>> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let round = Timespec::try_from(ROUND).map_err(io::Error::other)?;
        let mut fds = [
            PollFd::from_borrowed_fd(self.inotify.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, Some(&round)) {
            Ok(0) => return Ok(Some(News { death: true, ..News::default() })),
            Ok(_) if !fds[1].revents().is_empty() => return Ok(None),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Some(News::default())),
            Err(e) => return Err(e.into()),
        }
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = rustix::fs::inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        let mut news = News::default();
        loop {
            match reader.next() {
                // Anything but the bell, an overflow among it, is reason enough to look for the dead.
                Ok(event) if event.wd() == self.bell => news.rung = true,
                Ok(event) => {
                    (news.rung, news.death) = (true, true);
                    news.closed.extend(event.file_name().map(|name| name.to_string_lossy().into_owned()));
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(Some(news)),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Watch {
    /// How often to look where the system tells nothing.
    const POLL: Duration = Duration::from_millis(20);

    pub(super) fn new(_bell: &Path, _incarnations: &Path) -> io::Result<(Self, Stop)> {
        let (stop, end) = rustix::pipe::pipe()?;
        Ok((Self { stop, looked: Cell::new(Instant::now()) }, Stop { _end: end }))
    }

    /// Waits for a moment; `None` when told to stop.
    pub(super) fn next(&self) -> io::Result<Option<News>> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let round = Timespec::try_from(Self::POLL.min(ROUND)).map_err(io::Error::other)?;
        let mut fds = [PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&round)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {
                Ok(Some(News { rung: true, death: true, closed: Vec::new() }))
            }
            Ok(_) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}
