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
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
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

/// How often to look where the system tells nothing.
const POLL: Duration = Duration::from_millis(20);

/// How often to look for the dead there: that asks about every process.
const POLL_DEAD: Duration = Duration::from_millis(250);

/// Waits for news until it is told to stop.
#[derive(Debug)]
pub(super) struct Watch {
    /// What tells of news. Without it, it is looked for now and then: on systems other than Linux, and where a user has as many
    /// inotify instances as the kernel allows (128, unless it was told otherwise).
    #[cfg(target_os = "linux")]
    events: Option<Events>,
    stop: OwnedFd,
    /// When the dead were last looked for, whatever was heard.
    looked: Cell<Instant>,
}

/// By which a session begins to hear the bell. Who never waits has no use for it, and would be woken by each commit of everybody.
#[derive(Debug)]
pub(super) struct Ears {
    #[cfg(target_os = "linux")]
    heard: Option<(Arc<OwnedFd>, Arc<OnceLock<i32>>)>,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "news is looked for there"))]
    bell: PathBuf,
}

impl Ears {
    /// What is rung from here on is heard.
    pub(super) fn listen(&self) {
        #[cfg(target_os = "linux")]
        if let Some((inotify, heard)) = &self.heard {
            use rustix::fs::inotify::{WatchFlags, add_watch};
            heard.get_or_init(|| {
                add_watch(inotify, &self.bell, WatchFlags::MODIFY).unwrap_or_else(|error| {
                    tracing::warn!(%error, "no news from other processes is heard; this one polls");
                    NOT_HEARD
                })
            });
        }
    }
}

/// No number of a watch.
#[cfg(target_os = "linux")]
const NOT_HEARD: i32 = i32::MIN;

/// Ends a [`Watch`] when it is dropped.
#[derive(Debug)]
pub(super) struct Stop {
    _end: OwnedFd,
}

impl Watch {
    pub(super) fn new(incarnations: &Path) -> io::Result<(Self, Stop)> {
        let (stop, end) = rustix::pipe::pipe()?;
        for end in [&stop, &end] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
        }
        #[cfg(not(target_os = "linux"))]
        let _ = incarnations;
        let watch = Self {
            #[cfg(target_os = "linux")]
            events: Events::new(incarnations)?,
            stop,
            looked: Cell::new(Instant::now()),
        };
        Ok((watch, Stop { _end: end }))
    }

    /// By which to begin to hear the bell.
    pub(super) fn ears(&self, bell: &Path) -> Ears {
        Ears {
            #[cfg(target_os = "linux")]
            heard: self.events.as_ref().map(|events| (Arc::clone(&events.inotify), Arc::clone(&events.bell))),
            bell: bell.to_owned(),
        }
    }

    /// Waits for news; `None` when told to stop. However much is heard, it is time to look for the dead now and then.
    pub(super) fn next(&self) -> io::Result<Option<News>> {
        #[cfg(target_os = "linux")]
        let (heard, round) = match &self.events {
            Some(events) => (events.hear(&self.stop)?, ROUND),
            None => (self.pause()?, POLL_DEAD),
        };
        #[cfg(not(target_os = "linux"))]
        let (heard, round) = (self.pause()?, POLL_DEAD);
        Ok(heard.map(|mut news| {
            news.death |= self.looked.get().elapsed() >= round;
            if news.death {
                self.looked.set(Instant::now());
            }
            news
        }))
    }

    /// Waits for a moment, after which there may be news.
    fn pause(&self) -> io::Result<Option<News>> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let moment = Timespec::try_from(POLL).map_err(io::Error::other)?;
        match poll(&mut [PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN)], Some(&moment)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(Some(News { rung: true, ..News::default() })),
            Ok(_) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

/// Events of the two files that matter.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Events {
    inotify: Arc<OwnedFd>,
    /// The number of the bell's watch, since somebody listens.
    bell: Arc<OnceLock<i32>>,
}

#[cfg(target_os = "linux")]
impl Events {
    /// `None` where the kernel has no more of them to give.
    fn new(incarnations: &Path) -> io::Result<Option<Self>> {
        match Self::open(incarnations) {
            Ok(events) => Ok(Some(events)),
            Err(error @ (rustix::io::Errno::MFILE | rustix::io::Errno::NOSPC)) => {
                tracing::info!(
                    %error,
                    "no inotify instance is left, so news is looked for every 20 ms; fs.inotify.max_user_instances allows more"
                );
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn open(incarnations: &Path) -> rustix::io::Result<Self> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        add_watch(&inotify, incarnations, WatchFlags::CLOSE_WRITE)?;
        Ok(Self { inotify: Arc::new(inotify), bell: Arc::default() })
    }

    fn hear(&self, stop: &OwnedFd) -> io::Result<Option<News>> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let round = Timespec::try_from(ROUND).map_err(io::Error::other)?;
        let mut fds = [
            PollFd::from_borrowed_fd(self.inotify.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
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
                Ok(event) if Some(&event.wd()) == self.bell.get() => news.rung = true,
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
