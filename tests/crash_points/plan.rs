//! Which crashes are tried.

use std::{fmt, path::PathBuf};

use manyhands_broker::crash::Point;
use serde::{Deserialize, Serialize};

/// From when on the passages of a point are counted.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Moment {
    /// From the child's start.
    Start,
    /// Just before it enqueues.
    Send,
    /// Just before it claims.
    Claim,
    /// Just before it settles a parent, with children.
    Settle,
    /// Just before a worker starts.
    Work,
}

impl Moment {
    const ALL: [Self; 5] = [Self::Start, Self::Send, Self::Claim, Self::Settle, Self::Work];
}

/// One crash.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Plan {
    /// The place, as its number in the list.
    point: usize,
    pub(crate) moment: Moment,
    /// Which passage since then; the first is 1.
    pub(crate) passage: u32,
    /// Whether the other threads go on for a moment, so that who was answered too early says so.
    pub(crate) late: bool,
    /// Whether somebody else has the store open.
    pub(crate) beside: bool,
}

/// What a child is told.
#[derive(Deserialize, Serialize)]
pub(crate) struct Child {
    pub(crate) plan: Plan,
    pub(crate) folder: PathBuf,
}

impl Child {
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.folder.join("told.jsonl")
    }
}

impl Plan {
    pub(crate) fn point(&self) -> Point {
        Point::ALL[self.point]
    }

    fn area(&self) -> &'static str {
        self.point().name().split('.').next().unwrap_or_default()
    }

    /// Whether a child that does not pass the point is a defect. Later passages, and those after a later moment, are
    /// not there for every point.
    pub(crate) fn must_be_reached(&self) -> bool {
        let synced = self.moment == Moment::Send && self.point() == Point::WriterSynced;
        self.passage == 1 && (self.moment == Moment::Start || synced || self.every_call())
    }

    /// Whether whatever a session does passes the point, again and again; only what must survive a power cut is synced.
    fn every_call(&self) -> bool {
        let mut once =
            ["writer.read", "writer.synced", "writer.failed", "writer.ending", "writer.ended"].iter();
        let name = self.point().name();
        name == "step.queue-saved" || self.area() == "writer" && !once.any(|once| *once == name)
    }

    /// Whether it makes sense. Who is there before makes the database, and may be the first to hear of a death.
    fn is_possible(&self) -> bool {
        !(self.beside && matches!(self.area(), "create" | "dead"))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.point().name())?;
        if self.moment != Moment::Start {
            write!(f, "@{:?}", self.moment)?;
        }
        if self.passage > 1 {
            write!(f, "#{}", self.passage)?;
        }
        if self.late {
            f.write_str("+late")?;
        }
        if self.beside { f.write_str("+beside") } else { Ok(()) }
    }
}

/// Every point at its first passage, those of the writer at all moments; `long`: all points at all moments, and some later
/// passages.
pub(crate) fn all(long: bool) -> Vec<Plan> {
    // Each with whether it is late.
    let passages = [(1, false), (1, true), (2, true), (3, false), (5, true)];
    let mut plans = Vec::new();
    for point in (0..Point::ALL.len()).filter(|point| !Point::ALL[*point].is_of_rabbitmq()) {
        for (number, moment) in Moment::ALL.into_iter().enumerate() {
            for (passage, late) in passages {
                // Now this, now that: a point and the next differ, and so do two moments of one.
                let beside = (point + number + usize::from(late)) % 2 == 1;
                let plan = |beside| Plan { point, moment, passage, late, beside };
                if long || plan(false).must_be_reached() {
                    plans.push(plan(beside && plan(true).is_possible()));
                }
            }
        }
    }
    plans
}
