//! What a session has of each queue: what was delivered and waits to be claimed, and what is claimed and waits to be settled.
//! Plain data; who consumes, and what is acknowledged, is decided elsewhere.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map},
    time::{Duration, Instant},
};

use lapin::{Consumer, message::Delivery};

use super::{
    arrival::{Arrival, Place},
    ask::Answer,
    class::Class,
    message::Stored,
    tags::Tags,
};
use crate::{Claim, ClaimedTask, End, Incarnation, Lease, Order, QueueName, TaskId, limits};

/// How long nobody may wait for a queue before its tasks are not sent here any more.
const UNWANTED: Duration = Duration::from_millis(200);

/// How long the server may take to have back what was handed back.
const RETURNING: Duration = Duration::from_millis(250);

/// Everything that a session has.
#[derive(Default)]
pub(super) struct Intake {
    lines: HashMap<QueueName, Line>,
    held: HashMap<Lease, Held>,
    /// Of the channel of deliveries.
    pub(super) tags: Tags,
}

/// What a session has of one queue.
#[derive(Default)]
pub(super) struct Line {
    /// Who consumes, and who did and still has something to acknowledge.
    standings: Vec<Standing>,
    /// Counts them.
    stood: u64,
    /// Delivered and not claimed, by class and delivery tag: the most urgent first, and in the order in which the server sent them.
    arrived: BTreeMap<(Class, u64), Arrival>,
    /// How many are claimed and not settled.
    held: usize,
    /// Of which classes there was nothing more when they were asked for, and what came since has been sent here: they had credit
    /// ever since.
    exhausted: [bool; Class::MOST],
    /// As many tasks as were ever claimed and held at a time, if there are classes: they share so much credit.
    slots: usize,
    /// Since when claims were given as much as they asked for, if there are classes: who asks no more has no free slot.
    filled_since: Option<Instant>,
    /// Counts the deliveries.
    received: u64,
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
pub(super) struct Standing {
    /// Its number among those of the line.
    number: u64,
    consumer: Consumer,
    /// Whose tasks it gets.
    class: Class,
    /// How many of its deliveries may be unacknowledged.
    prefetch: usize,
    /// How many of them are.
    open: usize,
    /// It gets no more.
    cancelled: bool,
}

/// A delivery that was claimed.
pub(super) struct Held {
    pub(super) place: Place,
    pub(super) stored: Box<Stored>,
    /// When its lease ends unless it is beaten, in steady milliseconds.
    pub(super) until: u64,
    /// A settlement is under way, so the lease does not end by itself.
    pub(super) settling: bool,
    /// A settlement that failed for another one's sake, and which of its messages are stored.
    published: Option<(End, HashSet<usize>)>,
}

/// What a claim takes.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) tasks: Vec<ClaimedTask>,
    /// How many wait to run alone.
    pub(super) waiting_alone: u64,
    /// Whether there are more that were asked for, and would not fit.
    pub(super) more: bool,
    /// What is to be buried or put off without being run.
    pub(super) refused: Vec<Arrival>,
}

impl Held {
    /// Which messages of this end are stored already: they are not published again.
    pub(super) fn published_for(&self, end: &End) -> HashSet<usize> {
        let same = self.published.as_ref().filter(|(published, _)| published == end);
        same.map(|(_, numbers)| numbers.clone()).unwrap_or_default()
    }

    /// Notes that a message of this end is stored.
    pub(super) fn publish(&mut self, end: &End, number: usize) {
        match &mut self.published {
            Some((published, numbers)) if published == end => drop(numbers.insert(number)),
            other => *other = Some((end.clone(), HashSet::from([number]))),
        }
    }
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
        self.standings.iter().filter(|s| s.class == class).map(Standing::credit).sum()
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
    pub(super) fn surplus(&self, class: Class) -> Vec<(u64, Consumer)> {
        let share = |s: &Standing| if s.cancelled { s.open } else { s.prefetch };
        if self.credit(class) <= 1
            || self.standings.iter().map(share).sum::<usize>() <= self.slots + Class::MOST
        {
            return Vec::new();
        }
        let over = self.standings.iter().filter(|s| s.class == class && s.credit() > 0);
        over.map(|s| (s.number, s.consumer.clone())).collect()
    }

    /// Notes a new consumer, and numbers it.
    pub(super) fn stands(&mut self, consumer: Consumer, class: Class, prefetch: usize) -> u64 {
        self.stood += 1;
        let number = self.stood;
        self.standings.push(Standing { number, consumer, class, prefetch, open: 0, cancelled: false });
        number
    }

    /// Those who consume at present.
    pub(super) fn consumers(&self) -> Vec<(Class, u64, Consumer)> {
        let present = self.standings.iter().filter(|s| !s.cancelled);
        present.map(|s| (s.class, s.number, s.consumer.clone())).collect()
    }

    /// Notes that a consumer gets no more.
    pub(super) fn cancelled(&mut self, number: u64) {
        self.standings.iter_mut().filter(|s| s.number == number).for_each(|s| s.cancelled = true);
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
        self.standings.iter().any(|s| !s.cancelled && s.number == number)
    }

    /// Notes, once, that a delivery was acknowledged or is handed back.
    pub(super) fn closed(&mut self, place: Place) {
        let Some(standing) = self.standings.iter_mut().find(|s| s.number == place.consumer) else { return };
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
        let now = Instant::now();
        self.scheduled.retain(|_, until| *until > now);
        self.returning.retain(|until| *until > now);
        self.unwanted_since = if wanted { None } else { Some(self.unwanted_since.unwrap_or(now)) };
        let is_over = |since: &Option<Instant>| since.is_some_and(|since| since.elapsed() > UNWANTED);
        // Who waits to become idle for one that must run alone asks for no others meanwhile.
        let full =
            is_over(&self.filled_since) && !self.arrived.values().any(|arrival| arrival.must_run_alone);
        let all = full || is_over(&self.unwanted_since);
        let concerns = |class: &Class| {
            let arrived = || self.arrived.values().filter(|arrival| arrival.class == *class);
            let consumes = || self.standings.iter().any(|s| s.class == *class && !s.cancelled);
            arrived().any(Arrival::is_stale) || all && (arrived().next().is_some() || consumes())
        };
        Class::of_queue(Order::Priority).filter(concerns).collect()
    }

    /// Takes out everything of a class that was not claimed, in order.
    pub(super) fn unclaimed(&mut self, class: Class) -> Vec<Arrival> {
        self.arrived.extract_if(.., |_, arrival| arrival.class == class).map(|(_, arrival)| arrival).collect()
    }
}

impl Intake {
    pub(super) fn line(&mut self, queue: &QueueName) -> &mut Line {
        self.lines.entry(queue.clone()).or_default()
    }

    /// Whether the server sends tasks of this queue here as things are.
    pub(super) fn is_sent(&self, queue: &QueueName) -> bool {
        let line = self.lines.get(queue);
        line.is_some_and(|line| line.standings.iter().any(|standing| standing.credit() > 0))
    }

    /// How many tasks of this queue the session has, claimed or not.
    pub(super) fn here(&self, queue: &QueueName) -> usize {
        self.lines.get(queue).map_or(0, |line| line.held + line.arrived.len())
    }

    pub(super) fn queues(&self) -> Vec<QueueName> {
        self.lines.keys().cloned().collect()
    }

    /// Takes in what a consumer of the queue got.
    pub(super) fn arrive(
        &mut self,
        queue: &QueueName,
        class: Class,
        consumer: u64,
        deliveries: impl IntoIterator<Item = Delivery>,
    ) {
        let since = Instant::now();
        let line = self.lines.entry(queue.clone()).or_default();
        let mut standing = line.standings.iter_mut().find(|s| s.number == consumer);
        for delivery in deliveries {
            let arrival = Arrival::read(delivery, class, consumer, since);
            let tag = arrival.place.tag;
            self.tags.open(tag);
            line.received += 1;
            if let Some(standing) = &mut standing {
                standing.open += 1;
            }
            if let Ok(task) = &arrival.task
                && !line.scheduled.is_empty()
            {
                line.scheduled.remove(&task.id);
            }
            line.arrived.insert((class, tag), arrival);
        }
        line.note_exhausted();
    }

    /// Claims what has arrived, the most urgent first, and of those the oldest.
    pub(super) fn take(&mut self, claim: &Claim, incarnation: Incarnation, steady: u64) -> Taken {
        let mut taken = Taken::default();
        let line = self.lines.entry(claim.queue.clone()).or_default();
        taken.refused = line
            .arrived
            .extract_if(.., |_, arrival| arrival.is_refused())
            .map(|(_, arrival)| arrival)
            .collect();
        let alone = line.arrived.iter().find(|(_, arrival)| arrival.must_run_alone).map(|(place, _)| *place);
        let places: Vec<(Class, u64)> = match alone {
            Some(place) if claim.idle => vec![place],
            _ => {
                let beside = || line.arrived.iter().filter(|(_, arrival)| !arrival.must_run_alone);
                // Fewer where they are large, but one in any case.
                let mut bytes = 0;
                let fit = beside().take_while(|(_, arrival)| {
                    let first = bytes == 0;
                    bytes += arrival.task.as_ref().map_or(0, |task| task.payload.len());
                    first || bytes <= limits::MAX_BATCH_BYTES
                });
                let fit: Vec<(Class, u64)> = fit.map(|(place, _)| *place).take(claim.max).collect();
                taken.more = fit.len() < beside().take(claim.max).count();
                fit
            }
        };
        for place in places {
            let Some(Arrival { task: Ok(mut stored), place, .. }) = line.arrived.remove(&place) else {
                continue;
            };
            let mut lease =
                Lease { queue: claim.queue.clone(), id: stored.id.clone(), epoch: 0, incarnation };
            let free = loop {
                stored.progress.claim(0);
                lease.epoch = stored.progress.epoch;
                // A task that was doubled may be here twice at a time: each has a lease of its own.
                if let hash_map::Entry::Vacant(free) = self.held.entry(lease.clone()) {
                    break free;
                }
            };
            let progress = &stored.progress;
            taken.tasks.push(ClaimedTask {
                batch: None,
                lease,
                name: stored.name.clone(),
                payload: stored.payload.clone(),
                attempts: progress.attempts,
                max_attempts: progress.max_attempts,
                crashes: stored.crashes(),
                deaths: progress.deaths,
                result_wanted: stored.reply_to.is_some(),
                run_limit: stored.run_limit,
                alone: progress.alone,
            });
            let until = steady.saturating_add(crate::clock::millis(claim.lease));
            free.insert(Held { place, stored, until, settling: false, published: None });
            line.held += 1;
        }
        taken.waiting_alone = line.arrived.values().filter(|arrival| arrival.must_run_alone).count() as u64;
        taken
    }

    pub(super) fn held(&mut self, lease: &Lease) -> Option<&mut Held> {
        self.held.get_mut(lease)
    }

    /// Takes a lease out: it ends.
    pub(super) fn release(&mut self, lease: &Lease) -> Option<Held> {
        let held = self.held.remove(lease)?;
        if let Some(line) = self.lines.get_mut(&lease.queue) {
            line.held -= 1;
            line.closed(held.place);
        }
        Some(held)
    }

    /// The leases that ran out and are not being settled, in the order in which they were delivered.
    pub(super) fn expired(&self, steady: u64) -> Vec<Lease> {
        let mut over: Vec<_> =
            self.held.iter().filter(|(_, held)| held.until <= steady && !held.settling).collect();
        over.sort_by_key(|(_, held)| held.place.tag);
        over.into_iter().map(|(lease, _)| lease.clone()).collect()
    }

    /// Notes that a task of the queue was put off, and when the server has handed it over for certain.
    pub(super) fn put_off(&mut self, queue: &QueueName, id: TaskId, until: Instant) {
        self.line(queue).scheduled.insert(id, until);
    }

    /// What this session says when it is asked.
    pub(super) fn answer(&mut self, queue: &QueueName, incarnation: Incarnation, connection: u64) -> Answer {
        let held = self.here(queue) as u64;
        let line = self.line(queue);
        let now = Instant::now();
        line.scheduled.retain(|_, until| *until > now);
        line.returning.retain(|until| *until > now);
        Answer {
            incarnation,
            connection,
            held,
            returning: line.returning.len() as u64,
            consumers: line.standings.len() as u64,
            scheduled: line.scheduled.len() as u64,
            received: line.received,
        }
    }
}

#[cfg(test)]
mod tests {
    use lapin::{
        BasicProperties,
        types::{AMQPValue, FieldTable},
    };

    use super::*;

    fn delivery(tag: u64, id: &str) -> Delivery {
        let mut headers = FieldTable::default();
        headers.insert("mh-format".into(), AMQPValue::LongLongInt(1));
        let mut delivery = Delivery::mock(tag, "".into(), "".into(), false, b"null".to_vec());
        delivery.properties = BasicProperties::default()
            .with_message_id(id.into())
            .with_type("work".into())
            .with_headers(headers);
        delivery
    }

    #[test]
    fn a_task_is_here_until_it_is_settled() {
        let mut intake = Intake::default();
        let (queue, other) = (QueueName::new("q").unwrap(), QueueName::new("r").unwrap());
        let here = |intake: &Intake| [&queue, &other].map(|queue| intake.here(queue));
        assert_eq!(here(&intake), [0, 0]);
        intake.arrive(&queue, Class::FIRST, 1, [delivery(1, "a"), delivery(2, "b")]);
        assert_eq!(here(&intake), [2, 0], "they wait to be claimed");
        let taken = intake.take(&Claim::new(queue.clone(), 1), Incarnation::generate(), 0);
        assert_eq!((taken.tasks.len(), here(&intake)), (1, [2, 0]), "one is claimed");
        let lease = &taken.tasks[0].lease;
        assert_eq!(intake.release(lease).map(|held| held.place.tag), Some(1));
        assert!(intake.release(lease).is_none(), "once");
        assert_eq!(here(&intake), [1, 0]);
        assert_eq!(intake.line(&queue).unclaimed(Class::FIRST).len(), 1);
        assert_eq!(here(&intake), [0, 0]);
    }
}
