//! A Redis whose network fails in all the ways that a network can, and that is killed itself, at moments that a seed chooses.
//!
//! `MANYHANDS_TEST_LONG` set: six rounds of all faults instead of one of those that take no long time-outs. `MANYHANDS_TEST_SEED`:
//! the seed, which is printed, of a run that failed.

use std::time::Duration;

use fastrand::Rng;
use manyhands_test_support::{
    ledger::{Record, now},
    relay::{Fault, Relay, Stats},
    servers::Redis,
};

use crate::scene::{PATIENCE, Scene, Sending};

/// What happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outage {
    /// All connections are reset, and nobody can connect for a while.
    Cut,
    /// They are reset in the middle of an answer.
    HalfAnAnswer,
    /// The server does what it is told, and its answers are lost.
    AnswersLost,
    /// Nothing goes through for a while, and then everything does.
    Silence,
    /// The server sees the connections end, and nobody else does.
    HalfOpen,
    /// The server is killed, and started again on what it wrote.
    ServerKilled,
    /// A worker is killed.
    WorkerKilled,
}

impl Outage {
    const ALL: [Self; 7] = [
        Self::Cut,
        Self::HalfAnAnswer,
        Self::AnswersLost,
        Self::Silence,
        Self::ServerKilled,
        Self::WorkerKilled,
        Self::HalfOpen,
    ];
}

/// How long an outage lasts at most, in milliseconds, where that is a matter of chance: in a short run, and in a long one, where it is
/// longer than a call may take.
const LASTS: (u64, u64) = (500, 8000);

/// The most tasks that are done from one outage to the next, and so many more until what happened is over: by then everybody who was
/// hit has gone on.
const BETWEEN: usize = 30;
const AFTER: usize = 24;

/// The scene, with the server and the networks: that of the workers, and that of who sends.
struct Stage {
    server: Redis,
    relays: [Relay; 2],
    scene: Scene,
    chance: Rng,
    lasts: u64,
}

pub(crate) fn outages(test: &'static str) {
    let long = std::env::var_os("MANYHANDS_TEST_LONG").is_some();
    let seed =
        std::env::var("MANYHANDS_TEST_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("{test}: MANYHANDS_TEST_SEED={seed}");
    let mut chance = Rng::with_seed(seed);
    let (rounds, lasts) = if long { (6, LASTS.1) } else { (1, LASTS.0) };
    let kinds = if long { Outage::ALL.as_slice() } else { &Outage::ALL[..6] };
    let server = Redis::options().synced().start().unwrap();
    // Who sends may have nothing to say for a while, so that it does not notice.
    let relays = [server.port(); 2].map(|port| Relay::start(port).unwrap());
    let [url, senders] = [0, 1].map(|relay: usize| relays[relay].url(&server.url()));
    let tasks = (rounds * kinds.len() + 1) * (BETWEEN + AFTER);
    let scene = Scene::start(test, &url, &senders, Sending { tasks, lead: AFTER, held: 0 });
    let mut stage = Stage { server, relays, scene, chance: chance.fork(), lasts };
    for _ in 0..rounds {
        let mut order = kinds.to_vec();
        chance.shuffle(&mut order);
        order.into_iter().for_each(|outage| stage.play(outage));
    }
    let Stage { scene, server: _alive, relays: _open, .. } = stage;
    let report = scene.end();
    assert_eq!(report.resettled, [""; 0], "settled twice");
    let again: Vec<_> = report.doubled.iter().filter(|pair| pair.after_accepted).collect();
    assert!(again.is_empty(), "settled, and run again: {again:?}");
}

impl Stage {
    /// Lets something happen after a while, and waits until work goes on.
    fn play(&mut self, outage: Outage) {
        let until = self.scene.done.len() + self.chance.usize(1..=BETWEEN);
        self.scene.until(|scene| scene.done.len() >= until);
        let from = now();
        match outage {
            Outage::Cut => {
                self.set(Fault::Cut);
                self.wait_a_while();
            }
            Outage::HalfAnAnswer => {
                let bytes = self.chance.u64(1..40);
                self.set(Fault::ByteByByte(Duration::from_millis(1)));
                self.until(|now, before| now.to_client >= before.to_client + bytes);
                self.set(Fault::Cut);
            }
            Outage::AnswersLost => {
                self.set(Fault::RepliesDropped(None));
                self.until(|now, before| now.discarded > before.discarded);
            }
            Outage::Silence => {
                self.set(Fault::BlackHole);
                self.wait_a_while();
            }
            Outage::HalfOpen => {
                self.set(Fault::HalfOpen);
                self.until(|now, before| now.discarded > before.discarded);
            }
            Outage::ServerKilled => {
                self.server.kill().unwrap();
                self.wait_a_while();
                self.server.restart().unwrap();
            }
            Outage::WorkerKilled => {
                let pid = self.chance.choice(&self.scene.workers).unwrap().id();
                self.scene.kill(pid);
            }
        }
        self.relays.iter().for_each(|relay| relay.heal().unwrap());
        let over = self.scene.done.len() + AFTER;
        self.scene.until(|scene| scene.done.len() >= over);
        // An answer that was held up is as late as the outage was long at most, and whoever gets it may be slow.
        let to = now() + self.lasts * 1_000_000;
        let fault = Record::Fault { fault: format!("{outage:?}"), pid: None, from, to };
        self.scene.ledger.write(&fault).unwrap();
    }

    fn set(&self, fault: Fault) {
        self.relays.iter().for_each(|relay| relay.set(fault).unwrap());
    }

    /// Waits until the network of the workers has done something that it had not.
    fn until(&self, enough: impl Fn(&Stats, &Stats) -> bool) {
        let before = self.relays[0].stats();
        self.relays[0].wait(PATIENCE, |now| enough(now, &before)).unwrap();
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how long an outage lasts is no event, and a matter of chance"
    )]
    fn wait_a_while(&mut self) {
        std::thread::sleep(Duration::from_millis(self.chance.u64(0..=self.lasts)));
    }
}
