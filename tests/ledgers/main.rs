//! Tasks lost, doubled, overlapping, or settled from an old epoch: who worked wrote down what it did, on the disk and
//! outside the broker, and nothing else is believed.
//!
//! This process sends; the workers are this program, started again with the same test: where
//! `MANYHANDS_TEST_LEDGERS_BROKER` names a broker, the test is a worker of it. Some are killed, or the network fails,
//! after so many tasks each time; the last end by themselves, with their queue.

#![cfg(all(feature = "local", feature = "rabbitmq", feature = "redis"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]
#![allow(clippy::print_stdout, reason = "the workers' words to their parent, and the figures")]

#[path = "../insistence/mod.rs"]
mod insistence;
mod outages;
mod scene;
mod worker;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, Ordering},
};

use manyhands_test_support::{
    checker::Pair,
    ledger::now,
    relay::{Fault, Relay},
    servers::{RabbitMq, Redis},
};

use insistence::insist;
use scene::{PATIENCE, Scene, Sending};
use worker::{SLOTS, worked};

/// What is sent, all of it as soon as possible.
const TASKS: usize = 300;
const ALL: Sending = Sending { tasks: TASKS, lead: TASKS, held: 0 };

/// How often something fails, and after how many tasks each time.
const STRIKES: usize = 5;
const BETWEEN: usize = 40;

/// So many of the last tasks must be taken from the dead.
const HELD: usize = SLOTS;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Workers are killed in the middle of the work, and those that hold its end when there is nothing else left. The queue
/// is closed by then: who is idle may not take it for ended.
fn kills(test: &'static str, url: &str) {
    let mut scene = Scene::start(test, url, url, Sending { held: HELD, ..ALL });
    for strike in 1..=STRIKES {
        scene.until(|scene| scene.done.len() >= strike * BETWEEN);
        scene.kill(scene.workers[0].id());
    }
    scene.until(|scene| scene.done.len() + scene.held.len() == TASKS);
    let holders: BTreeSet<_> = scene.held.values().copied().collect();
    assert!(!holders.is_empty());
    holders.into_iter().for_each(|pid| scene.kill(pid));
    let report = scene.end();
    assert_eq!(report.overlapping, [], "the dead do not run");
}

/// Workers are killed between the end of a handler and its settlement: what they had done is done again, and nothing else is.
fn kills_between(test: &'static str, url: &str) {
    let kills = if std::env::var_os("MANYHANDS_TEST_LONG").is_some() { 45 } else { 21 };
    // Little ahead, so that not all is done while this process comes to none of its kills.
    let mut scene = Scene::standing(test, url, Sending { lead: BETWEEN / 2, ..ALL }, kills);
    let mut killed = BTreeSet::new();
    for _ in 0..kills {
        scene.until(|scene| !scene.between.is_empty());
        let pid = scene.between.pop_first().unwrap();
        assert!(scene.leased() > 0, "the task is held whose handler has ended");
        scene.kill(pid);
        killed.insert(pid);
    }
    let report = scene.end();
    let unsettled: BTreeSet<_> = report.unsettled.iter().map(|run| run.pid).collect();
    assert!(killed.len() >= 20 && unsettled == killed, "killed {killed:?}, of which between: {unsettled:?}");
    assert!(report.doubled.len() >= kills, "one a kill at least was not settled: {report}");
    for Pair { first, .. } in &report.doubled {
        assert!(report.unsettled.contains(first), "settled, and run again: {first:?}");
    }
    assert_eq!(report.overlapping, [], "the dead do not run");
    println!("{test}: {kills} kills, {} done and not settled", report.unsettled.len());
}

/// All connections fail at once, and once there is a time in which answers are lost.
fn faults(test: &'static str, server: &str) {
    let (address, namespace) = server.split_once('?').unwrap();
    let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
    // Who sends may have nothing to say for a while, so that it does not notice.
    let (relay, senders) = (Relay::start(port).unwrap(), Relay::start(port).unwrap());
    let [url, senders_url] = [&relay, &senders].map(|relay| format!("{}?{namespace}", relay.url(address)));
    // Little ahead, so that all of them meet who sends.
    let mut scene = Scene::start(test, &url, &senders_url, Sending { lead: BETWEEN / 2, ..ALL });
    for strike in 1..=STRIKES {
        scene.until(|scene| scene.done.len() >= strike * BETWEEN);
        let (before, from) = (relay.stats(), now());
        let fault = if strike == STRIKES / 2 { Fault::RepliesDropped(None) } else { Fault::Cut };
        [&relay, &senders].iter().for_each(|relay| relay.set(fault).unwrap());
        if fault != Fault::Cut {
            relay.wait(PATIENCE, |stats| stats.discarded > before.discarded).unwrap();
        }
        [&relay, &senders].iter().for_each(|relay| relay.heal().unwrap());
        // It is not over before a worker noticed: until then they begin what they had got before.
        relay.wait(PATIENCE, |stats| stats.accepted > before.accepted).unwrap();
        scene.ledger.fault(format!("{fault:?}"), None, from).unwrap();
    }
    scene.end();
}

/// A set of queues that nobody else has.
fn fresh(url: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{url}?namespace=ledgers-{}-{}-{number}", std::process::id(), now())
}

#[test]
fn kills_over_local() {
    if worked() {
        return;
    }
    let store = tempfile::tempdir().unwrap();
    kills("kills_over_local", &format!("local:{}", store.path().display()));
}

#[test]
fn kills_over_redis() {
    if worked() {
        return;
    }
    let server = Redis::start().unwrap();
    kills("kills_over_redis", &fresh(&server.url()));
}

#[test]
fn kills_over_rabbitmq() {
    if worked() {
        return;
    }
    kills("kills_over_rabbitmq", &fresh(&RabbitMq::shared_url().unwrap()));
}

#[test]
fn kills_before_the_settlement_over_local() {
    if worked() {
        return;
    }
    let store = tempfile::tempdir().unwrap();
    kills_between("kills_before_the_settlement_over_local", &format!("local:{}", store.path().display()));
}

#[test]
fn kills_before_the_settlement_over_redis() {
    if worked() {
        return;
    }
    let server = Redis::start().unwrap();
    kills_between("kills_before_the_settlement_over_redis", &fresh(&server.url()));
}

#[test]
fn kills_before_the_settlement_over_rabbitmq() {
    if worked() {
        return;
    }
    kills_between("kills_before_the_settlement_over_rabbitmq", &fresh(&RabbitMq::shared_url().unwrap()));
}

#[test]
fn faults_over_redis() {
    if worked() {
        return;
    }
    let server = Redis::start().unwrap();
    faults("faults_over_redis", &fresh(&server.url()));
}

#[test]
fn outages_over_redis() {
    if worked() {
        return;
    }
    outages::outages("outages_over_redis");
}

#[test]
fn faults_over_rabbitmq() {
    if worked() {
        return;
    }
    faults("faults_over_rabbitmq", &fresh(&RabbitMq::shared_url().unwrap()));
}
