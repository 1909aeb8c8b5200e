//! Many worker processes of one program, and the one that keeps them running.
//!
//! A *supervisor* opens no broker and runs no handler. It starts its own program as worker processes, by way of the same stage and
//! guard as the [children](crate::children) of a worker, so that none outlives it; it replaces those that fall, or all one after
//! another, tells them to end when it is told to, and waits for whatever they leave behind.
//!
//! What is decided is in [`fleet`], [`replacement`] and [`restarts`], plain data without a process; what is done is here and in
//! [`member`]; what the two sides tell each other is in [`line`].

mod finish;
mod fleet;
mod line;
mod member;
mod program;
mod replacement;
mod restarts;
mod scale;

use std::{
    collections::BTreeMap,
    fmt, io,
    time::{Duration, Instant},
};

use manyhands_broker::{BrokerUrl, Error, ErrorKind, Result, write_duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use self::{
    fleet::{End, Fleet, Number, Step},
    member::{Member, News},
    scale::Scale,
};
pub(crate) use self::{
    line::{Line, Ready},
    member::Program,
    program::own_file,
};
use crate::{
    autoscale::{Bounds, Load},
    children::{Exit, Spawner, adopt},
};

/// How long one that is to take the place of another may take to become ready. Its handlers' programs may have much to load.
const READY_WITHIN: Duration = Duration::from_secs(300);

/// The exit codes by which a worker that was never ready says that another start would end as it did: wrong usage or configuration,
/// no broker, refused.
const IN_VAIN: std::ops::RangeInclusive<i32> = 2..=4;

/// What a supervisor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// All are to drain; told again, to end at once.
    End,
    /// All are to be replaced, one after another.
    Replace,
}

/// How many worker processes there are to be, as far as it is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// So many, or so many at first.
    pub(crate) processes: Option<usize>,
    /// As many as the load needs, within these bounds.
    pub(crate) bounds: Option<Bounds>,
}

/// Keeps worker processes running.
pub(crate) struct Supervisor<'a> {
    program: Program,
    /// Whether one that ends with exit code 0 has done what it was to do.
    until_ended: bool,
    /// Says what everybody is to know.
    tell: Box<dyn Fn(&str) + 'a>,
    /// How many are wanted by the configuration as it is now.
    configured: Box<dyn Fn() -> Result<Wanted> + 'a>,
    /// If the load says how many there are to be.
    scale: Option<Scale>,
    spawner: Spawner,
    fleet: Fleet,
    members: BTreeMap<Number, Member>,
    sender: mpsc::UnboundedSender<(Number, News)>,
    news: mpsc::UnboundedReceiver<(Number, News)>,
    /// Says that some child has ended.
    ended: Signal,
}

impl fmt::Debug for Supervisor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

impl<'a> Supervisor<'a> {
    /// A supervisor of so many processes of a program. What everybody is to know goes to `tell`; how many there are to be is asked again
    /// (`configured`) when all are replaced. To be called inside a runtime.
    pub(crate) fn new(
        program: Program,
        processes: usize,
        until_ended: bool,
        tell: impl Fn(&str) + 'a,
        configured: impl Fn() -> Result<Wanted> + 'a,
    ) -> Result<Self> {
        let failed =
            |e| Error::new(ErrorKind::Internal, "start", "ended processes cannot be waited for").because(e);
        adopt().map_err(failed)?;
        let ended = signal(SignalKind::child()).map_err(failed)?;
        let (sender, news) = mpsc::unbounded_channel();
        Ok(Self {
            program,
            until_ended,
            tell: Box::new(tell),
            configured: Box::new(configured),
            scale: None,
            // None of them runs a handler of this program.
            spawner: Spawner::new(Vec::new()),
            fleet: Fleet::new(processes),
            members: BTreeMap::new(),
            sender,
            news,
            ended,
        })
    }

    /// Has as many as the load of the broker's queues needs, within these bounds.
    pub(crate) fn autoscale(mut self, bounds: Bounds, url: BrokerUrl) -> Self {
        self.scale = Some(Scale::new(bounds, self.fleet.wanted(), url));
        self
    }

    /// Keeps them running until told to end, or until they ended as they were to. Returns the exit code that they leave.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when no process can be started.
    ///
    /// # Cancel safety
    /// Not cancel safe: all of them are killed.
    pub(crate) async fn run(mut self, orders: &mut mpsc::UnboundedReceiver<Order>) -> Result<u8> {
        loop {
            let until = self.act().await?;
            if self.fleet.wanted() == 0 && self.members.is_empty() {
                return Ok(0);
            }
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Replace) => self.replace(),
                    Some(Order::End) | None => return Ok(self.finish(orders).await),
                },
                Some((number, news)) = self.news.recv() => {
                    if let Some(code) = self.heard(number, news) {
                        return Ok(code);
                    }
                }
                _ = self.ended.recv() => self.spawner.reap_orphans(),
                load = next(&mut self.scale) => self.scale(&load),
                () = sleep_until(until) => self.kill_late(),
            }
        }
    }

    /// Lets all be replaced, and there be as many as are configured now.
    fn replace(&mut self) {
        match (self.configured)() {
            Ok(Wanted { processes, bounds }) => {
                let wanted = match &mut self.scale {
                    Some(scale) => bounds.map(|bounds| scale.bind(bounds)),
                    None => processes,
                };
                if let Some(wanted) = wanted {
                    self.fleet.want(wanted);
                }
                self.fleet.replace();
            }
            Err(error) => tracing::error!(
                "{}: no worker process is replaced; mend it, and send SIGHUP again",
                error.report()
            ),
        }
    }

    /// Lets there be as many as a load needs.
    fn scale(&mut self, load: &Load) {
        let Some(scale) = &mut self.scale else { return };
        let (before, wanted) = (self.fleet.wanted(), scale.scale(load, self.fleet.ready_ones()));
        if wanted != before {
            let Load { ready, leased, oldest, .. } = load;
            let oldest = write_duration(Duration::from_secs(oldest.as_secs()));
            (self.tell)(&format!(
                "{} instead of {before}: {ready} tasks are ready, the oldest for {oldest} at least, and {leased} run",
                many(wanted)
            ));
            self.fleet.want(wanted);
        }
    }

    /// Does all that is to be done now; returns when there is more.
    async fn act(&mut self) -> Result<Option<Instant>> {
        loop {
            let now = Instant::now();
            match self.fleet.step(now) {
                Step::Start { number, newcomer } => self.start(number, newcomer).await?,
                Step::Drain(number) => {
                    if let Some(member) = self.members.get_mut(&number) {
                        tracing::info!(pid = member.pid, "the worker process is told to drain");
                        member.drain(now);
                    }
                }
                Step::Replaced(1) => (self.tell)("1 worker process was replaced"),
                Step::Replaced(count) => (self.tell)(&format!("{} were replaced", many(count))),
                Step::Rest(until) => {
                    return Ok(self.members.values().filter_map(|member| member.deadline).chain(until).min());
                }
            }
        }
    }

    async fn start(&mut self, number: Number, newcomer: bool) -> Result<()> {
        match Member::start(&self.spawner, &self.program, number, self.sender.clone()).await {
            Ok(mut member) => {
                tracing::info!(pid = member.pid, "a worker process is started");
                member.deadline = newcomer.then(|| Instant::now() + READY_WITHIN);
                self.members.insert(number, member);
                Ok(())
            }
            Err(error) => match self.fleet.ended(number, false, Instant::now()) {
                End::Fell { begun: false, .. } => {
                    Err(Error::new(ErrorKind::Internal, "start", "no worker process can be started")
                        .because(error))
                }
                end => {
                    tell_of(end, &format!("a worker process cannot be started: {error}"));
                    Ok(())
                }
            },
        }
    }

    /// Takes in what is heard of one; returns an exit code if all is over.
    fn heard(&mut self, number: Number, news: News) -> Option<u8> {
        match news {
            News::Ready(ready) => {
                let first = self.fleet.is_ready(number);
                let member = self.members.get_mut(&number)?;
                member.is_ready(&ready);
                let (ready_ones, wanted) = (self.fleet.ready_ones(), self.fleet.wanted());
                tracing::info!(
                    pid = member.pid,
                    "the worker process is ready; {ready_ones} are, and {wanted} are wanted"
                );
                if first {
                    let of = if wanted > 1 { ", each of them" } else { "" };
                    (self.tell)(&format!("{}{of}: {}", many(wanted), ready.about));
                }
                // The newer ones may serve others.
                if let Some(scale) = &mut self.scale {
                    scale.serves(&ready.queues, ready.slots);
                }
                None
            }
            News::Ended(exit) => self.has_ended(number, exit),
        }
    }

    fn has_ended(&mut self, number: Number, exit: io::Result<Exit>) -> Option<u8> {
        let member = self.members.remove(&number)?;
        // It hid those behind it.
        self.spawner.reap_orphans();
        let code = exit.as_ref().ok().and_then(|exit| exit.status.code());
        let end = self.fleet.ended(number, self.until_ended && code == Some(0), Instant::now());
        if let End::Fell { begun: false, .. } = end
            && let Some(code) = code.filter(|code| IN_VAIN.contains(code))
        {
            // It said itself what is wrong.
            return u8::try_from(code).ok();
        }
        if end == End::Over {
            // The others are about to end as well.
            self.scale = None;
        }
        let how = how(exit);
        tell_of(end, &format!("worker process {} ended: {how}", member.pid));
        None
    }

    /// Kills those that should have become ready, or ended, by now.
    fn kill_late(&mut self) {
        let now = Instant::now();
        for member in
            self.members.values_mut().filter(|member| member.deadline.is_some_and(|until| until <= now))
        {
            tracing::warn!(
                pid = member.pid,
                "the worker process is neither ready nor gone, as it should be, and is killed"
            );
            member.kill();
        }
    }
}

/// So many, in words.
fn many(processes: usize) -> String {
    if processes == 1 { "1 worker process".to_owned() } else { format!("{processes} worker processes") }
}

/// Says what becomes of the end of one.
fn tell_of(end: End, what: &str) {
    match end {
        End::Asked | End::Over => tracing::info!("{what}"),
        End::NotReady => tracing::warn!(
            "{what}, before it was ready: it was to take the place of another, and no more are replaced; those that are left go on. Mend what \
             is wrong, and send SIGHUP again"
        ),
        End::Fell { pause, .. } if pause.is_zero() => {
            tracing::warn!("{what}, though nobody told it to: another one takes its place");
        }
        End::Fell { pause, .. } => {
            tracing::warn!(
                "{what}, though nobody told it to: another one takes its place, in {}",
                write_duration(Duration::from_millis(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)))
            );
        }
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

/// How a worker ended, for people.
fn how(exit: io::Result<Exit>) -> String {
    exit.map_or_else(|e| e.to_string(), |exit| exit.to_string())
}

/// Waits for the next load, if any is awaited.
async fn next(scale: &mut Option<Scale>) -> Load {
    match scale {
        Some(scale) => scale.next().await,
        None => std::future::pending().await,
    }
}
