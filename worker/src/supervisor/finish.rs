//! The end of a supervisor: all worker processes drain, or end at once when it is told so again.

use std::{io, os::unix::process::ExitStatusExt, time::Instant};

use rustix::process::Signal;
use tokio::sync::mpsc;

use super::{Order, Supervisor, how, member::News, sleep_until};
use crate::children::Exit;

/// The exit code of who was told to end at once.
const INTERRUPTED: u8 = 130;

/// What a shell adds to the number of the signal that a program died of.
const BY_SIGNAL: i32 = 128;

impl Supervisor<'_> {
    /// Tells all to drain and waits for their ends; returns the exit code that they leave: 0, or the first other one.
    pub(super) async fn finish(&mut self, orders: &mut mpsc::UnboundedReceiver<Order>) -> u8 {
        let now = Instant::now();
        self.members.values_mut().for_each(|member| member.drain(now));
        let (mut code, mut told) = (0, 1);
        while !self.members.is_empty() {
            let until = self.members.values().filter_map(|member| member.deadline).min();
            tokio::select! {
                order = orders.recv() => match order {
                    // What else is there to be ended?
                    Some(Order::Replace) | None => {}
                    Some(Order::End) => {
                        told += 1;
                        self.members.values_mut().for_each(|member| member.abort(Instant::now()));
                    }
                },
                Some((number, news)) = self.news.recv() => match news {
                    News::Ready(ready) => {
                        if let Some(member) = self.members.get_mut(&number) {
                            member.is_ready(&ready);
                        }
                    }
                    News::Ended(exit) => {
                        if let Some(member) = self.members.remove(&number) {
                            let left = left_by(&exit, member.was_ready());
                            if left != 0 {
                                let how = how(exit);
                                tracing::warn!("worker process {} ended: {how}", member.pid);
                            }
                            code = if code == 0 { left } else { code };
                        }
                        self.spawner.reap_orphans();
                    }
                },
                _ = self.ended.recv() => self.spawner.reap_orphans(),
                () = sleep_until(until) => self.kill_late(),
            }
        }
        if told > 1 { INTERRUPTED } else { code }
    }
}

/// The exit code that the end of one leaves.
fn left_by(exit: &io::Result<Exit>, was_ready: bool) -> u8 {
    let Ok(Exit { status, .. }) = exit else { return 1 };
    match (status.code(), status.signal()) {
        // It did not listen to signals yet, and had nothing to give back.
        (None, Some(signal))
            if !was_ready && [Signal::TERM, Signal::INT].map(Signal::as_raw).contains(&signal) =>
        {
            0
        }
        (None, Some(signal)) => u8::try_from(BY_SIGNAL + signal).unwrap_or(1),
        (code, _) => code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
    }
}
