//! The suite that every broker passes, as a library.
//!
//! One entry point, [`cases`]; one file an area. A backend's test supplies a [`Harness`] and runs them all. A
//! behaviour lands here before it lands in a backend. The queues of a stage are its own: nothing here may
//! run against a broker that anybody uses.
//!
//! Nothing waits for the clock: a stage's clock is moved by hand, and what another process does is awaited as an event.

mod ahead;
mod arrivals;
mod batch;
mod beat;
mod cancel;
mod claim;
mod close;
mod crash;
mod dead;
mod declare;
mod enqueue;
mod expire;
mod lapse;
mod limit;
mod lookup;
mod order;
mod pause;
mod repeat;
mod results;
mod session;
mod set;
mod settle;
mod start;
mod support;
mod together;
mod unique;
mod wait;
mod workers;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{Broker, Capabilities};

/// Builds stages for one backend.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A broker without queues.
    async fn stage(&self) -> Result<Box<dyn Stage>, Failure>;
}

/// One broker, empty at first, and power over its processes and its clock.
#[async_trait]
pub trait Stage: Send + Sync {
    /// Starts another process: a session of its own.
    async fn session(&self) -> Result<Arc<dyn Broker>, Failure>;

    /// Lets the process behind a session die, as by SIGKILL. The caller hands over the last reference. Where a broker
    /// notices deaths only by leases that run out, the clock is moved past [`VICTIMS_LEASE`], and no further.
    async fn kill(&self, session: Arc<dyn Broker>) -> Result<(), Failure>;

    /// Moves the broker's clock forward.
    async fn advance(&self, by: Duration);
}

/// How long the leases of sessions last that are to be killed.
pub const VICTIMS_LEASE: Duration = Duration::from_secs(1);

/// One thing that a broker must do.
#[derive(Clone, Copy)]
pub struct Case {
    /// The file it is in.
    pub area: &'static str,
    /// What it says.
    pub name: &'static str,
    /// Which brokers it is for.
    needs: fn(&Capabilities) -> bool,
    run: Run,
}

/// What a case runs as.
type Run = for<'a> fn(&'a dyn Stage) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

impl Case {
    /// Runs the case on a stage that was never used. Whatever it did, the broker's books must be whole afterwards, where it has the
    /// power to look them through.
    ///
    /// # Errors
    /// What the broker did instead.
    pub async fn run(&self, stage: &dyn Stage) -> Outcome {
        (self.run)(stage).await?;
        support::books_are_whole(&*stage.session().await?).await
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.area, self.name)
    }
}

/// What a case ends with.
pub type Outcome = Result<(), Failure>;

/// What a broker did that it must not do.
#[derive(Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        Self(format!("{:?}: {}", error.kind(), error.report()))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The cases for a broker with these capabilities: what it claims must be so, and what it does not claim must be refused.
#[must_use]
pub fn cases(capabilities: &Capabilities) -> Vec<Case> {
    let all = [
        declare::CASES,
        enqueue::CASES,
        claim::CASES,
        settle::CASES,
        beat::CASES,
        expire::CASES,
        crash::CASES,
        close::CASES,
        wait::CASES,
        start::CASES,
        order::CASES,
        unique::CASES,
        lapse::CASES,
        cancel::CASES,
        pause::CASES,
        ahead::CASES,
        arrivals::CASES,
        results::CASES,
        dead::CASES,
        repeat::CASES,
        batch::CASES,
        limit::CASES,
        lookup::CASES,
        set::CASES,
        session::CASES,
        workers::CASES,
        together::CASES,
    ]
    .concat();
    all.into_iter().filter(|case| (case.needs)(capabilities)).collect()
}

/// Lists the cases of an area under their names, some with what they need.
macro_rules! area {
    ($area:literal: $($case:ident $(if $needs:expr)?),+ $(,)?) => {
        pub(super) const CASES: &[super::Case] = &[$(super::Case {
            area: $area,
            name: stringify!($case),
            needs: area!(@needs $($needs)?),
            run: |stage| Box::pin($case(stage)),
        }),+];
    };
    (@needs) => { |_| true };
    (@needs $needs:expr) => { $needs };
}

/// Fails the case unless both are equal, and says what was expected of whom.
macro_rules! same {
    ($found:expr, $wanted:expr, $($what:tt)+) => {{
        let (found, wanted) = (&$found, &$wanted);
        if found != wanted {
            let what = format!($($what)+);
            return Err(super::Failure(format!("{what}: expected {wanted:?}, found {found:?}")));
        }
    }};
}

/// Fails the case unless this holds.
macro_rules! holds {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err(super::Failure(format!($($what)+)));
        }
    };
}

use {area, holds, same};
