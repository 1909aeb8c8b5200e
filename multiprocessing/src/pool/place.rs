//! One place of a pool: a process after the other.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use manyhands_broker::{Error, ErrorKind};
use tokio_util::sync::CancellationToken;

use super::{
    builder::Terms,
    child::{Child, End, Stillborn},
    line::Line,
};
use crate::{home::Home, serve::Begin};

/// How many processes of a place may die before they are ready, one after the other, where no other place has one that is.
const STILLBORN: u32 = 3;

/// How long it is until the next is started, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// A place for a process.
pub(super) struct Place {
    home: &'static Home,
    name: String,
    line: Arc<Line>,
    terms: Terms,
    killing: CancellationToken,
    /// How many processes of the pool are ready.
    ready: Arc<AtomicUsize>,
}

impl Place {
    pub(super) fn new(
        home: &'static Home,
        number: usize,
        line: Arc<Line>,
        terms: Terms,
        killing: CancellationToken,
        ready: Arc<AtomicUsize>,
    ) -> Self {
        Self { home, name: format!("PoolWorker-{number}"), line, terms, killing, ready }
    }

    /// Keeps a process in this place, until the pool has ended.
    pub(super) async fn keep(self) {
        let mut stillborn = 0;
        loop {
            let end = tokio::select! {
                biased;
                () = self.killing.cancelled() => break,
                child = self.start() => match child {
                    Ok(child) => child.serve(&self.line, &self.killing, &self.ready).await,
                    Err(error) => End::Stillborn(Stillborn::NotStarted(error.to_string())),
                },
            };
            match end {
                End::Over => break,
                End::Gone => stillborn = 0,
                End::Broken(why) => {
                    let message = format!("the initializer of the pool failed: {why}");
                    self.give_up(message, "mend the initializer; the pool is of no use without it");
                    break;
                }
                End::Stillborn(problem) => {
                    stillborn += 1;
                    if stillborn >= STILLBORN && self.ready.load(Ordering::SeqCst) == 0 {
                        let (message, advice) = match problem {
                            Stillborn::NotStarted(why) => (
                                format!("processes of the pool cannot be started: {why}"),
                                "raise the limits of the system, or use fewer processes",
                            ),
                            Stillborn::Died(how) => (
                                format!("processes of the pool die before they can be called: {how}"),
                                "see whether the program begins with main of multiprocessing, and what its processes say",
                            ),
                        };
                        self.give_up(message, advice);
                        break;
                    }
                    tracing::warn!(?problem, "a process of the pool has not become ready; trying again");
                    let pause = PAUSES.1.min(PAUSES.0 * 2_u32.saturating_pow(stillborn.min(16) - 1));
                    tokio::select! {
                        () = self.killing.cancelled() => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
        self.line.hand_left();
    }

    async fn start(&self) -> io::Result<Child> {
        let begin = Begin::Pool {
            name: self.name.clone(),
            parent: std::process::id(),
            initializer: self.terms.initializer.clone(),
        };
        let (process, socket) = crate::home::start(self.home, &serde_json::to_vec(&begin)?).await?;
        Child::new(process, socket, &self.terms)
    }

    fn give_up(&self, message: String, advice: &str) {
        self.line.stop(Error::new(ErrorKind::Failed, "call", message).advise(advice).into());
        // The others have nothing to do any more.
        self.killing.cancel();
    }
}
