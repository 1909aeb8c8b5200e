//! Links on which everything takes its time.
//!
//! Few kernels of test machines have the queue that delays packets (`sch_netem`). So the slow hosts reach the broker by a gateway, a host of its
//! own, which passes on what is said on a connection, each way so much later. What it cannot delay is that a connection is made.

use std::{net::SocketAddrV4, time::Duration};

use manyhands_test_support::relay::{Fault, Relay};

use crate::{
    scene::{PRODUCER, Scene},
    server::Kind,
};

/// How much later what is said arrives, each way: an answer takes 200 ms.
const LATENCY: Duration = Duration::from_millis(100);

/// The hosts that work behind the gateway. The third, which is near, does not do all that is sent.
const SLOW: [usize; 2] = [1, 2];

/// How many tasks each of them does.
const DONE: usize = 25;

/// Two of three workers and who sends are behind it: nothing is lost, and nothing is run twice.
pub(crate) fn play(kind: Kind) {
    let mut scene = Scene::new(kind);
    let gateway = scene.lan.host("gateway").unwrap();
    let [here, there] = [gateway.address(), scene.brokers[0].address()];
    let [here, there] = [here, there].map(|address| SocketAddrV4::new(address, scene.server.port()));
    let relay = gateway.inside(|| Relay::start_at(here, there)).unwrap().unwrap();
    relay.set(Fault::Latency(LATENCY)).unwrap();
    SLOW.iter().chain(&[PRODUCER]).for_each(|member| scene.broker_of(*member, gateway.address()));
    // As long as they are unless told otherwise. Nobody is to be missed here, and with short ones a worker would be: its second connection, which is made
    // when a lease is first renewed, takes a second.
    scene.lease = Duration::from_secs(30);
    scene.start();
    scene.until("work behind the gateway", |scene| {
        SLOW.iter().all(|worker| scene.told(*worker).done.len() >= DONE)
    });
    let report = scene.end();
    assert!(report.doubled.is_empty() && report.overlapping.is_empty(), "a run is repeated: {report}");
    assert_eq!(report.runs, report.confirmed, "{report}");
    assert!(relay.stats().accepted >= 3, "all three were behind the gateway: {:?}", relay.stats());
}
