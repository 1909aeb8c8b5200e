//! Tasks that the server sends ahead: leased to this session before it asks for them, as it had room and said so (`lua/ahead.lua`).

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use redis::Value;
use tokio::sync::Notify;

use super::keys;
use crate::{Incarnation, Lease, QueueName, clock::millis};

/// For how long one lies here that nobody claims. Then it goes back, as whoever claimed before has no room any more, or has stopped.
const KEEP: Duration = Duration::from_millis(100);

/// For how long the server lets a credit count: `lua/ahead.lua`.
const KEEP_CREDIT: Duration = Duration::from_secs(3);

/// What was sent ahead and is not claimed yet, and of which queues more may come.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Whether the connection for news hears what is sent to this session.
    hears: AtomicBool,
    queues: Mutex<HashMap<QueueName, Credit>>,
    came: Notify,
}

/// That a claim of a queue left room, and what was sent because of that.
#[derive(Debug, Default)]
struct Credit {
    /// Since when, at the earliest: before the last claim was made that gave it and was answered.
    since: Option<Instant>,
    /// Before the claim was made that is under way, and may have given it.
    asking: Option<Instant>,
    /// For how long the server leases what it sends.
    lease: Duration,
    tasks: VecDeque<Sent>,
    /// The ids of those that were handed out since the last claim was made. Each has the room that is free when it is settled.
    handed_out: HashSet<Vec<u8>>,
}

/// A task that was sent ahead.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) epoch: u64,
    /// When its lease began, at the earliest.
    pub(super) leased: Instant,
    heard: Instant,
}

impl Sent {
    /// As a claim's answer has it, of a task to which nothing happened yet.
    pub(super) fn value(self) -> [Value; 3] {
        [self.id, self.body, Vec::new()].map(Value::BulkString)
    }
}

impl Ahead {
    /// Says whether what is sent to this session is heard.
    pub(super) fn hears(&self, hears: bool) {
        self.hears.store(hears, Ordering::SeqCst);
    }

    /// Before a claim: what it asks of `credit_claim` in `lua/credit.lua`, if it wants more to be sent ahead.
    pub(super) fn asking(&self, queue: &QueueName, wants: bool, lease: Duration) -> &'static str {
        let wants = wants && self.hears.load(Ordering::SeqCst);
        let mut queues = self.queues();
        if !wants && !queues.contains_key(queue) {
            return "00";
        }
        let credit = queues.entry(queue.clone()).or_default();
        credit.handed_out.clear();
        let had = credit.since.is_some() || credit.asking.is_some();
        if wants {
            credit.asking.get_or_insert_with(Instant::now);
            credit.lease = lease;
        }
        match (wants, had) {
            (true, true) => "11",
            (true, false) => "10",
            (false, true) => "01",
            (false, false) => "00",
        }
    }

    /// After a claim that asked this. One whose outcome is unknown may have been executed.
    pub(super) fn asked(&self, queue: &QueueName, asked: &str, known: bool) {
        let mut queues = self.queues();
        let Some(credit) = queues.get_mut(queue) else { return };
        match asked {
            "10" | "11" if known => credit.since = credit.asking.take().or(credit.since),
            "10" | "11" => credit.since = credit.since.or(credit.asking.take()),
            "01" if known => credit.since = None,
            _ => {}
        }
        if credit.since.is_none() && credit.asking.is_none() && credit.tasks.is_empty() {
            queues.remove(queue);
        }
    }

    /// Before settlements: the queue of which one more is to be sent ahead, as one that was has ended; and this session, as `lua/credit.lua` has it.
    pub(super) fn renewing<'a>(
        &self,
        holder: Incarnation,
        leases: impl Iterator<Item = &'a Lease>,
        is_wanted: impl Fn(&QueueName) -> bool,
    ) -> Option<(&'a QueueName, Vec<u8>)> {
        let mut queues = self.queues();
        if !self.hears.load(Ordering::SeqCst) || queues.values().all(|credit| credit.handed_out.is_empty()) {
            return None;
        }
        let mut renewed = None;
        for Lease { queue, id, .. } in leases {
            let Some(credit) = queues.get_mut(queue) else { continue };
            if credit.handed_out.remove(&keys::id(id)) && renewed.is_none() && is_wanted(queue) {
                credit.asking.get_or_insert_with(Instant::now);
                renewed = Some((queue, session(holder, credit.lease)));
            }
        }
        renewed
    }

    /// Takes a message of `lua/send_ahead.lua` in, and tells of which queue it is.
    pub(super) fn heard(&self, message: &[u8]) -> Option<QueueName> {
        let line = message.iter().position(|byte| *byte == b'\n')?;
        let (line, task) = (std::str::from_utf8(&message[..line]).ok()?, &message[line + 1..]);
        let mut words = line.splitn(4, ' ');
        let epoch = words.next()?.parse().ok()?;
        let had: u64 = words.next()?.parse().ok()?;
        let (id, body) = task.split_at_checked(words.next()?.parse().ok()?)?;
        let queue = QueueName::new(words.next()?).ok()?;
        let heard = Instant::now();
        let mut queues = self.queues();
        let credit = queues.entry(queue.clone()).or_default();
        // The server measured how long we had it, and when that began we know better than it: after this. So its lease is not over before we think so.
        let since = credit.since.or(credit.asking);
        let leased =
            since.map(|since| since + Duration::from_millis(had)).or_else(|| heard.checked_sub(KEEP_CREDIT));
        let leased = leased.unwrap_or(heard).min(heard);
        credit.tasks.push_back(Sent { id: id.to_vec(), body: body.to_vec(), epoch, leased, heard });
        drop(queues);
        self.came.notify_one();
        Some(queue)
    }

    /// Takes the first ones of a queue out, at most so many.
    pub(super) fn take(&self, queue: &QueueName, max: usize) -> Vec<Sent> {
        let mut queues = self.queues();
        let Some(credit) = queues.get_mut(queue) else { return Vec::new() };
        let many = max.min(credit.tasks.len());
        let taken: Vec<_> = credit.tasks.drain(..many).collect();
        credit.handed_out.extend(taken.iter().map(|sent| sent.id.clone()));
        taken
    }

    /// Waits until something has been here for too long, and takes it out.
    pub(super) async fn overdue(&self) -> Vec<(QueueName, Sent)> {
        loop {
            let oldest =
                self.queues().values().flat_map(|credit| credit.tasks.front()).map(|sent| sent.heard).min();
            let Some(oldest) = oldest else {
                self.came.notified().await;
                continue;
            };
            tokio::time::sleep_until((oldest + KEEP).into()).await;
            let now = Instant::now();
            let late = self.take_all(|sent| sent.heard + KEEP <= now);
            if !late.is_empty() {
                return late;
            }
        }
    }

    /// Forgets that there is credit, and tells of which queues there may be some, each with what the server has under `credit` for `holder`.
    pub(super) fn withdraw(&self, holder: Incarnation) -> Vec<(QueueName, Vec<u8>)> {
        let mut queues = self.queues();
        queues.values_mut().for_each(|credit| credit.handed_out.clear());
        let had = queues.iter_mut().filter(|(_, credit)| credit.since.is_some() || credit.asking.is_some());
        had.map(|(queue, credit)| {
            (credit.since, credit.asking) = (None, None);
            (queue.clone(), session(holder, credit.lease))
        })
        .collect()
    }

    /// Takes all out of which this is so, in the order in which they came.
    pub(super) fn take_all(&self, wanted: impl Fn(&Sent) -> bool) -> Vec<(QueueName, Sent)> {
        let mut queues = self.queues();
        let mut taken = Vec::new();
        for (queue, credit) in queues.iter_mut() {
            while let Some(sent) = credit.tasks.pop_front_if(|sent| wanted(sent)) {
                taken.push((queue.clone(), sent));
            }
        }
        taken
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<QueueName, Credit>> {
        // Whole between any two changes.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session, as `lua/credit.lua` has it.
fn session(holder: Incarnation, lease: Duration) -> Vec<u8> {
    let lease = u32::try_from(millis(lease)).unwrap_or(u32::MAX).to_be_bytes();
    [holder.as_uuid().as_bytes().as_slice(), &lease].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> QueueName {
        QueueName::new("films").unwrap()
    }

    /// A session that has had credit for this long.
    fn with_credit() -> Ahead {
        let ahead = Ahead::default();
        ahead.hears(true);
        assert_eq!(ahead.asking(&queue(), true, Duration::from_secs(30)), "10");
        ahead.asked(&queue(), "10", true);
        ahead
    }

    #[test]
    fn what_is_sent_is_claimed_once_and_in_order() {
        let ahead = with_credit();
        let before = Instant::now();
        for id in ["u1", "u2", "u3"] {
            let message = format!("7 0 2 films\n{id}body\nwith lines");
            assert_eq!(ahead.heard(message.as_bytes()), Some(queue()));
        }
        let taken = ahead.take(&queue(), 2);
        assert_eq!(taken.len(), 2);
        assert_eq!(
            (taken[0].id.as_slice(), taken[0].body.as_slice(), taken[0].epoch),
            (&b"u1"[..], &b"body\nwith lines"[..], 7)
        );
        assert!(taken[0].leased <= before, "a lease is not thought to begin later than it did");
        assert_eq!(ahead.take(&queue(), 2).len(), 1);
        assert!(ahead.take(&queue(), 2).is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_none() {
        let ahead = with_credit();
        let others =
            ["", "7 0 2 films", "x 0 2 films\nu1", "7 0 9 films\nu1", "7 0 2 \nu1", "7 0 2\nu1", "r films"];
        for message in others {
            assert_eq!(ahead.heard(message.as_bytes()), None, "{message}");
        }
        assert!(ahead.take(&queue(), 9).is_empty());
    }

    #[test]
    fn credit_is_given_back_where_there_may_be_some() {
        let ahead = with_credit();
        assert_eq!(ahead.asking(&queue(), false, Duration::ZERO), "01");
        ahead.asked(&queue(), "01", false);
        assert_eq!(
            ahead.asking(&queue(), true, Duration::ZERO),
            "11",
            "whether it was given back is not known"
        );
        ahead.asked(&queue(), "11", false);
        assert_eq!(ahead.withdraw(Incarnation::generate()).len(), 1);
        assert!(ahead.withdraw(Incarnation::generate()).is_empty());
        assert_eq!(ahead.asking(&queue(), false, Duration::ZERO), "00");
        ahead.hears(false);
        assert_eq!(ahead.asking(&queue(), true, Duration::ZERO), "00", "nobody would hear it");
    }

    #[test]
    fn a_settlement_renews_what_it_used() {
        let (ahead, holder) = (with_credit(), Incarnation::generate());
        let id = crate::TaskId::new("1").unwrap();
        let lease = Lease { queue: queue(), id, epoch: 7, incarnation: holder };
        let renewed = |wanted| ahead.renewing(holder, [&lease].into_iter(), |_| wanted).is_some();
        let hand_out = || {
            ahead.heard(b"7 0 2 films\nt1body");
            assert_eq!(ahead.take(&queue(), 9).len(), 1);
        };
        assert!(!renewed(true), "it was claimed");
        hand_out();
        assert!(!renewed(false), "nobody waits");
        hand_out();
        assert!(renewed(true));
        assert!(!renewed(true), "it was settled before");
        hand_out();
        ahead.asking(&queue(), true, Duration::ZERO);
        assert!(!renewed(true), "the claim said whether there is room");
        hand_out();
        ahead.withdraw(holder);
        assert!(!renewed(true), "it claims no more");
    }

    #[tokio::test]
    async fn what_nobody_claims_goes_back() {
        let ahead = with_credit();
        ahead.heard(b"7 0 2 films\nu1body");
        let late = ahead.overdue().await;
        assert_eq!(late.len(), 1);
        assert!(ahead.take(&queue(), 9).is_empty());
    }
}
