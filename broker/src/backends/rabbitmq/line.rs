//! What a session has of one queue: who consumes its tasks, what was delivered and waits to be claimed, and what is on its way back.
//! Plain data, as the [intake](super::intake) of which it is a part.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use lapin::Consumer;

use super::{
    arrival::{Arrival, Place, Source},
    class::Class,
    message::Stored,
};
use crate::{Order, TaskId, limits};

/// How long nobody may wait for a queue before its tasks are not sent here any more.
const UNWANTED: Duration = Duration::from_millis(200);

/// How long the server may take to have back what was handed back.
const RETURNING: Duration = Duration::from_millis(250);

/// The order of what waits to be claimed.
type Rank = (Class, u32, u64);

/// What a session has of one queue.
#[derive(Default)]
pub(super) struct Line {
    /// Who consumes, and who did and still has something to acknowledge.
    standings: Vec<Standing>,
    /// Counts them.
    stood: u64,
    /// Delivered and not claimed, by class, channel and delivery tag: the most urgent first, and in the order in which the server sent them.
    arrived: BTreeMap<Rank, Arrival>,
    /// How many of those must run alone, or are refused.
    special: usize,
    /// How many are claimed and not settled.
    pub(super) held: usize,
    /// Of which classes there was nothing more when they were asked for, and what came since has been sent here: they had credit
    /// ever since.
    exhausted: [bool; Class::MOST],
    /// As many tasks as were ever claimed and held at a time, if there are classes: they share so much credit.
    slots: usize,
    /// Since when claims were given as much as they asked for, if there are classes: who asks no more has no free slot.
    filled_since: Option<Instant>,
    /// Counts the deliveries.
    pub(super) received: u64,
    /// Tasks that this session put off, and until when they may be neither waiting nor ready: the server is handing them
    /// over.
    scheduled: HashMap<TaskId, Instant>,
    /// Until when deliveries that this session handed back may not be ready yet.
    returning: Vec<Instant>,
    /// This session is one that is asked what it holds.
    pub(super) holder: bool,
    /// Since when nobody waits for the queue.
    unwanted_since: Option<Instant>,
}

/// A consumer of a queue.
struct Standing {
    source: Source,
    consumer: Consumer,
    /// How many of its deliveries may be unacknowledged.
    prefetch: usize,
    /// How many of them are.
    open: usize,
    /// It gets no more.
    cancelled: bool,
}

impl Standing {
    /// How many more the server sends as things are.
    fn credit(&self) -> usize {
        if self.cancelled { 0 } else { self.prefetch.saturating_sub(self.open) }
    }
}

impl Line {
    /// How many tasks of a class a claim can take.
    pub(super) fn here(&self, class: Class) -> usize {
        self.arrived.values().filter(|arrival| arrival.class == class && !arrival.must_run_alone).count()
    }

    /// How many more of a class the server sends as things are.
    pub(super) fn credit(&self, class: Class) -> usize {
        self.standings.iter().filter(|s| s.source.class == class).map(Standing::credit).sum()
    }

    /// Whether all that there is of a class was sent here, but for what is on its way.
    pub(super) fn is_exhausted(&self, class: Class) -> bool {
        self.exhausted[class.index()]
    }

    /// Notes that the server has answered after it sent what it could of a class: if it may send more, there is no more.
    pub(super) fn answered(&mut self, class: Class) {
        self.exhausted[class.index()] = self.credit(class) > 0;
    }

    /// Notes that so many are asked for beside those that are held.
    pub(super) fn asks(&mut self, max: usize) {
        let open: usize = self.standings.iter().map(|s| s.open).sum();
        self.slots = self.slots.max(open.saturating_sub(self.arrived.len()) + max);
    }

    /// Notes whether a claim got as much as it asked for.
    pub(super) fn filled(&mut self, filled: bool) {
        self.filled_since = filled.then(Instant::now);
    }

    /// Who has credit of a class that is over: all shares are more than the slots, and one for each class.
    pub(super) fn surplus(&self, class: Class) -> Vec<(Source, Consumer)> {
        let share = |s: &Standing| if s.cancelled { s.open } else { s.prefetch };
        if self.credit(class) <= 1
            || self.standings.iter().map(share).sum::<usize>() <= self.slots + Class::MOST
        {
            return Vec::new();
        }
        let over = self.standings.iter().filter(|s| s.source.class == class && s.credit() > 0);
        over.map(|s| (s.source, s.consumer.clone())).collect()
    }

    /// Notes a new consumer, and numbers it.
    pub(super) fn stands(&mut self, consumer: Consumer, lane: u32, class: Class, prefetch: usize) -> Source {
        self.stood += 1;
        let source = Source { consumer: self.stood, lane, class };
        self.standings.push(Standing { source, consumer, prefetch, open: 0, cancelled: false });
        source
    }

    /// Those who consume at present.
    pub(super) fn consumers(&self) -> Vec<(Source, Consumer)> {
        let present = self.standings.iter().filter(|s| !s.cancelled);
        present.map(|s| (s.source, s.consumer.clone())).collect()
    }

    /// Notes that a consumer gets no more.
    pub(super) fn cancelled(&mut self, number: u64) {
        self.standings.iter_mut().filter(|s| s.source.consumer == number).for_each(|s| s.cancelled = true);
        self.forget_idle();
        self.note_exhausted();
    }

    fn forget_idle(&mut self) {
        self.standings.retain(|s| !s.cancelled || s.open > 0);
    }

    /// Where there is no credit, there may be more than is here.
    fn note_exhausted(&mut self) {
        for class in Class::of_queue(Order::Priority) {
            self.exhausted[class.index()] &= self.credit(class) > 0;
        }
    }

    /// Whether this consumer should be getting deliveries.
    pub(super) fn relies_on(&self, number: u64) -> bool {
        self.standings.iter().any(|s| !s.cancelled && s.source.consumer == number)
    }

    /// Notes, once, that a delivery was acknowledged or is handed back.
    pub(super) fn closed(&mut self, place: Place) {
        let Some(standing) = self.standings.iter_mut().find(|s| s.source.consumer == place.consumer) else {
            return;
        };
        standing.open -= 1;
        if standing.cancelled && standing.open == 0 {
            self.forget_idle();
        }
    }

    /// Notes that a delivery is on its way back.
    pub(super) fn returns(&mut self) {
        self.returning.push(Instant::now() + RETURNING);
    }

    /// Of which classes what is here should go back and no more should come: nobody waits for the queue any more, or somebody does
    /// and does not claim what is here, or has no slot for what might come.
    pub(super) fn unwanted(&mut self, wanted: bool) -> Vec<Class> {
        self.on_their_way();
        self.unwanted_since =
            if wanted { None } else { Some(self.unwanted_since.unwrap_or_else(Instant::now)) };
        let is_over = |since: &Option<Instant>| since.is_some_and(|since| since.elapsed() > UNWANTED);
        // Who waits to become idle for one that must run alone asks for no others meanwhile.
        let full =
            is_over(&self.filled_since) && !self.arrived.values().any(|arrival| arrival.must_run_alone);
        let all = full || is_over(&self.unwanted_since);
        let concerns = |class: &Class| {
            let arrived = || self.arrived.values().filter(|arrival| arrival.class == *class);
            let consumes = || self.standings.iter().any(|s| s.source.class == *class && !s.cancelled);
            arrived().any(Arrival::is_stale) || all && (arrived().next().is_some() || consumes())
        };
        Class::of_queue(Order::Priority).filter(concerns).collect()
    }

    /// Takes in what a consumer got.
    pub(super) fn arrive(&mut self, source: Source, arrivals: impl Iterator<Item = Arrival>) {
        let mut standing = self.standings.iter_mut().find(|s| s.source.consumer == source.consumer);
        for arrival in arrivals {
            self.received += 1;
            if let Some(standing) = &mut standing {
                standing.open += 1;
            }
            if let Ok(task) = &arrival.task
                && !self.scheduled.is_empty()
            {
                self.scheduled.remove(&task.id);
            }
            self.special += usize::from(arrival.is_special());
            let Place { lane, tag, .. } = arrival.place;
            self.arrived.insert((arrival.class, lane, tag), arrival);
        }
        self.note_exhausted();
    }

    /// Takes out what cannot be run.
    pub(super) fn take_refused(&mut self) -> Vec<Arrival> {
        if self.special == 0 {
            return Vec::new();
        }
        self.take_out(Arrival::is_refused)
    }

    /// Takes out everything of a class that was not claimed, in order.
    pub(super) fn unclaimed(&mut self, class: Class) -> Vec<Arrival> {
        self.take_out(|arrival| arrival.class == class)
    }

    fn take_out(&mut self, which: impl Fn(&Arrival) -> bool) -> Vec<Arrival> {
        let taken: Vec<_> =
            self.arrived.extract_if(.., |_, arrival| which(arrival)).map(|(_, arrival)| arrival).collect();
        self.special -= taken.iter().filter(|arrival| arrival.is_special()).count();
        taken
    }

    /// Takes out so many tasks, the most urgent first, and of those the oldest; one that must run alone only for who is idle. Tells whether
    /// there are more that were asked for, and would not fit.
    pub(super) fn pick(&mut self, max: usize, idle: bool) -> (Vec<(Place, Box<Stored>)>, bool) {
        let mut picked = Vec::new();
        let mut take = |arrival: Arrival| {
            // What is none was refused before.
            if let Arrival { place, task: Ok(stored), .. } = arrival {
                picked.push((place, stored));
            }
        };
        if self.special > 0 {
            let alone =
                self.arrived.iter().find(|(_, arrival)| arrival.must_run_alone).map(|(rank, _)| *rank);
            if let Some(rank) = alone.filter(|_| idle) {
                self.special -= 1;
                self.arrived.remove(&rank).into_iter().for_each(take);
                return (picked, false);
            }
        }
        let mut bytes = 0;
        let mut count = 0;
        let mut more = false;
        let beside = self.arrived.extract_if(.., |_, arrival| {
            if arrival.must_run_alone || more {
                return false;
            }
            // Fewer where they are large, but one in any case.
            bytes += arrival.task.as_ref().map_or(0, |task| task.payload.len());
            more = count > 0 && bytes > limits::MAX_BATCH_BYTES;
            count += usize::from(!more);
            !more
        });
        beside.take(max).for_each(|(_, arrival)| take(arrival));
        (picked, more)
    }

    /// How many wait to run alone.
    pub(super) fn waiting_alone(&self) -> u64 {
        if self.special == 0 {
            return 0;
        }
        self.arrived.values().filter(|arrival| arrival.must_run_alone).count() as u64
    }

    /// How many wait to be claimed.
    pub(super) fn waiting(&self) -> usize {
        self.arrived.len()
    }

    /// Whether the server sends tasks here as things are.
    pub(super) fn is_sent(&self) -> bool {
        self.standings.iter().any(|standing| standing.credit() > 0)
    }

    /// How many consumers the server counts for this session.
    pub(super) fn consuming(&self) -> u64 {
        self.standings.len() as u64
    }

    /// Notes that a task was put off, and when the server has handed it over for certain.
    pub(super) fn put_off(&mut self, id: TaskId, until: Instant) {
        self.scheduled.insert(id, until);
    }

    /// How many tasks that were put off, and how many that were handed back, may be neither waiting nor ready. Forgets the others.
    pub(super) fn on_their_way(&mut self) -> (u64, u64) {
        let now = Instant::now();
        self.scheduled.retain(|_, until| *until > now);
        self.returning.retain(|until| *until > now);
        (self.scheduled.len() as u64, self.returning.len() as u64)
    }
}
