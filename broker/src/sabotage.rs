//! Defects on purpose. `cargo xtask sabotage` plants one after the other, and the tests must notice each.
//!
//! Without the feature `sabotage`, [`planted`] is a constant and nothing of this is in the program. With it, the defect that the
//! variable `MANYHANDS_SABOTAGE` names is there, and none if it names none. No program of anybody is built with it: the tests are.

macro_rules! defects {
    ($($(#[$doc:meta])* $defect:ident = $name:literal),+ $(,)?) => {
        /// A defect that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Defect { $($(#[$doc])* $defect),+ }

        impl Defect {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$defect),+];

            /// The name by which it is planted.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$defect => $name),+ }
            }
        }
    };
}

defects! {
    /// A lease is accepted whatever its epoch is.
    EpochUnchecked = "epoch-unchecked",
    /// A lease that ran out is taken back only if its task was never claimed before.
    ExpireSparesStarted = "expire-spares-started",
    /// Whether there is room is asked once a call, before the first task is added.
    CapacityOutsideTheStep = "capacity-outside-the-step",
    /// A unique key is free as soon as its task is claimed.
    KeyFreedEarly = "key-freed-early",
    /// The children of a task are stored after its end, in another step.
    ChildAfterTheEnd = "child-after-the-end",
    /// A retry, or a child, is sent after the delivery was acknowledged.
    AcknowledgedBeforeConfirm = "acknowledged-before-confirm",
    /// Leases last by the clock of whoever claims.
    LeaseByClientsClock = "lease-by-clients-clock",
    /// Another boot, or another server, does not raise the generation.
    GenerationNotRaised = "generation-not-raised",
    /// Who waits for a hint does not look again without one.
    HintsAreData = "hints-are-data",
    /// Leases are renewed on the runtime of the handlers.
    BeatsAmongHandlers = "beats-among-handlers",
    /// One task in 10 000 is confirmed and not stored.
    OneInTenThousandDropped = "one-in-ten-thousand-dropped",
    /// An order to stop is not passed on to the processes that were started.
    StopLeavesChildren = "stop-leaves-children",
    /// A paused queue hands out tasks.
    PauseIgnored = "pause-ignored",
    /// A task that is to be cancelled comes back when its holder gives it back.
    CancelledComesBack = "cancelled-comes-back",
    /// The death of a process is charged to every task that it held.
    EveryoneIsBlamed = "everyone-is-blamed",
    /// A crash that is charged to a task counts as an attempt, too.
    CrashIsAnAttempt = "crash-is-an-attempt",
    /// Calls wait behind one that takes long: neither a process of a pool nor a worker gives them back.
    CallsStayBehind = "calls-stay-behind",
    /// A process of a pool sends replies together, when it has nothing else to do.
    RepliesTogether = "replies-together",
    /// A power cut loses what was promised: tasks are confirmed before they are synced.
    PromisedUnsynced = "promised-unsynced",
    /// The lease of one task is renewed, and those that were claimed with it have theirs renewed, too.
    OneBeatKeepsAll = "one-beat-keeps-all",
    /// What was sent ahead to a session, and is not claimed, stays with it.
    SentAheadStays = "sent-ahead-stays",
    /// A session that hands nothing out is found, and not rebuilt.
    RebuildLeftOut = "rebuild-left-out",
    /// One worker is asked to drain, and all are.
    DrainReachesAll = "drain-reaches-all",
}

/// Whether this defect is planted.
#[cfg(feature = "sabotage")]
#[must_use]
pub fn planted(defect: Defect) -> bool {
    static PLANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let name = PLANTED.get_or_init(|| std::env::var("MANYHANDS_SABOTAGE").ok());
    name.as_deref() == Some(defect.name())
}

/// Whether this defect is planted: never.
#[cfg(not(feature = "sabotage"))]
#[must_use]
pub const fn planted(_defect: Defect) -> bool {
    false
}
