//! The demo over a server, by its URL alone: whoever is killed, the server included, there are 250 films.

#![cfg(feature = "demo")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "what a helper cannot do fails the test")]

mod demo_process;

use std::time::Duration;

use demo_process::{Running, killed, run_well, then_ran};
use manyhands_test_support::{
    relay::{Fault, Relay},
    servers::{RabbitMq, Redis},
};

/// Kills each role in turn.
fn runs_whoever_is_killed(broker: &str) {
    for kill in ["", "--kill", "--kill=site", "--kill=producer", "--kill=parser", "--kill=saver"] {
        let folder = tempfile::tempdir().unwrap();
        let args = ["--broker", broker, kill];
        let out = run_well(&folder, if kill.is_empty() { &args[..2] } else { &args });
        if kill == "--kill" {
            let ((pid, held), reruns) = (killed(&out), then_ran(&out));
            assert!(held.len() >= 2 && reruns.iter().all(|(other, _)| *other != pid), "{out}");
        }
    }
}

/// Here a death is noticed by the leases, which are 2 s in the demo.
#[test]
fn it_runs_on_redis_whoever_is_killed() {
    let redis = Redis::start().unwrap();
    runs_whoever_is_killed(&redis.url());
}

/// Here a death is the end of a connection.
#[test]
fn it_runs_on_rabbitmq_whoever_is_killed() {
    runs_whoever_is_killed(&RabbitMq::shared_url().unwrap());
}

/// Killed in the middle of the work and started again: sessions are rebuilt, and what was sent is still there.
#[test]
fn it_outlives_a_restart_of_redis() {
    let mut redis = Redis::options().append_only().start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(&folder, &["--broker", &redis.url()]);
    running.until("fetched 1/10");
    redis.restart().unwrap();
    running.ends_well(&folder);
}

/// The same. A node saves its list of quorum queues twice a second, and a killed one forgets a queue that is not in it, with
/// all that it confirmed; so it is killed when the last queue is. A slow network makes the work last until then.
#[test]
fn it_outlives_a_restart_of_rabbitmq() {
    let mut rabbitmq = RabbitMq::start().unwrap();
    let relay = Relay::start(rabbitmq.port()).unwrap();
    relay.set(Fault::Latency(Duration::from_millis(20))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(&folder, &["--broker", &relay.url(&rabbitmq.url())]);
    running.until_line(|_| rabbitmq.has_noted(":work:save").unwrap_or(false));
    rabbitmq.restart().unwrap();
    running.ends_well(&folder);
}
