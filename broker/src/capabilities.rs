//! What a broker promises beyond what all of them do.
//!
//! One value a session, the same for all sessions of one backend. The guard refuses by it what cannot be kept, before any
//! I/O; the conformance suite tests each claim, and that what is not claimed is refused; `docs/backends.md` shows it.

use std::{fmt, ops::RangeInclusive, time::Duration};

use crate::limits;

/// What differs between the brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How a task comes back that was put off.
    pub delay: Delay,
    /// In which orders a queue can be.
    pub orders: Orders,
    /// Whether a task can be found again before it is settled: for unique keys, limited keys and batches, to expire, to tell
    /// its progress, to be cancelled; and whether a queue can be paused.
    pub control: Control,
    /// Whether the result of a task can be asked for.
    pub results: Results,
    /// What an operator can do.
    pub operators: Operators,
    /// Whether the broker counts the tasks that come to a queue.
    pub arrivals: Arrivals,
    /// Where a task goes that is given back: always before all that were never claimed.
    pub returns: Returns,
    /// What a queue's capacity counts.
    pub capacity: Capacity,
    /// How it is known that nothing of a queue is unsettled.
    pub join: Join,
    /// Whether an id that the user gives is unique, and a call that is repeated known again.
    pub ids: Ids,
    /// How the children in a settlement come about.
    pub children: Children,
    /// Who checks that a lease is still held.
    pub fences: Fences,
    /// What the death of a process does to the tasks that it held.
    pub crashes: Crashes,
    /// When the tasks of a dead process are given to others.
    pub redelivery: Redelivery,
}

macro_rules! capability {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        ///
        /// In order: who claims more, promises more.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$of])* $variant),+ }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $text),+ })
            }
        }
    };
}

capability! {
    /// How a task comes back that was put off.
    Delay {
        /// Through a row of waiting lines of 1, 2, 4 … seconds: the delay is rounded up to whole seconds.
        Ladder = "ladder of 1 s steps, at most 12 days",
        /// To the millisecond of the broker's clock.
        Exact = "exact",
    }
}

capability! {
    /// In which orders a queue can be.
    Orders {
        /// First in, first out; by priority, of which there are four: 0 to 3, the lowest first.
        Classes = "fifo; priority, 0 to 3",
        /// First in, first out; last in, first out; by priority.
        All = "fifo, lifo, priority",
    }
}

capability! {
    /// Whether a task can be found again before it is settled, and a queue paused.
    Control {
        /// No task can be looked up.
        None = "no",
        /// Unique keys, limited keys, batches, expiry, progress, cancelling and pausing.
        Full = "yes",
    }
}

capability! {
    /// Whether the result of a task can be asked for.
    Results {
        /// By the session that sent the task, which is told when it is settled. What it is told while it has no connection is lost.
        ToSender = "to the waiting sender only",
        /// For a time after settlement.
        Kept = "kept",
    }
}

capability! {
    /// What an operator can do.
    Operators {
        /// See how many tasks of a queue are in which state.
        Counts = "counts",
        /// That; and list, revive and purge the dead, one after the other: a death on the way leaves one that is revived also among
        /// the dead. Of what happened to them it is known what their handlers said. They are kept whatever their age.
        DeadOneByOne = "counts, dead letters one by one",
        /// That; and all of it in one step, with all that happened to them, for a week.
        DeadLetters = "counts, dead letters",
        /// That; and look at single tasks, change a queue's options, and purge what waits.
        All = "counts, dead letters, tasks, options, purge",
    }
}

capability! {
    /// Whether the broker counts the tasks that come to a queue.
    Arrivals {
        /// It is known how many there are, and not how many there were.
        NotCounted = "no",
        /// In the step that enqueues.
        Counted = "yes",
    }
}

capability! {
    /// Where a task goes that is given back.
    Returns {
        /// Behind those that were given back before it. One that was lost or given back before goes to the end of the queue.
        AsTheyCome = "first; in the order of their return",
        /// Where it stood among them.
        InPlace = "first; in their old order",
    }
}

capability! {
    /// What a queue's capacity counts.
    Capacity {
        /// What is ready, as it was a moment ago.
        ReadyOnly = "approximate, ready only",
        /// What is not settled, in the step that enqueues.
        Exact = "exact",
    }
}

capability! {
    /// How it is known that nothing of a queue is unsettled.
    Join {
        /// The queue's live workers are asked.
        Asked = "by asking the queue's live workers",
        /// The broker counts.
        Exact = "exact",
    }
}

capability! {
    /// Whether an id that the user gives is unique.
    Ids {
        /// No task can be looked up: a call that is repeated after an unknown outcome may double its tasks, and an
        /// id cannot be given.
        Unknown = "no; a repeated enqueue may double",
        /// While the task is there, and for a time after. A call that is repeated with its token gets its first answer.
        Remembered = "unique, and remembered; a repeated enqueue is answered again",
    }
}

capability! {
    /// How the children in a settlement come about.
    Children {
        /// First they are stored, then the parent ends: a death in between runs the parent again.
        AfterConfirm = "after confirm",
        /// With the end of the parent, in one step.
        Atomic = "atomic",
    }
}

capability! {
    /// Who checks that a lease is still held.
    Fences {
        /// The session that holds it: a fence that is handed to others may be old.
        Advisory = "advisory",
        /// The broker, in the step that settles.
        Kept = "kept by the broker",
    }
}

capability! {
    /// What the death of a process does to the tasks that it held. A crash that a living holder tells of
    /// ([`End::Crash`](crate::End::Crash)) is charged by all brokers alike.
    Crashes {
        /// Every loss of a connection counts, whoever is to blame; twenty of them are death.
        PerDelivery = "per delivery",
        /// Only a death while the task ran alone counts.
        WhileAlone = "while alone",
    }
}

capability! {
    /// When the tasks of a dead process are given to others.
    Redelivery {
        /// When its leases have run out.
        AfterLease = "within the lease",
        /// When its connection ends; when its host is gone, after the heartbeats' time.
        OnDisconnect = "on disconnect",
        /// When the process is gone.
        AtOnce = "at once",
    }
}

impl Capabilities {
    /// What a broker has that counts, remembers and decides in one step.
    pub const FULL: Self = Self {
        delay: Delay::Exact,
        orders: Orders::All,
        control: Control::Full,
        results: Results::Kept,
        operators: Operators::All,
        arrivals: Arrivals::Counted,
        returns: Returns::InPlace,
        capacity: Capacity::Exact,
        join: Join::Exact,
        ids: Ids::Remembered,
        children: Children::Atomic,
        fences: Fences::Kept,
        crashes: Crashes::WhileAlone,
        redelivery: Redelivery::AtOnce,
    };

    /// The longest time that a task can be put off.
    #[must_use]
    pub fn max_delay(&self) -> Duration {
        match self.delay {
            Delay::Exact => limits::MAX_DELAY,
            Delay::Ladder => limits::MAX_LADDER_DELAY,
        }
    }

    /// The priorities that there are.
    #[must_use]
    pub fn priorities(&self) -> RangeInclusive<i64> {
        match self.orders {
            Orders::All => -limits::MAX_PRIORITY..=limits::MAX_PRIORITY,
            Orders::Classes => limits::PRIORITY_CLASSES,
        }
    }

    /// To what a delay is rounded up. A task comes back when so much is over, and no later than one such step after it.
    #[must_use]
    pub fn delay_step(&self) -> Duration {
        match self.delay {
            Delay::Exact => Duration::from_millis(1),
            Delay::Ladder => Duration::from_secs(1),
        }
    }

    /// The longest lease. Where a broker notices a silent process by its connection, a lease that outlives it would keep a
    /// handler going whose task was given to another.
    #[must_use]
    pub fn max_lease(&self) -> Duration {
        match self.redelivery {
            Redelivery::OnDisconnect => limits::LEASE,
            Redelivery::AtOnce | Redelivery::AfterLease => limits::MAX_LEASE,
        }
    }

    /// The names and values, as they are shown.
    #[must_use]
    pub fn rows(&self) -> [(&'static str, String); 14] {
        [
            ("delay", self.delay.to_string()),
            ("order", self.orders.to_string()),
            ("keys, batches, expiry, progress, cancel, pause", self.control.to_string()),
            ("results", self.results.to_string()),
            ("operators", self.operators.to_string()),
            ("arrivals counted", self.arrivals.to_string()),
            ("given back", self.returns.to_string()),
            ("capacity", self.capacity.to_string()),
            ("join", self.join.to_string()),
            ("ids", self.ids.to_string()),
            ("children in the settlement", self.children.to_string()),
            ("fences", self.fences.to_string()),
            ("crash counted", self.crashes.to_string()),
            ("redelivery", self.redelivery.to_string()),
        ]
    }

    /// Whether everything that `column` promises is promised here.
    #[must_use]
    pub fn at_least(&self, column: &Self) -> bool {
        self.delay >= column.delay
            && self.orders >= column.orders
            && self.control >= column.control
            && self.results >= column.results
            && self.operators >= column.operators
            && self.arrivals >= column.arrivals
            && self.returns >= column.returns
            && self.capacity >= column.capacity
            && self.join >= column.join
            && self.ids >= column.ids
            && self.children >= column.children
            && self.fences >= column.fences
            && self.crashes >= column.crashes
            && self.redelivery >= column.redelivery
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claiming_less_is_noticed() {
        let less = Capabilities { fences: Fences::Advisory, ..Capabilities::FULL };
        assert!(Capabilities::FULL.at_least(&less));
        assert!(!less.at_least(&Capabilities::FULL));
    }
}
