//! What happens in a history, as it is made at random.

use std::time::Duration;

use manyhands_broker::{Order, QueueName, QueueOptions, State};
use proptest::{collection::vec, option, prelude::*, sample::Index};

pub(crate) const SESSIONS: usize = 3;
pub(crate) const QUEUES: [&str; 2] = ["a", "b"];
pub(crate) const KEYS: [&str; 2] = ["k", "l"];
/// Keys of which only so many tasks run.
pub(crate) const LIMITED: [&str; 2] = ["m", "n"];
pub(crate) const BATCHES: [&str; 2] = ["x", "y"];
/// The ids that users give; one of them is stored in another way than the others.
pub(crate) const IDS: [&str; 5] = ["1", "2", "3", "4", "0198c0de-0000-7000-8000-000000000001"];

#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// With a token, or with that of an earlier call.
    Enqueue {
        session: usize,
        tasks: Vec<TaskSpec>,
        token: bool,
    },
    Repeat {
        session: usize,
        call: Earlier,
    },
    Declare {
        session: usize,
        queue: usize,
        options: Option<usize>,
    },
    Claim {
        session: usize,
        queue: usize,
        max: usize,
        idle: bool,
        feeds: Vec<usize>,
        lease: u64,
    },
    Beat {
        session: usize,
        beats: Vec<(Earlier, Option<u8>)>,
        lease: u64,
    },
    Settle {
        session: usize,
        ends: Vec<(Earlier, EndSpec)>,
    },
    Close {
        session: usize,
        queue: usize,
    },
    Pause {
        session: usize,
        queue: usize,
        paused: bool,
    },
    Cancel {
        session: usize,
        queue: usize,
        ids: Vec<Named>,
    },
    Outcomes {
        session: usize,
        queue: usize,
        ids: Vec<Named>,
    },
    List {
        session: usize,
        queue: usize,
        after: Option<u64>,
        max: usize,
    },
    Revive {
        session: usize,
        queue: usize,
        ids: Vec<Named>,
    },
    Purge {
        session: usize,
        queue: usize,
        ids: Vec<Named>,
    },
    /// With the revision that the queue has, or another one.
    Set {
        session: usize,
        queue: usize,
        options: usize,
        known: bool,
    },
    PurgeWaiting {
        session: usize,
        queue: usize,
        states: Vec<State>,
        max: usize,
    },
    Advance {
        ms: u64,
    },
    Die {
        session: usize,
    },
}

/// A task, with what it asks for in seconds.
#[derive(Clone, Debug)]
pub(crate) struct TaskSpec {
    pub(crate) queue: usize,
    pub(crate) id: Option<usize>,
    pub(crate) max_attempts: u32,
    pub(crate) max_crashes: u32,
    pub(crate) start: Option<u64>,
    pub(crate) priority: Option<i64>,
    pub(crate) expires: Option<u64>,
    pub(crate) unique: Option<(usize, HoldSpec)>,
    pub(crate) key: Option<usize>,
    pub(crate) batch: Option<usize>,
    pub(crate) keep: Option<u64>,
}

/// For how long a unique key is held: seconds, or as long as the task's batch, if it is in one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HoldSpec {
    For(u64),
    Batch,
}

impl TaskSpec {
    /// One that asks for nothing.
    pub(crate) fn plain(queue: usize, id: Option<usize>) -> Self {
        Self {
            queue,
            id,
            max_attempts: 1,
            max_crashes: 1,
            start: None,
            priority: None,
            expires: None,
            unique: None,
            key: None,
            batch: None,
            keep: None,
        }
    }
}

/// One of the ids that users give, or that of a task that was ever enqueued: any, or one of the last few.
#[derive(Clone, Debug)]
pub(crate) enum Named {
    Given(usize),
    Made(Earlier),
}

/// One of those that there ever were: any, or one of the last few.
#[derive(Clone, Debug)]
pub(crate) struct Earlier {
    recent: bool,
    index: Index,
}

impl Earlier {
    /// `None` as long as there was none at all.
    pub(crate) fn of<T: Clone>(&self, all: &[T]) -> Option<T> {
        let first = if self.recent { all.len().saturating_sub(4) } else { 0 };
        let some = &all[first..];
        (!some.is_empty()).then(|| self.index.get(some).clone())
    }
}

#[derive(Clone, Debug)]
pub(crate) enum EndSpec {
    Complete(Vec<TaskSpec>, Option<u8>),
    Retry(u64),
    Crash(u64),
    Bury,
    Release,
    Park,
}

/// Queues are mostly configured before they are used: later, their order cannot change any more.
pub(crate) fn history() -> impl Strategy<Value = Vec<Op>> {
    let options = prop::option::weighted(0.8, 0..OPTIONS.len());
    let begin = vec(options, QUEUES.len()).prop_map(|options| {
        let declare = |(queue, options)| Op::Declare { session: 0, queue, options };
        options.into_iter().enumerate().map(declare).collect::<Vec<_>>()
    });
    (begin, vec(op(), 1..=80)).prop_map(|(begin, rest)| [begin, rest].concat())
}

fn op() -> impl Strategy<Value = Op> {
    let (session, queue) = (0..SESSIONS, 0..QUEUES.len());
    prop_oneof![
        15 => (session.clone(), vec(task(), 1..=4), prop::bool::weighted(0.3))
            .prop_map(|(session, tasks, token)| Op::Enqueue { session, tasks, token }),
        6 => (session.clone(), many()).prop_map(|(session, tasks)| Op::Enqueue { session, tasks, token: false }),
        3 => (session.clone(), earlier()).prop_map(|(session, call)| Op::Repeat { session, call }),
        5 => (session.clone(), queue.clone(), option::of(0..OPTIONS.len()))
            .prop_map(|(session, queue, options)| Op::Declare { session, queue, options }),
        24 => (session.clone(), queue.clone(), 1..=4_usize, any::<bool>(), feeds(), seconds(1..=30)).prop_map(
            |(session, queue, max, idle, feeds, lease)| Op::Claim { session, queue, max, idle, feeds, lease }
        ),
        6 => (session.clone(), vec((earlier(), option::of(any::<u8>())), 1..=3), seconds(1..=30))
            .prop_map(|(session, beats, lease)| Op::Beat { session, beats, lease }),
        20 => (session.clone(), vec((earlier(), end()), 1..=3))
            .prop_map(|(session, ends)| Op::Settle { session, ends }),
        1 => (session.clone(), queue.clone()).prop_map(|(session, queue)| Op::Close { session, queue }),
        3 => (session.clone(), queue.clone(), prop::bool::weighted(0.3))
            .prop_map(|(session, queue, paused)| Op::Pause { session, queue, paused }),
        6 => (session.clone(), queue.clone(), named())
            .prop_map(|(session, queue, ids)| Op::Cancel { session, queue, ids }),
        4 => (session.clone(), queue.clone(), named())
            .prop_map(|(session, queue, ids)| Op::Outcomes { session, queue, ids }),
        2 => (session.clone(), queue.clone(), option::of(0..6_u64), 1..=3_usize)
            .prop_map(|(session, queue, after, max)| Op::List { session, queue, after, max }),
        5 => (session.clone(), queue.clone(), named())
            .prop_map(|(session, queue, ids)| Op::Revive { session, queue, ids }),
        2 => (session.clone(), queue.clone(), named())
            .prop_map(|(session, queue, ids)| Op::Purge { session, queue, ids }),
        3 => (session.clone(), queue.clone(), 0..OPTIONS.len(), prop::bool::weighted(0.8))
            .prop_map(|(session, queue, options, known)| Op::Set { session, queue, options, known }),
        2 => (session.clone(), queue, vec(waiting(), 1..=3), 1..=4_usize)
            .prop_map(|(session, queue, states, max)| Op::PurgeWaiting { session, queue, states, max }),
        // As long as a dead task, an ended batch and the answer of a call are kept, and longer than half of that.
        2 => prop_oneof![Just(7 * DAY), Just(4 * DAY), Just(3_600_000), Just(600_000), Just(400_000)].prop_map(|ms| Op::Advance { ms }),
        10 => prop_oneof![2 => seconds(0..=40).prop_map(|s| s * 1000), 1 => 0..=40_000_u64]
            .prop_map(|ms| Op::Advance { ms }),
        3 => session.prop_map(|session| Op::Die { session }),
    ]
}

fn waiting() -> impl Strategy<Value = State> {
    prop_oneof![Just(State::Ready), Just(State::Scheduled), Just(State::Held)]
}

/// A day in milliseconds.
const DAY: u64 = 86_400_000;

/// Often one of two, so that clocks meet the ends of leases, delays and memories exactly.
fn seconds(any: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = u64> {
    prop_oneof![Just(5), Just(10), any]
}

/// Tasks that ask for nothing, so that a backend may keep them together; sometimes there is another one among them.
fn many() -> impl Strategy<Value = Vec<TaskSpec>> {
    let limits = (1..=3_u32, 1..=3_u32);
    (0..QUEUES.len(), limits, 2..=8_usize, prop::option::weighted(0.2, (task(), any::<Index>()))).prop_map(
        |(queue, (max_attempts, max_crashes), count, other)| {
            let mut tasks =
                vec![TaskSpec { max_attempts, max_crashes, ..TaskSpec::plain(queue, None) }; count];
            if let Some((other, at)) = other {
                tasks.insert(at.index(count), other);
            }
            tasks
        },
    )
}

fn task() -> impl Strategy<Value = TaskSpec> {
    let hold = prop_oneof![3 => prop_oneof![Just(0), seconds(0..=10)].prop_map(HoldSpec::For), 2 => Just(HoldSpec::Batch)];
    let key = (0..KEYS.len(), hold);
    let limits = (1..=3_u32, 1..=3_u32);
    // A priority in a queue of another order refuses the whole call.
    let asks = (
        prop::option::weighted(0.2, seconds(0..=10)),
        prop::option::weighted(0.15, -2..=2_i64),
        prop::option::weighted(0.3, seconds(0..=20)),
        prop::option::weighted(0.3, key),
        prop::option::weighted(0.4, prop_oneof![3 => seconds(0..=20), 2 => Just(100)]),
        // A key in a queue without limits refuses it, too.
        prop::option::weighted(0.35, 0..LIMITED.len()),
        prop::option::weighted(0.4, 0..BATCHES.len()),
    );
    (0..QUEUES.len(), option::of(0..IDS.len()), limits, asks).prop_map(|(queue, id, limits, asks)| {
        let ((max_attempts, max_crashes), (start, priority, expires, unique, keep, key, batch)) =
            (limits, asks);
        TaskSpec { queue, id, max_attempts, max_crashes, start, priority, expires, unique, key, batch, keep }
    })
}

fn named() -> impl Strategy<Value = Vec<Named>> {
    let one = prop_oneof![1 => (0..IDS.len()).prop_map(Named::Given), 2 => earlier().prop_map(Named::Made)];
    vec(one, 1..=3)
}

fn feeds() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![3 => Just(Vec::new()), 2 => vec(0..QUEUES.len(), 1..=2)]
}

fn earlier() -> impl Strategy<Value = Earlier> {
    (any::<bool>(), any::<Index>()).prop_map(|(recent, index)| Earlier { recent, index })
}

fn end() -> impl Strategy<Value = EndSpec> {
    prop_oneof![
        4 => (vec(task(), 0..=2), option::of(any::<u8>()))
            .prop_map(|(children, result)| EndSpec::Complete(children, result)),
        3 => seconds(0..=10).prop_map(EndSpec::Retry),
        3 => seconds(0..=10).prop_map(EndSpec::Crash),
        1 => Just(EndSpec::Bury),
        2 => Just(EndSpec::Release),
        2 => Just(EndSpec::Park),
    ]
}

/// Capacity, order, seconds for which ids are remembered, how many of a key run, and seconds between two of them.
const OPTIONS: [(u64, Order, u64, Option<u32>, u64); 6] = [
    (2, Order::Fifo, 0, None, 0),
    (8, Order::Fifo, 5, Some(1), 0),
    (4, Order::Lifo, 5, Some(2), 5),
    (8, Order::Priority, 5, None, 0),
    (8, Order::Priority, 0, Some(2), 0),
    (8, Order::Fifo, 0, None, 10),
];

pub(crate) fn options(number: usize) -> QueueOptions {
    let (capacity, order, seconds, limit, interval) = OPTIONS[number];
    let mut options = QueueOptions::default().with_capacity(capacity).with_order(order);
    options.key_limit = limit;
    options.key_interval = Duration::from_secs(interval);
    options.with_remember_ids(Duration::from_secs(seconds))
}

pub(crate) fn queue(number: usize) -> QueueName {
    QueueName::new(QUEUES[number]).unwrap()
}
