//! What a session has of each queue: what was delivered and waits to be claimed, and what is claimed and waits to be settled.
//! Plain data; who consumes, and what is acknowledged, is decided elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map},
    time::Instant,
};

use lapin::message::Delivery;

use super::{
    arrival::{Arrival, Place, Source},
    ask::Answer,
    line::Line,
    message::Stored,
    tags::{Tags, Words},
};
use crate::{Claim, ClaimedTask, End, Incarnation, Lease, QueueName, TaskId};

/// Everything that a session has.
#[derive(Default)]
pub(super) struct Intake {
    lines: HashMap<QueueName, Line>,
    held: HashMap<Lease, Held>,
    /// Of the channels of deliveries, by their numbers.
    tags: BTreeMap<u32, Tags>,
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

impl Intake {
    pub(super) fn line(&mut self, queue: &QueueName) -> &mut Line {
        self.lines.entry(queue.clone()).or_default()
    }

    /// Whether the server sends tasks of this queue here as things are.
    pub(super) fn is_sent(&self, queue: &QueueName) -> bool {
        let line = self.lines.get(queue);
        line.is_some_and(Line::is_sent)
    }

    /// How many tasks of this queue the session has, claimed or not.
    pub(super) fn here(&self, queue: &QueueName) -> usize {
        self.lines.get(queue).map_or(0, |line| line.held + line.waiting())
    }

    /// What is known of a channel's deliveries.
    pub(super) fn tags(&mut self, lane: u32) -> &mut Tags {
        self.tags.entry(lane).or_default()
    }

    /// The channels on which something is neither acknowledged nor handed back.
    pub(super) fn open_lanes(&self) -> BTreeSet<u32> {
        self.tags.iter().filter(|(_, tags)| tags.any_open()).map(|(lane, _)| *lane).collect()
    }

    /// Forgets a channel.
    pub(super) fn forget_tags(&mut self, lane: u32) {
        self.tags.remove(&lane);
    }

    /// How to acknowledge these on each of their channels.
    pub(super) fn words_for(&mut self, places: &[Place]) -> Vec<(u32, Words)> {
        let mut by_lane = BTreeMap::<u32, Vec<u64>>::new();
        places.iter().for_each(|place| by_lane.entry(place.lane).or_default().push(place.tag));
        by_lane.into_iter().map(|(lane, tags)| (lane, self.tags(lane).words_for(tags))).collect()
    }

    /// Notes that what ends these deliveries is on its way.
    pub(super) fn close(&mut self, places: &[Place]) {
        places.iter().for_each(|place| self.tags(place.lane).close(place.tag));
    }

    pub(super) fn queues(&self) -> Vec<QueueName> {
        self.lines.keys().cloned().collect()
    }

    /// Takes in what a consumer of the queue got.
    pub(super) fn arrive(
        &mut self,
        queue: &QueueName,
        source: Source,
        deliveries: impl IntoIterator<Item = Delivery>,
    ) {
        let since = Instant::now();
        let line = self.lines.entry(queue.clone()).or_default();
        let tags = self.tags.entry(source.lane).or_default();
        line.arrive(
            source,
            deliveries.into_iter().map(|delivery| {
                tags.open(delivery.delivery_tag);
                Arrival::read(delivery, source, since)
            }),
        );
    }

    /// Claims what has arrived, the most urgent first, and of those the oldest.
    pub(super) fn take(&mut self, claim: &Claim, incarnation: Incarnation, steady: u64) -> Taken {
        let line = self.lines.entry(claim.queue.clone()).or_default();
        let refused = line.take_refused();
        let (picked, more) = line.pick(claim.max, claim.idle);
        let mut tasks = Vec::with_capacity(picked.len());
        for (place, mut stored) in picked {
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
            tasks.push(ClaimedTask {
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
        Taken { tasks, waiting_alone: line.waiting_alone(), more, refused }
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
        over.sort_by_key(|(_, held)| (held.place.lane, held.place.tag));
        over.into_iter().map(|(lease, _)| lease.clone()).collect()
    }

    /// Notes that a task of the queue was put off, and when the server has handed it over for certain.
    pub(super) fn put_off(&mut self, queue: &QueueName, id: TaskId, until: Instant) {
        self.line(queue).put_off(id, until);
    }

    /// What this session says when it is asked.
    pub(super) fn answer(&mut self, queue: &QueueName, incarnation: Incarnation, connection: u64) -> Answer {
        let held = self.here(queue) as u64;
        let line = self.line(queue);
        let (scheduled, returning) = line.on_their_way();
        Answer {
            incarnation,
            connection,
            held,
            returning,
            consumers: line.consuming(),
            scheduled,
            received: line.received,
        }
    }
}

#[cfg(test)]
mod tests {
    use lapin::BasicProperties;

    use super::{super::class::Class, *};

    fn delivery(tag: u64, id: &str) -> Delivery {
        let mut delivery = Delivery::mock(tag, "".into(), "".into(), false, b"null".to_vec());
        delivery.properties = BasicProperties::default().with_message_id(id.into()).with_type("work".into());
        delivery
    }

    #[test]
    fn a_task_is_here_until_it_is_settled() {
        let mut intake = Intake::default();
        let (queue, other) = (QueueName::new("q").unwrap(), QueueName::new("r").unwrap());
        let here = |intake: &Intake| [&queue, &other].map(|queue| intake.here(queue));
        assert_eq!(here(&intake), [0, 0]);
        let source = Source { consumer: 1, lane: 0, class: Class::FIRST };
        intake.arrive(&queue, source, [delivery(1, "a"), delivery(2, "b")]);
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
