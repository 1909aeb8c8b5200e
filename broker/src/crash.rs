//! Crash points: the places at which a test ends the process, to see what is left.
//!
//! Every place has a name, and [`Point`] is the only list of them: a test goes through [`Point::ALL`], so a place that is
//! added here is tested, and one that no process passes is found. Passing a point does nothing unless the feature
//! `crash-points` is on, which no program of users has; and then nothing unless a test armed the point in its process.
//!
//! Not the crate `fail`: its points are texts wherever they stand, so nothing lists them, and a slip of the pen is a point
//! that is never tested.

/// Writes down the points, each with its name and what was done when it is passed.
macro_rules! points {
    ($($point:ident $name:literal $done:literal)*) => {
        /// A place where a test can end the process.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $(#[doc = $done] $point,)*
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point),*];

            /// What a test calls it: `area.step`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }

            /// Whether it is in the RabbitMQ broker. All others are passed by who has the local store.
            #[must_use]
            pub fn is_of_rabbitmq(self) -> bool {
                self.name().starts_with("rabbitmq-")
            }
        }
    };
}

points! {
    // A session of the local store is opened.
    OpenFolders         "open.folders"         "The folders are there."
    OpenFiles           "open.files"           "The files of the turn and of the bell are there."
    TurnTaken           "turn.taken"           "The turn is taken, first by who opens."
    TurnGiven           "turn.given"           "The turn is given back."
    CreateLog           "create.log"           "A new database keeps a log; it has no tables."
    CreateBegun         "create.begun"         "The transaction that makes the tables has begun."
    CreateTables        "create.tables"        "The tables are made, and nothing is in them."
    CreateMeta          "create.meta"          "The formats and the generation are written."
    CreateStamped       "create.stamped"       "The file says what it is, for this transaction."
    CreateCommitted     "create.committed"     "A new database is there."
    GenerationBegun     "generation.begun"     "The transaction that looks at the boot has begun."
    GenerationRaised    "generation.raised"    "The generation is raised, for this transaction."
    GenerationVoided    "generation.voided"    "The leases of the last boot are void, for this transaction."
    GenerationCommitted "generation.committed" "The generation is that of this boot."
    AliveMade           "alive.made"           "The incarnation's file is there, hidden and not locked."
    AliveLocked         "alive.locked"         "The incarnation's file is locked, and still hidden."
    AliveNamed          "alive.named"          "The incarnation lives."
    OpenWriter          "open.writer"          "The writer's thread runs, and hears of nothing."
    OpenWatch           "open.watch"           "The session is open; nobody was told."

    // The dead are taken care of.
    DeadLocked          "dead.locked"          "A dead incarnation is ours to take care of."
    DeadExpired         "dead.expired"         "What it held is taken back."
    DeadForgotten       "dead.forgotten"       "Its file is gone."

    // A group of calls goes through the writer.
    WriterGroup         "writer.group"         "A group is formed."
    WriterRead          "writer.read"          "A call was answered by reading."
    WriterWaiting       "writer.waiting"       "The others of the group wait for the turn."
    WriterTurn          "writer.turn"          "It is the group's turn."
    WriterBegun         "writer.begun"         "Its transaction has begun."
    WriterStepped       "writer.stepped"       "A call of the group did its part."
    WriterCounted       "writer.counted"       "All is written that is to be committed."
    WriterCommitted     "writer.committed"     "The group is committed; nobody knows."
    WriterRung          "writer.rung"          "The others know that there is news."
    WriterGiven         "writer.given"         "The next one may write; no call is answered, and nothing is synced."
    WriterSynced        "writer.synced"        "The log is synced, or the disk refused; no call that must survive a power cut is answered."
    WriterAnswered      "writer.answered"      "A call of the group is answered."
    WriterFailed        "writer.failed"        "The group is rolled back; no call is answered."
    WriterEnding        "writer.ending"        "The thread ends; the database is still open."
    WriterEnded         "writer.ended"         "The database is closed."

    // The steps, between two statements of a transaction.
    StepQueueAdded      "step.queue-added"     "A queue was added."
    StepTaskAdded       "step.task-added"      "A task was added, enqueued or as a child."
    StepChildAdded      "step.child-added"     "A child was added."
    StepForgotten       "step.forgotten"       "An id was forgotten whose time was over."
    StepPromoted        "step.promoted"        "A task that was due became ready."
    StepLeased          "step.leased"          "A task was claimed."
    StepBeaten          "step.beaten"          "A lease was renewed."
    StepExpired         "step.expired"         "A task was taken back."
    StepRemembered      "step.remembered"      "The id of a task is remembered that is about to end."
    StepEnded           "step.ended"           "A lease ended; the children are still to come."
    StepClosed          "step.closed"          "A queue was closed."
    StepCallKept        "step.call-kept"       "The answers of a call were kept, for who repeats it."
    StepBatchJoined     "step.batch-joined"    "A batch counts a task that is still to be added."
    StepBatchCounted    "step.batch-counted"   "A batch counts a task as settled."
    StepBatchEnded      "step.batch-ended"     "A batch has ended; its keys are still held."
    StepKeysSwept       "step.keys-swept"      "Keys of a batch that ended are gone."
    StepHeld            "step.held"            "A task waits for its key that may have a permit at once."
    StepAdmitted        "step.admitted"        "A task got the permit of its key; the key does not know."
    StepLineSaved       "step.line-saved"      "The permits of a key were written."
    StepOpened          "step.opened"          "The interval of a key is over; nobody has its permit."
    StepPackAdded       "step.pack-added"      "A pack was added that has no share."
    StepShareSaved      "step.share-saved"     "A share was written, or dropped when nothing of it was left."
    StepPackDropped     "step.pack-dropped"    "A share is gone, and its pack if it was the last one."
    StepUnpacked        "step.unpacked"        "A task of a pack has a row, and is still in its share."
    StepQueueSaved      "step.queue-saved"     "The counters of one queue were written."

    // Calls to the RabbitMQ broker.
    RabbitMqEndsStored      "rabbitmq-settle.stored"       "What follows from endings is stored, and answers are sent; no delivery is acknowledged."
    RabbitMqEndsAcknowledged "rabbitmq-settle.acknowledged" "The deliveries of the endings are acknowledged, or handed back; the server may not know."
    RabbitMqEndsTaken       "rabbitmq-settle.taken"        "The server knows of all; the caller does not know."
    RabbitMqDeadSeen        "rabbitmq-dead.seen"           "All dead tasks of a queue are taken, and nobody else can look."
    RabbitMqRevivedStored   "rabbitmq-dead.stored"         "Revived tasks are stored; they are still among the dead."
    RabbitMqRevivedRemoved  "rabbitmq-dead.removed"        "A dead task that was revived is acknowledged; the server may not know."
    RabbitMqDeadGivenBack   "rabbitmq-dead.given-back"     "The dead that stay so are there again; nobody else can look yet."

    // A producer sends.
    SendAsking          "send.asking"          "A task is about to be sent."
    SendAnswered        "send.answered"        "A task was sent; the caller does not know."
    BatchAsking         "batch.asking"         "A part of a batch is about to be sent."
    BatchAnswered       "batch.answered"       "A part of a batch was sent, and the next was not."
    CloseAsking         "close.asking"         "A queue is about to be closed."
    CloseAnswered       "close.answered"       "A queue was closed; the caller does not know."

    // A worker works.
    ClaimsAsking        "claims.asking"        "A worker is about to claim."
    ClaimsAnswered      "claims.answered"      "A claim was answered; no handler runs for it."
    ClaimsStarted       "claims.started"       "A handler is started."
    BeatsAsking         "beats.asking"         "Leases are about to be renewed."
    BeatsAnswered       "beats.answered"       "Leases were renewed; the worker did not note it."
    HandlerEnded        "handler.ended"        "A handler ended; nobody knows how."
    HandlerHanded       "handler.handed"       "The settler has the ending."
    SettlerAsking       "settler.asking"       "Endings are about to be settled."
    SettlerAnswered     "settler.answered"     "Endings were settled; nobody was told."
    SettlerTold         "settler.told"         "Who watches was told; the slots are still taken."
}

/// Passes a point.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn at(_point: Point) {}

#[cfg(feature = "crash-points")]
pub use armed::{arm, at, passed};

#[cfg(feature = "crash-points")]
mod armed {
    use std::sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    };

    use super::Point;

    /// How often each point was passed.
    static PASSED: [AtomicU32; Point::ALL.len()] = [const { AtomicU32::new(0) }; Point::ALL.len()];

    /// The point and the passage that are armed, as `key` writes them; 0 for none, as passages count from 1.
    static ARMED: AtomicU64 = AtomicU64::new(0);

    /// What happens there. How a process ends is for the test to say: a library never does that.
    static THEN: Mutex<fn()> = Mutex::new(|| {});

    /// Has `then` called the `passage`-th time that the point is passed, counted from the start of the process and from
    /// 1, by the thread that passes it. Replaces what was armed before.
    pub fn arm(point: Point, passage: u32, then: fn()) {
        *THEN.lock().unwrap_or_else(PoisonError::into_inner) = then;
        ARMED.store(key(point, passage), SeqCst);
    }

    /// How often this process has passed the point.
    #[must_use]
    pub fn passed(point: Point) -> u32 {
        PASSED[point as usize].load(SeqCst)
    }

    /// Passes a point.
    pub fn at(point: Point) {
        let passage = PASSED[point as usize].fetch_add(1, SeqCst).wrapping_add(1);
        if ARMED.load(SeqCst) == key(point, passage) {
            let then = *THEN.lock().unwrap_or_else(PoisonError::into_inner);
            then();
        }
    }

    fn key(point: Point, passage: u32) -> u64 {
        ((point as u64) << 32) | u64::from(passage)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
        let named = |name: &&str| {
            name.split_once('.').is_some_and(|(area, step)| !area.is_empty() && !step.is_empty())
        };
        assert!(names.iter().all(named), "{names:?}");
    }

    #[cfg(feature = "crash-points")]
    #[test]
    fn only_the_passage_that_is_armed_does_anything() {
        use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

        static CALLS: AtomicU32 = AtomicU32::new(0);
        let then = || {
            CALLS.fetch_add(1, SeqCst);
        };
        // Nothing but a producer passes these.
        at(Point::BatchAsking);
        arm(Point::BatchAsking, passed(Point::BatchAsking) + 2, then);
        let calls =
            [Point::BatchAsking, Point::BatchAnswered, Point::BatchAsking, Point::BatchAsking].map(|point| {
                at(point);
                CALLS.load(SeqCst)
            });
        assert_eq!((calls, passed(Point::BatchAsking), passed(Point::BatchAnswered)), ([0, 0, 1, 1], 4, 1));
    }
}
