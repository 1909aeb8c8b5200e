//! What the processes do before the power is cut.

use std::{path::PathBuf, sync::Arc, time::Duration};

use manyhands_broker::{
    Beat, Broker, Cancel, Claim, ClaimedTask, End, Enqueued, NewTask, Payload, QueueOptions, Revived,
    Settled, Settlement, TaskName, Token, limits,
};
use manyhands_test_recorder::record;
use serde::{Deserialize, Serialize};

use crate::{
    Boot, STORE, queue, session,
    told::{How, Line, Name, Order, Run},
};

/// The queue of all boots; each has one of its own too, named as it is.
pub(crate) const SHARED: &str = "shared";

/// How many calls of a producer enqueue something: enough that SQLite writes its log back and begins it anew, some times.
const CALLS: u64 = 100;

/// How long until a worker looks again without having heard of anything.
const LOOK: Duration = Duration::from_millis(20);

/// Who a process is.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) enum Role {
    Producer,
    Worker(u64),
}

/// What a process is told.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Part {
    pub(crate) role: Role,
    pub(crate) boot: Boot,
    pub(crate) store: PathBuf,
    pub(crate) log: PathBuf,
}

/// Plays a part to its end.
pub(crate) async fn run(part: &Part) {
    record(&part.store.join(STORE), &part.log).unwrap();
    let broker = session(&part.store, &part.boot).await;
    let own = part.boot.name.clone();
    match part.role {
        Role::Producer => Producer { broker, own, sent: Vec::new(), chance: Chance(7) }.run().await,
        Role::Worker(number) => Worker { broker, own, chance: Chance(100 + number) }.run().await,
    }
}

struct Producer {
    broker: Arc<dyn Broker>,
    own: String,
    sent: Vec<Name>,
    chance: Chance,
}

impl Producer {
    async fn run(mut self) {
        // Something that was left over is claimed before anything of this boot is synced but the generation.
        let left = self.broker.claim(&Claim::new(queue(SHARED), 1)).await.unwrap().tasks;
        left.iter().for_each(|task| Line::Claimed(Run::of(&task.lease)).note());
        let (name, options) = (queue(&self.own), QueueOptions::default().with_capacity(10_000));
        self.broker.declare(&name, Some(&options)).await.unwrap();
        Line::Configured(self.own.clone(), options.capacity).note();
        for call in 0..CALLS {
            // Two at once, for a group of more than one call.
            let (first, second) = (self.tasks(call, "a"), self.tasks(call, "b"));
            let both = if call % 3 == 0 { second } else { Vec::new() };
            tokio::join!(self.enqueue(&first), self.enqueue(&both));
            self.sent.extend(first.into_iter().chain(both));
            if call % 7 == 3 {
                self.cancel().await;
            }
            if call % 11 == 5 {
                self.pause(true).await;
                self.pause(false).await;
            }
            if call % 9 == 8 {
                self.tidy().await;
            }
        }
        Line::Close(self.own.clone()).note();
        self.broker.close(&name).await.unwrap();
        Line::Closed(self.own).note();
    }

    fn tasks(&mut self, call: u64, part: &str) -> Vec<Name> {
        let on = if self.chance.below(3) == 0 { SHARED } else { &self.own };
        (0..1 + self.chance.below(4))
            .map(|number| Name::new(on, format!("{}-{call}-{part}{number}", self.own)))
            .collect()
    }

    async fn enqueue(&self, names: &[Name]) {
        if names.is_empty() {
            return;
        }
        Line::Ask(Order::Enqueue, names.to_vec()).note();
        let tasks: Vec<_> = names.iter().map(new_task).collect();
        assert_eq!(
            self.broker.enqueue(&tasks, Some(Token::next(self.broker.incarnation()))).await.unwrap(),
            vec![Enqueued::Enqueued; tasks.len()]
        );
        Line::Done(Order::Enqueue, names.to_vec()).note();
    }

    async fn cancel(&mut self) {
        let last = self.sent.len() as u64;
        for _ in 0..2 {
            let task = self.sent[(last - 1 - self.chance.below(last.min(8))) as usize].clone();
            Line::Ask(Order::Cancel, vec![task.clone()]).note();
            let answers = self.broker.cancel(&queue(&task.queue), &[task.id()]).await.unwrap();
            if answers == [Cancel::Cancelled] {
                Line::Done(Order::Cancel, vec![task]).note();
            }
        }
    }

    async fn pause(&self, paused: bool) {
        Line::Pause(self.own.clone()).note();
        let own = queue(&self.own);
        let done =
            if paused { self.broker.pause(&own, "load").await } else { self.broker.resume(&own).await };
        done.unwrap();
        Line::Paused(self.own.clone(), paused).note();
    }

    /// Revives one of the dead, and purges another.
    async fn tidy(&self) {
        let (name, dead) = (queue(&self.own), self.broker.dead_letters().unwrap());
        let tasks = dead.list(&name, None, 2).await.unwrap();
        let names: Vec<_> = tasks.iter().map(|task| Name::new(&name, &task.id)).collect();
        if let Some(task) = names.first() {
            Line::Ask(Order::Revive, vec![task.clone()]).note();
            if dead.revive(&name, &[task.id()]).await.unwrap() == [Revived::Revived] {
                Line::Done(Order::Revive, vec![task.clone()]).note();
            }
        }
        if let Some(task) = names.get(1) {
            Line::Ask(Order::Purge, vec![task.clone()]).note();
            if dead.purge(&name, &[task.id()]).await.unwrap() == [true] {
                Line::Done(Order::Purge, vec![task.clone()]).note();
            }
        }
    }
}

struct Worker {
    broker: Arc<dyn Broker>,
    own: String,
    chance: Chance,
}

impl Worker {
    /// Works until the queue of this boot is closed and nothing is left but what is held; some tasks are held to the end.
    async fn run(mut self) {
        let queues = [queue(&self.own), queue(SHARED)];
        loop {
            let changed = self.broker.wait(&queues);
            let mut found = false;
            for name in &queues {
                let most = 1 + self.chance.below(4) as usize;
                let tasks = self.broker.claim(&Claim::new(name.clone(), most)).await.unwrap().tasks;
                tasks.iter().for_each(|task| Line::Claimed(Run::of(&task.lease)).note());
                found |= !tasks.is_empty();
                self.end(tasks).await;
            }
            if !found {
                let own = self.broker.status(&queues[0]).await.unwrap();
                let shared = self.broker.status(&queues[1]).await.unwrap();
                let closed = own.as_ref().is_some_and(|own| own.closed);
                let left = own.into_iter().chain(shared).map(|queue| queue.ready + queue.scheduled);
                if closed && left.sum::<u64>() == 0 {
                    return;
                }
                let _ = tokio::time::timeout(LOOK, changed).await;
            }
        }
    }

    async fn end(&mut self, tasks: Vec<ClaimedTask>) {
        let mut settlements = Vec::new();
        for task in &tasks {
            let name = Name::new(&task.lease.queue, &task.lease.id);
            let (how, end, children) = match self.chance.below(20) {
                // Held.
                0 => continue,
                1..=3 => {
                    let delay = Duration::from_millis(1);
                    (How::Retry, End::Retry { error: "it failed".to_owned(), delay }, Vec::new())
                }
                4..=5 => (How::Bury, End::Bury { error: "it cannot succeed".to_owned() }, Vec::new()),
                6..=7 => (How::Release, End::Release, Vec::new()),
                _ => {
                    let parent = !name.id.contains('/') && self.chance.below(3) == 0;
                    let child = |(number, on): (usize, &str)| Name::new(on, format!("{}/{number}", name.id));
                    let children = [self.own.as_str(), SHARED].into_iter().enumerate().map(child);
                    let children: Vec<_> = children.filter(|_| parent).collect();
                    (How::Complete, End::complete(children.iter().map(new_task).collect()), children)
                }
            };
            Line::Settle(Run::of(&task.lease), how, children).note();
            settlements.push(Settlement::new(task.lease.clone(), end));
        }
        let beats: Vec<Beat> = tasks.iter().map(|task| task.lease.clone().into()).collect();
        if beats.is_empty() {
            return;
        }
        // Both in one group.
        let (beaten, settled) =
            tokio::join!(self.broker.beat(&beats, limits::LEASE), self.broker.settle(&settlements));
        beaten.unwrap();
        for (settlement, answer) in settlements.iter().zip(settled.unwrap()) {
            assert_eq!(answer, Settled::Settled);
            Line::Settled(Run::of(&settlement.lease)).note();
            if self.chance.below(2) == 0 {
                self.send_children(&settlement.end).await;
            }
        }
    }

    /// Sends what was handed on, as somebody may who does not know that it was: who is told that it is there can rely on it.
    async fn send_children(&self, end: &End) {
        let End::Complete { children, .. } = end else { return };
        if !children.is_empty() {
            let answers = self.broker.enqueue(children, None).await.unwrap();
            assert_eq!(answers, vec![Enqueued::Exists; children.len()]);
            let names = children.iter().map(|child| Name::new(&child.queue, &child.id)).collect();
            Line::Done(Order::Enqueue, names).note();
        }
    }
}

/// A task that fails and dies with its processes as often as it likes, with a payload of any size.
pub(crate) fn new_task(name: &Name) -> NewTask {
    let size = name.id.bytes().fold(0_usize, |all, byte| (all * 31 + usize::from(byte)) % 2500);
    let payload = Payload::encode(&"x".repeat(size)).unwrap();
    let mut task = NewTask::new(queue(&name.queue), TaskName::new("work").unwrap(), payload);
    (task.max_attempts, task.max_crashes) = (100, 100);
    task.with_id(name.id())
}

/// xorshift: chance that is the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
