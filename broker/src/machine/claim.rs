//! Arrows `claim`: ready → leased, and `promote`: scheduled → ready.

use super::{Machine, Phase, Queue};
use crate::{
    Claim, ClaimReply, ClaimedTask, Incarnation, Lease, QueueName, TaskId, Wanted,
    clock::{Now, millis},
    limits,
    sabotage::{Defect, planted},
};

impl Machine {
    /// Promotes what is due, takes back leases that ran out, then takes ready tasks under a lease.
    pub fn claim(&mut self, claim: &Claim, incarnation: Incarnation, now: Now) -> ClaimReply {
        let held_by = self.full_feed(claim);
        let generation = self.generation;
        let Some(queue) = self.queues.get_mut(&claim.queue) else { return ClaimReply::default() };
        queue.lapse(now);
        queue.promote(now);
        queue.expire_leases(now);
        queue.open(now);
        queue.forget_dead(now);
        let mut reply = ClaimReply { held_by, ..ClaimReply::default() };
        if reply.held_by.is_none() && (queue.paused.is_none() || planted(Defect::PauseIgnored)) {
            let until = now.steady.saturating_add(millis(claim.lease));
            for id in queue.choose(claim, now) {
                reply.tasks.extend(queue.lease(&claim.queue, &id, generation, incarnation, until));
                let key = queue.tasks.get(&id).and_then(|record| record.limit.clone());
                queue.begin_interval(key.as_ref(), now);
            }
        }
        reply.waiting_alone = queue.ready_alone.len() as u64;
        reply.ended = queue.status().is_ended();
        reply.mark = queue.sequence;
        reply.next = queue.next(now);
        self.count_settled(now);
        reply
    }

    fn full_feed(&self, claim: &Claim) -> Option<QueueName> {
        let full = |name: &&QueueName| {
            **name != claim.queue && self.queues.get(*name).is_some_and(|queue| queue.status().is_full())
        };
        claim.feeds.iter().find(full).cloned()
    }
}

impl Queue {
    /// Arrow `promote`: what is due becomes ready, or held, in order of due time, under a new sequence. What must run alone was
    /// charged with a crash, and comes back under its old one, as all that was lost with its process.
    fn promote(&mut self, now: Now) {
        for _ in 0..limits::UPKEEP {
            let Some((due, _, id)) = self.scheduled.first().cloned() else { break };
            if due > now.wall {
                break;
            }
            // The old sequence is part of the index key, so the task leaves before it gets the new one.
            self.leave(&id);
            let comes_back = self.tasks.get(&id).is_some_and(|record| record.progress.must_run_alone());
            let sequence = if comes_back { None } else { Some(self.next_sequence()) };
            if let Some(record) = self.tasks.get_mut(&id) {
                record.sequence = sequence.unwrap_or(record.sequence);
                record.returned = comes_back;
            }
            self.line_up(&id, now);
        }
    }

    /// The ids a claim gets: in order; a task that must run alone only as the only one, and only for a process where
    /// nothing runs.
    fn choose(&self, claim: &Claim, now: Now) -> Vec<TaskId> {
        // There may be more whose time is over than one claim takes care of.
        let in_time = |id: &&TaskId| self.tasks.get(*id).is_some_and(|record| record.in_time(now));
        let first = self.ready.iter().find(|(_, id)| in_time(id)).map(|(place, _)| *place);
        match self.ready_alone.first_key_value() {
            Some((place, id)) if claim.idle && first.is_none_or(|first| *place < first) => vec![id.clone()],
            _ => self.ready.values().filter(in_time).take(claim.max).cloned().collect(),
        }
    }

    fn lease(
        &mut self,
        queue: &QueueName,
        id: &TaskId,
        generation: u64,
        incarnation: Incarnation,
        until: u64,
    ) -> Option<ClaimedTask> {
        self.enter(id, Phase::Leased(incarnation, until));
        let record = self.tasks.get_mut(id)?;
        record.reported = None;
        if let Some(unique) = record.unique.as_ref().filter(|_| planted(Defect::KeyFreedEarly)) {
            self.unique.remove(&unique.key);
        }
        record.progress.claim(generation);
        Some(ClaimedTask {
            lease: Lease { queue: queue.clone(), id: id.clone(), epoch: record.progress.epoch, incarnation },
            name: record.name.clone(),
            payload: record.payload.clone(),
            attempts: record.progress.attempts,
            max_attempts: record.progress.max_attempts,
            crashes: record.progress.crashes,
            deaths: record.progress.deaths,
            batch: record.batch.as_ref().map(|(name, _)| name.clone()),
            result_wanted: record.wanted != Wanted::No,
            run_limit: record.run_limit,
            alone: record.progress.alone,
        })
    }

    /// How long until a task becomes due, a lease runs out, the interval of a key or the time to claim a task is over.
    fn next(&self, now: Now) -> Option<std::time::Duration> {
        let due = self.scheduled.first().map(|(due, ..)| due.saturating_sub(now.wall));
        let until = self.leased.first().map(|(until, ..)| until.saturating_sub(now.steady));
        let expires = self.expiring.first().map(|(expires, _)| expires.saturating_sub(now.wall));
        let opening = self.opening.first().map(|(time, _)| time.saturating_sub(now.wall));
        due.into_iter().chain(until).chain(expires).chain(opening).min().map(std::time::Duration::from_millis)
    }
}
