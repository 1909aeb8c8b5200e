//! The channels on which tasks are delivered and acknowledged: one, and those before it while something on them is open.
//!
//! One word acknowledges all deliveries of a channel up to one, if none of them is still open. So a task that runs for long makes
//! each one after it cost a word, and the server an entry of its log. Where that goes on, the session goes on with a fresh channel:
//! nobody consumes on the one before any more, and it is closed when its last delivery has ended.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicNackOptions, ChannelFlowOptions},
};
use tokio::sync::RwLock;

use super::{arrival::Place, class::Class, live::Live, tags::Words};
use crate::{Interest, QueueName, Result};

/// How many deliveries may be acknowledged by themselves because of one that is still open.
const HELD_BACK: usize = 1000;

/// How many channels there are at most: a few that wait for a slow task each. Where more tasks than that are slow, each word is for one.
const MOST: usize = 8;

/// The least time between two changes: consumers begin anew, which costs some answers of the server.
const APART: Duration = Duration::from_secs(1);

/// How long what the server may send is waited for: it writes down what has ended first.
const SPENDING: Duration = Duration::from_secs(1);

/// A channel, and its number among those of its connections.
pub(super) struct Lane {
    pub(super) number: u32,
    pub(super) channel: Channel,
}

/// The channels of deliveries.
pub(super) struct Lanes {
    state: Mutex<State>,
    /// Held by who ends deliveries, and alone by who wants no more of them for a moment.
    ending: RwLock<()>,
}

struct State {
    /// Where consumers are.
    current: Arc<Lane>,
    /// Those before, in their order.
    before: Vec<Arc<Lane>>,
    changed: Option<Instant>,
}

impl Lanes {
    pub(super) fn new(channel: Channel) -> Self {
        let current = Arc::new(Lane { number: 0, channel });
        let state = Mutex::new(State { current, before: Vec::new(), changed: None });
        Self { state, ending: RwLock::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where who begins to consume does.
    pub(super) fn current(&self) -> Arc<Lane> {
        Arc::clone(&self.state().current)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Lane>> {
        let state = self.state();
        state.before.iter().chain([&state.current]).cloned().collect()
    }

    /// The one of this number, unless all its deliveries have ended.
    pub(super) fn of(&self, number: u32) -> Option<Arc<Lane>> {
        self.all().into_iter().find(|lane| lane.number == number)
    }

    /// Where these came.
    pub(super) fn of_each(&self, places: impl IntoIterator<Item = Place>) -> Vec<Arc<Lane>> {
        let numbers: BTreeSet<u32> = places.into_iter().map(|place| place.lane).collect();
        self.all().into_iter().filter(|lane| numbers.contains(&lane.number)).collect()
    }

    /// Whether the server has closed one of them: what was delivered on it is handed out again.
    pub(super) fn has_lost_one(&self) -> bool {
        self.all().iter().any(|lane| !lane.channel.status().connected())
    }

    /// Whether there may be another one.
    fn may_change(&self) -> bool {
        let state = self.state();
        state.before.len() + 1 < MOST && state.changed.is_none_or(|changed| changed.elapsed() >= APART)
    }

    /// Makes this the current one, and tells which one was.
    fn go_on_with(&self, channel: Channel) -> Arc<Lane> {
        let mut state = self.state();
        let number = state.current.number + 1;
        let before = std::mem::replace(&mut state.current, Arc::new(Lane { number, channel }));
        state.before.push(Arc::clone(&before));
        state.changed = Some(Instant::now());
        before
    }

    /// Takes those out where nobody consumes any more, nothing is open, and nobody waits for an answer.
    fn ended(&self, open: &BTreeSet<u32>) -> Vec<Arc<Lane>> {
        let ended = |lane: &mut Arc<Lane>| Arc::strong_count(lane) == 1 && !open.contains(&lane.number);
        self.state().before.extract_if(.., ended).collect()
    }
}

impl Live {
    /// Goes on with a fresh channel where one delivery holds the acknowledgements of many others back. Only who claims may.
    pub(super) async fn change_lane(&self) -> Result<()> {
        let current = self.lanes.current().number;
        let held_back = self.intake().tags(current).held_back();
        if held_back < HELD_BACK || !self.lanes.may_change() {
            return Ok(());
        }
        let fresh = self.call("claim", self.to_consume.create_channel()).await?;
        let before = self.lanes.go_on_with(fresh);
        // What is on its way to a consumer that is cancelled, the server takes back, and counts that like a death. So nothing ends for a
        // moment, and what the server sends for what has ended before is waited for.
        let _nothing_ends = self.lanes.ending.write().await;
        let queues = self.intake().queues();
        for queue in queues {
            let consumers = self.intake().line(&queue).consumers();
            if consumers.is_empty() {
                continue;
            }
            let classes: BTreeSet<Class> = consumers.iter().map(|(source, _)| source.class).collect();
            for class in classes {
                self.spend_credit(&before, &queue, class).await?;
            }
            self.cancel(&queue, consumers).await?;
            // Nothing is sent to those who wait until they have asked again.
            self.waiters.wake(Interest::Ready, &queue);
        }
        Ok(())
    }

    /// Waits until the server has sent what it may of a class, or has no more of it. Where tasks come all the time and are few, it may not.
    async fn spend_credit(&self, lane: &Lane, queue: &QueueName, class: Class) -> Result<()> {
        let (name, began) = (self.names.work(queue, class), Instant::now());
        while began.elapsed() < SPENDING {
            let ready = self.ask_ready("claim", &lane.channel, &name).await?;
            self.drain(queue);
            if ready == 0 || self.intake().line(queue).credit(class) == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Closes the channels that have nothing left to wait for.
    pub(super) async fn close_ended_lanes(&self) -> Result<()> {
        // Who claims may be cancelling consumers, whose deliveries are on their way.
        let Ok(_alone) = self.claiming.try_lock() else { return Ok(()) };
        let open = self.intake().open_lanes();
        let ended = self.lanes.ended(&open);
        for lane in ended {
            self.intake().forget_tags(lane.number);
            self.call("claim", lane.channel.close(200, "done".into())).await?;
        }
        Ok(())
    }

    /// Ends deliveries: all of them are on their way to the server after this.
    pub(super) async fn ack(&self, operation: &'static str, places: &[Place]) -> Result<()> {
        let _ending = self.lanes.ending.read().await;
        let words = self.intake().words_for(places);
        let mut said = Vec::with_capacity(places.len());
        for (number, Words { up_to, each }) in words {
            let Some(lane) = self.lanes.of(number) else { continue };
            said.extend(up_to.map(|tag| (Arc::clone(&lane), tag, true)));
            said.extend(each.into_iter().map(|tag| (Arc::clone(&lane), tag, false)));
        }
        let written = async {
            let say = |(lane, tag, multiple): (Arc<Lane>, u64, bool)| async move {
                lane.channel.basic_ack(tag, BasicAckOptions { multiple }).await
            };
            join_all(said.into_iter().map(say)).await.into_iter().collect::<lapin::Result<()>>()
        };
        self.call(operation, written).await?;
        self.intake().close(places);
        Ok(())
    }

    /// Lets the server hand out a delivery again, and count that.
    pub(super) async fn hand_back(&self, queue: &QueueName, place: Place) -> Result<()> {
        let _ending = self.lanes.ending.read().await;
        self.intake().line(queue).returns();
        let Some(lane) = self.lanes.of(place.lane) else { return Ok(()) };
        let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        self.call("claim", lane.channel.basic_nack(place.tag, requeue)).await?;
        self.intake().close(&[place]);
        Ok(())
    }

    /// Waits until the server has taken in what was sent on these channels before. They must have been asked for before what was sent
    /// ended the last delivery of one: as long as somebody has it, it is not closed.
    pub(super) async fn pass(&self, operation: &'static str, lanes: &[Arc<Lane>]) -> Result<()> {
        for lane in lanes {
            // That the server may go on sending, which it does in any case: the channel answers that alone, and asks no queue.
            let go_on = lane.channel.channel_flow(ChannelFlowOptions { active: true });
            self.call(operation, go_on).await?;
        }
        Ok(())
    }
}
