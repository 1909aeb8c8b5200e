//! Tasks that the server sends ahead: leased to this session before it asks for them, as it had room and said so (`lua/credit.lua`, `lua/send_ahead.lua`).

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

/// What was sent ahead and is not claimed yet, and of which queues more may come.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Whether the connection for news hears what is sent to this session.
    hears: AtomicBool,
    source: Mutex<Source>,
    queues: Mutex<HashMap<QueueName, Credit>>,
    came: Notify,
}

/// The connection over which it is heard, and what is known of when something was sent over it.
#[derive(Debug, Default)]
struct Source {
    /// Its number. The server knows an earlier one until it notices that it is gone, and sends to both.
    line: u64,
    /// Nothing is heard that was sent before this.
    since: Option<Instant>,
    /// A moment of the server, in its ms, and one of ours that was not later.
    known: Option<(u64, Instant)>,
}

/// That a claim of a queue left room, and what was sent because of that.
#[derive(Debug, Default)]
struct Credit {
    /// Whether the server may have given some.
    may_have: bool,
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

impl Source {
    /// When the server's clock was there, at the earliest: what is between two of its moments is between two of ours, too.
    fn moment(&self, now: u64) -> Option<Instant> {
        // The answer of the first claim may be read after what was sent because of it.
        let Some((known, ours)) = self.known else { return self.since };
        let later = ours.checked_add(Duration::from_millis(now.saturating_sub(known)))?;
        later.checked_sub(Duration::from_millis(known.saturating_sub(now)))
    }
}

/// What a message of `lua/send_ahead.lua` tells.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) queue: QueueName,
    id: &'a [u8],
    body: &'a [u8],
    epoch: u64,
    /// The server's clock, in ms.
    now: u64,
}

impl<'a> Told<'a> {
    /// Nothing, where it is not such a message.
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        let line = message.iter().position(|byte| *byte == b'\n')?;
        let (line, task) = (std::str::from_utf8(&message[..line]).ok()?, &message[line + 1..]);
        let mut words = line.splitn(4, ' ');
        let epoch = words.next()?.parse().ok()?;
        let now = words.next()?.parse().ok()?;
        let (id, body) = task.split_at_checked(words.next()?.parse().ok()?)?;
        let queue = QueueName::new(words.next()?).ok()?;
        Some(Self { queue, id, body, epoch, now })
    }
}

impl Ahead {
    /// Before a new connection is told what is sent to this session: what comes over the others does not count from now on, as it comes over this one, too. It
    /// may be to another server, with another clock.
    pub(super) fn listens(&self, line: u64, now: Instant) {
        self.hears.store(false, Ordering::SeqCst);
        *self.source() = Source { line, since: Some(now), known: None };
    }

    /// Says that the new connection hears what is sent to this session.
    pub(super) fn hears(&self) {
        self.hears.store(true, Ordering::SeqCst);
    }

    /// Before a claim: what it asks of `settle_credit` in `lua/claim_plain.lua`, if it wants more to be sent ahead.
    pub(super) fn asking(&self, queue: &QueueName, wants: bool, lease: Duration) -> &'static str {
        let wants = wants && self.hears.load(Ordering::SeqCst);
        let mut queues = self.queues();
        if !wants && !queues.contains_key(queue) {
            return "00";
        }
        let credit = queues.entry(queue.clone()).or_default();
        credit.handed_out.clear();
        let had = credit.may_have;
        if wants {
            (credit.may_have, credit.lease) = (true, lease);
        }
        match (wants, had) {
            (true, true) => "11",
            (true, false) => "10",
            (false, true) => "01",
            (false, false) => "00",
        }
    }

    /// After the answer to a claim that was made at `began` and asked this: the server's clock was at `now`, in ms.
    pub(super) fn answered(&self, queue: &QueueName, asked: &str, began: Instant, now: u64) {
        self.source().known = Some((now, began));
        if asked == "01"
            && let Some(credit) = self.queues().get_mut(queue)
        {
            credit.may_have = false;
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
                credit.may_have = true;
                renewed = Some((queue, session(holder, credit.lease)));
            }
        }
        renewed
    }

    /// Takes a task in that came over the connection of this number, and tells whether it did: what comes over another one comes over the last one, too.
    pub(super) fn heard(&self, line: u64, told: Told<'_>) -> bool {
        let Told { queue, id, body, epoch, now } = told;
        // Until it is here: else the next connection could hear it meanwhile.
        let source = self.source();
        if source.line != line {
            return false;
        }
        let heard = Instant::now();
        let leased = source.moment(now).unwrap_or(heard).min(heard);
        let sent = Sent { id: id.to_vec(), body: body.to_vec(), epoch, leased, heard };
        self.queues().entry(queue).or_default().tasks.push_back(sent);
        drop(source);
        self.came.notify_one();
        true
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
        let had = queues.iter_mut().filter(|(_, credit)| credit.may_have);
        had.map(|(queue, credit)| {
            credit.may_have = false;
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

    fn source(&self) -> MutexGuard<'_, Source> {
        // As below.
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Takes a message in.
    fn hear(ahead: &Ahead, line: u64, message: &[u8]) -> bool {
        ahead.heard(line, Told::read(message).unwrap())
    }

    /// The number of the connection.
    const LINE: u64 = 1;

    /// When the server gave credit, by its clock.
    const GIVEN: u64 = 1_700_000_000_000;

    /// A session to which the server gave credit.
    fn with_credit() -> Ahead {
        let ahead = Ahead::default();
        ahead.listens(LINE, Instant::now());
        ahead.hears();
        let began = Instant::now();
        assert_eq!(ahead.asking(&queue(), true, Duration::from_secs(30)), "10");
        ahead.answered(&queue(), "10", began, GIVEN);
        ahead
    }

    /// One that has a task that was sent so many ms after a claim that was made an hour ago, and when that lease began.
    fn sent_after(later: i64) -> (Instant, Instant) {
        let ahead = with_credit();
        let began = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap();
        ahead.answered(&queue(), "11", began, GIVEN);
        hear(
            &ahead,
            LINE,
            format!("7 {} 2 films\nu1body", GIVEN.checked_add_signed(later).unwrap()).as_bytes(),
        );
        (began, ahead.take(&queue(), 9)[0].leased)
    }

    #[test]
    fn a_lease_is_not_thought_to_begin_later_than_it_did() {
        let (began, leased) = sent_after(1500);
        assert_eq!(leased, began + Duration::from_millis(1500));
        // The answer of the next claim was read before what was sent earlier.
        let (began, leased) = sent_after(-1500);
        assert_eq!(leased, began.checked_sub(Duration::from_millis(1500)).unwrap());
        // The first claim is not answered yet.
        let (ahead, began) = (Ahead::default(), Instant::now());
        ahead.listens(LINE, began);
        hear(&ahead, LINE, b"7 1700000000000 2 films\nu1body");
        assert_eq!(ahead.take(&queue(), 9)[0].leased, began);
        // The server's clock was set forward.
        let (_, leased) = sent_after(7_200_000);
        assert!(leased <= Instant::now());
    }

    #[test]
    fn what_is_sent_is_claimed_once_and_in_order() {
        let ahead = with_credit();
        for id in ["u1", "u2", "u3"] {
            let message = format!("7 1700000000000 2 films\n{id}body\nwith lines");
            assert!(hear(&ahead, LINE, message.as_bytes()));
        }
        let taken = ahead.take(&queue(), 2);
        assert_eq!(taken.len(), 2);
        assert_eq!(
            (taken[0].id.as_slice(), taken[0].body.as_slice(), taken[0].epoch),
            (&b"u1"[..], &b"body\nwith lines"[..], 7)
        );
        assert_eq!(ahead.take(&queue(), 2).len(), 1);
        assert!(ahead.take(&queue(), 2).is_empty());
    }

    #[test]
    fn what_comes_over_two_connections_counts_once() {
        let ahead = with_credit();
        let comes_over = |line, id| {
            let message = format!("7 1700000000000 2 films\n{id}body");
            (hear(&ahead, line, message.as_bytes()), ahead.take(&queue(), 9).len())
        };
        assert_eq!(comes_over(LINE, "u1"), (true, 1));
        ahead.listens(LINE + 1, Instant::now());
        let counts = [LINE, LINE + 1, LINE].map(|line| comes_over(line, "u2"));
        assert_eq!(counts, [(false, 0), (true, 1), (false, 0)]);
    }

    #[test]
    fn what_cannot_be_read_is_none() {
        let others = [
            "",
            "7 1700000000000 2 films",
            "x 1700000000000 2 films\nu1",
            "7 1700000000000 9 films\nu1",
            "7 1700000000000 2 \nu1",
            "7 1700000000000 2\nu1",
            "r films",
        ];
        for message in others {
            assert!(Told::read(message.as_bytes()).is_none(), "{message}");
        }
        // Whoever may publish can say anything.
        let late = format!("7 {} 2 films\nu1body", u64::MAX);
        assert!(hear(&with_credit(), LINE, late.as_bytes()));
    }

    #[test]
    fn credit_is_given_back_where_there_may_be_some() {
        let ahead = with_credit();
        assert_eq!(ahead.asking(&queue(), false, Duration::ZERO), "01");
        assert_eq!(
            ahead.asking(&queue(), false, Duration::ZERO),
            "01",
            "whether it was given back is not known"
        );
        ahead.answered(&queue(), "01", Instant::now(), GIVEN);
        assert_eq!(ahead.asking(&queue(), false, Duration::ZERO), "00");
        assert_eq!(ahead.asking(&queue(), true, Duration::ZERO), "10");
        assert_eq!(ahead.withdraw(Incarnation::generate()).len(), 1);
        assert!(ahead.withdraw(Incarnation::generate()).is_empty());
        assert_eq!(ahead.asking(&queue(), false, Duration::ZERO), "00");
        ahead.listens(LINE + 1, Instant::now());
        assert_eq!(ahead.asking(&queue(), true, Duration::ZERO), "00", "nobody would hear it");
    }

    #[test]
    fn a_settlement_renews_what_it_used() {
        let (ahead, holder) = (with_credit(), Incarnation::generate());
        let id = crate::TaskId::new("1").unwrap();
        let lease = Lease { queue: queue(), id, epoch: 7, incarnation: holder };
        let renewed = |wanted| ahead.renewing(holder, [&lease].into_iter(), |_| wanted).is_some();
        let hand_out = || {
            hear(&ahead, LINE, b"7 1700000000000 2 films\nt1body");
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
        hear(&ahead, LINE, b"7 1700000000000 2 films\nu1body");
        let late = ahead.overdue().await;
        assert_eq!(late.len(), 1);
        assert!(ahead.take(&queue(), 9).is_empty());
    }
}
