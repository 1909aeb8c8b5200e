//! The adversary does what the contract allows, all of it, and nothing that it forbids.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test's helper may fail the test, and say with which seed"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use manyhands_broker::{
    Beaten, Broker, Claim, ClaimReply, ClaimedTask, End, Enqueued, Error, ErrorKind, NewTask, Payload,
    QueueName, QueueStatus, Result, Settled, Settlement, TaskId, TaskName, Waiter,
    backends::memory::{
        MemoryBroker,
        adversary::{Adversary, Call, Fault, Manners},
    },
    clock::ManualClock,
    connect,
};

const LEASE: Duration = Duration::from_secs(30);

/// How long what must happen is waited for. Only a broken adversary takes that long.
const PATIENCE: Duration = Duration::from_secs(15);

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

/// A task whose id is its number.
fn task(to: &str, number: u32) -> NewTask {
    let payload = Payload::encode(&number).unwrap();
    NewTask::new(queue(to), TaskName::new("work").unwrap(), payload)
        .with_id(TaskId::new(&number.to_string()).unwrap())
}

fn number(task: &ClaimedTask) -> u32 {
    task.payload.decode().unwrap()
}

fn numbers(tasks: &[ClaimedTask]) -> Vec<u32> {
    tasks.iter().map(number).collect()
}

fn complete(task: &ClaimedTask) -> Settlement {
    Settlement::new(task.lease.clone(), End::Complete { children: Vec::new(), result: None })
}

async fn send(broker: &dyn Broker, many: u32) {
    let tasks: Vec<_> = (1..=many).map(|n| task("q", n)).collect();
    assert_eq!(broker.enqueue(&tasks, None).await.unwrap(), vec![Enqueued::Enqueued; many as usize]);
}

async fn claim(broker: &dyn Broker, max: usize) -> ClaimReply {
    broker.claim(&Claim::new(queue("q"), max)).await.unwrap()
}

async fn status(broker: &dyn Broker, name: &str) -> Option<QueueStatus> {
    broker.status(&queue(name)).await.unwrap()
}

/// Whether a hint is there already: what the memory broker does, it does at once.
async fn has_come(hint: Waiter) -> bool {
    tokio::time::timeout(Duration::ZERO, hint).await.is_ok()
}

/// Ready, scheduled, leased, dead.
async fn counts(broker: &dyn Broker, name: &str) -> [u64; 4] {
    let status = status(broker, name).await;
    status.map_or([0; 4], |status| [status.ready, status.scheduled, status.leased, status.dead])
}

fn unavailable<T: std::fmt::Debug>(answer: Result<T>, seed: u64) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.report().contains(&format!("seed {seed}")), "{}", error.report());
}

/// For tests of those who know only a URL.
#[tokio::test]
async fn it_is_there_by_url_and_behind_the_guard() {
    let broker = connect(&"memory:?adversary=7".parse().unwrap()).await.unwrap();
    let mut refused = 0;
    for n in 1..=100 {
        while let Err(error) = broker.enqueue(&[task("q", n)], None).await {
            assert!(error.report().contains("seed 7"), "{}", error.report());
            refused += 1;
        }
    }
    assert!(refused > 0);
    let nothing = broker.claim(&Claim::new(queue("q"), 0)).await;
    assert_eq!(nothing.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn leases_are_forgotten_on_demand() {
    let memory = MemoryBroker::new();
    let (one, other) = (
        Adversary::session_of(&memory, Manners::QUIET, 1),
        Adversary::session_of(&memory, Manners::QUIET, 2),
    );
    send(&memory, 3).await;
    let (mine, others) = (claim(&one, 2).await.tasks, claim(&other, 1).await.tasks);
    let leases: Vec<_> = mine.iter().map(|task| task.lease.clone()).collect();
    assert_eq!(one.forget_leases().await.unwrap(), 2);
    assert_eq!(counts(&memory, "q").await, [2, 0, 1, 0], "those of the other session are left alone");
    assert_eq!(one.beat(&manyhands_broker::Beat::all(&leases), LEASE).await.unwrap(), [Beaten::Lost; 2]);
    assert_eq!(one.settle(&[complete(&mine[0])]).await.unwrap(), [Settled::Lost]);
    let again = claim(&other, 9).await.tasks;
    assert_eq!((numbers(&again), again[0].deaths), (vec![1, 2], 1));
    assert!(again[0].lease.epoch > mine[0].lease.epoch, "the fence must grow");
    assert_eq!(one.forget_leases().await.unwrap(), 0, "there are no more");
    assert_eq!(
        other.settle(&[complete(&others[0]), complete(&again[0])]).await.unwrap(),
        [Settled::Settled; 2]
    );
}

/// A claim takes back a bounded number of leases.
#[tokio::test]
async fn any_number_of_leases_is_forgotten_at_once() {
    let memory = MemoryBroker::new();
    let one = Adversary::session_of(&memory, Manners::QUIET, 1);
    for batch in 0..3 {
        let tasks: Vec<_> = (0..200).map(|n| task("q", batch * 200 + n)).collect();
        memory.enqueue(&tasks, None).await.unwrap();
        assert_eq!(claim(&one, 200).await.tasks.len(), 200);
    }
    assert_eq!(one.forget_leases().await.unwrap(), 600);
    assert_eq!(counts(&memory, "q").await, [600, 0, 0, 0]);
}

#[tokio::test]
async fn a_call_fails_on_demand_before_or_after_it_is_done() {
    let memory = MemoryBroker::new();
    let one = Adversary::session_of(&memory, Manners::QUIET, 7);
    one.fail_next(Call::Enqueue, Fault::Refused);
    one.fail_next(Call::Enqueue, Fault::Unanswered);
    unavailable(one.enqueue(&[task("q", 1)], None).await, 7);
    assert_eq!(status(&memory, "q").await, None, "nothing was done");
    unavailable(one.enqueue(&[task("q", 1)], None).await, 7);
    assert_eq!(counts(&memory, "q").await, [1, 0, 0, 0], "it was done");
    assert_eq!(
        one.enqueue(&[task("q", 1)], None).await.unwrap(),
        [Enqueued::Exists],
        "only two were ordered"
    );

    one.fail_next(Call::Claim, Fault::Unanswered);
    unavailable(one.claim(&Claim::new(queue("q"), 1)).await, 7);
    let mine = claim(&one, 1).await.tasks.remove(0);
    assert_eq!(mine.deaths, 1, "it was lost to a claim that was not answered");

    one.fail_next(Call::Settle, Fault::Refused);
    unavailable(one.settle(&[complete(&mine)]).await, 7);
    assert_eq!(counts(&memory, "q").await, [0, 0, 1, 0]);
    one.fail_next(Call::Settle, Fault::Unanswered);
    unavailable(one.settle(&[complete(&mine)]).await, 7);
    assert_eq!(counts(&memory, "q").await, [0; 4]);
    assert_eq!(one.settle(&[complete(&mine)]).await.unwrap(), [Settled::Lost], "settled twice");

    for call in [Call::Declare, Call::Beat, Call::Close, Call::Status] {
        one.fail_next(call, Fault::Refused);
    }
    unavailable(one.declare(&queue("new"), None).await, 7);
    unavailable(one.beat(&[], LEASE).await, 7);
    unavailable(one.close(&queue("q")).await, 7);
    unavailable(one.status(&queue("q")).await, 7);
    assert_eq!(status(&memory, "new").await, None);
    assert!(!status(&memory, "q").await.unwrap().closed);
}

#[tokio::test]
async fn hints_are_lost_and_invented() {
    let memory = MemoryBroker::new();
    let session = |manners| Adversary::session_of(&memory, manners, 1);
    let deaf = session(Manners { lost_hints: 1000, ..Manners::QUIET });
    let hint = deaf.wait(&[queue("q")]);
    send(&memory, 1).await;
    assert!(!has_come(hint).await);
    let nervous = session(Manners { invented_hints: 1000, ..Manners::QUIET });
    tokio::time::timeout(PATIENCE, nervous.wait(&[queue("q")])).await.unwrap();
    let quiet = session(Manners::QUIET);
    let hint = quiet.wait(&[queue("q")]);
    memory.close(&queue("q")).await.unwrap();
    assert!(has_come(hint).await);
    assert!(!has_come(quiet.wait(&[queue("q")])).await, "nothing happened since");
}

/// Whoever gets too little is told that it is worth while to ask again.
#[tokio::test]
async fn a_claim_that_gets_too_little_says_so() {
    let memory = MemoryBroker::new();
    send(&memory, 100).await;
    let none = Adversary::session_of(&memory, Manners { nothing: 1000, ..Manners::QUIET }, 1);
    let reply = claim(&none, 9).await;
    assert_eq!((numbers(&reply.tasks), reply.ended), (vec![], false));
    assert!(reply.next.unwrap() < Duration::from_secs(1), "ask again after {:?}", reply.next);
    let few = Adversary::session_of(&memory, Manners { fewer: 1000, ..Manners::QUIET }, 1);
    let (mut replies, mut all) = (BTreeSet::new(), Vec::new());
    while all.len() < 90 {
        let reply = claim(&few, 9).await;
        assert!(reply.next.unwrap() < Duration::from_secs(1), "ask again after {:?}", reply.next);
        all.extend(numbers(&reply.tasks));
        replies.insert(reply.tasks.len());
    }
    assert!(
        replies.len() > 4 && replies.iter().all(|got| (1..9).contains(got)),
        "claims of 9 got {replies:?}"
    );
    assert_eq!(all, (1..=u32::try_from(all.len()).unwrap()).collect::<Vec<_>>(), "the order of new tasks");
}

/// What was seen of all histories: an adversary that is only polite would prove nothing.
#[derive(Debug, Default)]
struct Seen {
    refused: usize,
    unanswered: usize,
    empty: usize,
    reordered: usize,
    lost: usize,
    dead: u64,
}

/// What an onlooker knows of one history.
struct History {
    clock: ManualClock,
    memory: MemoryBroker,
    sessions: Vec<Adversary>,
    seed: u64,
    chance: u64,
    sent: u32,
    held: Vec<(usize, ClaimedTask)>,
    epochs: BTreeMap<u32, u64>,
    /// The last task that was handed out for the first time.
    newest: u32,
    /// Given back and not handed out since.
    released: BTreeSet<u32>,
    completed: BTreeSet<u32>,
}

impl History {
    fn new(seed: u64) -> Self {
        let clock = ManualClock::default();
        let memory = MemoryBroker::with_clock(Arc::new(clock.clone()));
        let manners = Manners { delay: Duration::ZERO, ..Manners::HOSTILE };
        let sessions = (0..3).map(|n| Adversary::session_of(&memory, manners, seed * 3 + n)).collect();
        Self {
            clock,
            memory,
            sessions,
            seed,
            chance: seed,
            sent: 0,
            held: Vec::new(),
            epochs: BTreeMap::new(),
            newest: 0,
            released: BTreeSet::new(),
            completed: BTreeSet::new(),
        }
    }

    /// A number of this history below `bound`: Knuth's generator, which is not the adversary's.
    fn below(&mut self, bound: usize) -> usize {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.chance >> 33).unwrap() % bound
    }

    async fn step(&mut self, seen: &mut Seen) {
        let who = self.below(self.sessions.len());
        match self.below(10) {
            0 | 1 => self.enqueue(who, seen).await,
            2..=4 => self.claim(who, seen).await,
            5..=7 => self.settle(who, seen).await,
            8 => self.beat(who).await,
            _ => {
                let seconds = self.below(12) as u64;
                self.clock.advance(Duration::from_secs(seconds));
            }
        }
        self.memory.check().unwrap();
    }

    fn failed(error: &Error, seen: &mut Seen) {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
        let refused = error.report().contains("nothing was done");
        *(if refused { &mut seen.refused } else { &mut seen.unanswered }) += 1;
    }

    async fn enqueue(&mut self, who: usize, seen: &mut Seen) {
        let new = task("q", self.sent + 1);
        loop {
            match self.sessions[who].enqueue(std::slice::from_ref(&new), None).await {
                Ok(answers) => {
                    assert!(matches!(answers[..], [Enqueued::Enqueued | Enqueued::Exists]), "{answers:?}");
                    self.sent += 1;
                    return;
                }
                Err(error) => Self::failed(&error, seen),
            }
        }
    }

    async fn claim(&mut self, who: usize, seen: &mut Seen) {
        let max = 1 + self.below(6);
        let ready = counts(&self.memory, "q").await[0];
        let reply = match self.sessions[who].claim(&Claim::new(queue("q"), max).with_lease(LEASE)).await {
            Ok(reply) => reply,
            Err(error) => {
                // They may have been claimed and lost, and even have died of that.
                self.released.clear();
                return Self::failed(&error, seen);
            }
        };
        let tasks = &reply.tasks;
        assert!(tasks.len() <= max, "{} tasks for a claim of {max}", tasks.len());
        assert!(
            tasks.len() == 1 || tasks.iter().all(|task| !task.alone),
            "beside one that runs alone: {tasks:?}"
        );
        seen.empty += usize::from(tasks.is_empty() && ready > 0);
        let lost: Vec<_> = tasks.iter().filter(|task| task.deaths > 0).map(number).collect();
        seen.reordered += usize::from(!lost.is_sorted());
        let given_back = tasks.iter().take_while(|task| task.deaths > 0).count();
        for task in tasks {
            self.released.remove(&number(task));
        }
        for (index, task) in tasks.iter().enumerate() {
            let n = number(task);
            let last = self.epochs.insert(n, task.lease.epoch);
            assert!(last.is_none_or(|last| last < task.lease.epoch), "the epoch of {n} after {last:?}");
            assert!(!self.completed.contains(&n), "{n} is completed, and handed out again");
            if last.is_none() && task.deaths == 0 {
                assert!(n > self.newest, "{n} was never claimed, and comes after {}", self.newest);
                self.newest = n;
                assert!(given_back <= index, "{n} was never claimed, and goes before {tasks:?}");
                assert_eq!(self.released, BTreeSet::new(), "given back, and behind {n}, which is new");
            }
        }
        self.held.extend(reply.tasks.into_iter().map(|task| (who, task)));
    }

    async fn settle(&mut self, who: usize, seen: &mut Seen) {
        let mine: Vec<_> = (0..self.held.len()).filter(|index| self.held[*index].0 == who).collect();
        if mine.is_empty() {
            return;
        }
        let index = mine[self.below(mine.len())];
        let (_, task) = self.held.swap_remove(index);
        let n = number(&task);
        let end = match self.below(6) {
            0 => End::Release,
            1 => End::Retry { error: "no".to_owned(), delay: Duration::from_secs(3) },
            2 => End::Bury { error: "never".to_owned() },
            _ => End::Complete { children: vec![self::task("done", n)], result: None },
        };
        let settlement = [Settlement::new(task.lease, end)];
        let mut unknown = false;
        let [before, ..] = counts(&self.memory, "done").await;
        let answer = loop {
            match self.sessions[who].settle(&settlement).await {
                Ok(answers) => break answers[0],
                Err(error) => {
                    unknown = true;
                    Self::failed(&error, seen);
                }
            }
        };
        let [after, ..] = counts(&self.memory, "done").await;
        let completes = matches!(settlement[0].end, End::Complete { .. });
        if answer == Settled::Settled {
            assert_eq!(after - before, u64::from(completes), "what the settlement of {n} handed on");
        } else if !unknown {
            assert_eq!(after, before, "a settlement of {n} was refused, and took effect");
        }
        match (answer, &settlement[0].end) {
            (Settled::Settled, End::Complete { .. }) => {
                assert!(self.completed.insert(n), "{n} is completed twice");
            }
            (Settled::Settled, End::Release) if task.deaths < 2 => drop(self.released.insert(n)),
            (Settled::Lost, _) if !unknown => seen.lost += 1,
            _ => {}
        }
    }

    async fn beat(&mut self, who: usize) {
        let mine = self.held.iter().filter(|(holder, _)| *holder == who);
        let leases: Vec<_> = mine.map(|(_, task)| task.lease.clone()).collect();
        let Ok(answers) = self.sessions[who].beat(&manyhands_broker::Beat::all(&leases), LEASE).await else {
            return;
        };
        assert_eq!(answers.len(), leases.len());
        let lost: Vec<_> = leases.iter().zip(answers).filter(|(_, answer)| *answer == Beaten::Lost).collect();
        self.held.retain(|(_, task)| lost.iter().all(|(lease, _)| task.lease != **lease));
    }

    /// Nothing came about by itself, nothing vanished.
    async fn end(self, seen: &mut Seen) {
        let [ready, scheduled, leased, dead] = counts(&self.memory, "q").await;
        let [done, ..] = counts(&self.memory, "done").await;
        assert_eq!(ready + scheduled + leased + dead + done, u64::from(self.sent));
        assert!(done >= self.completed.len() as u64, "{done} children of {:?}", self.completed);
        seen.dead += dead;
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("that was the history of seed {}", self.seed);
        }
    }
}

#[tokio::test]
async fn whatever_it_does_is_allowed_and_it_does_all_of_it() {
    let mut seen = Seen::default();
    for seed in 0..300 {
        let mut history = History::new(seed);
        for _ in 0..200 {
            history.step(&mut seen).await;
        }
        history.end(&mut seen).await;
    }
    let Seen { refused, unanswered, empty, reordered, lost, dead } = seen;
    for (what, times) in [
        ("calls were refused", refused),
        ("calls were not answered", unanswered),
        ("claims got nothing though there was something", empty),
        ("claims got lost tasks in another order", reordered),
        ("settlements were too late", lost),
        ("tasks died", usize::try_from(dead).unwrap()),
    ] {
        assert!(times > 10, "{times} {what}");
    }
}
