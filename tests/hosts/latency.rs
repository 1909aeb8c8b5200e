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

/// How much later what is said arrives, each way.
const LATENCY: Duration = Duration::from_millis(200);

/// The host that works behind the gateway.
const SLOW: usize = 2;

/// How many tasks it does.
const DONE: usize = 40;

/// One of three workers and who sends are behind it: nothing is lost, and nothing is run twice.
pub(crate) fn play(kind: Kind) {
    let mut scene = Scene::new(kind);
    let gateway = scene.lan.host("gateway").unwrap();
    let [here, there] = [gateway.address(), scene.brokers[0].address()];
    let [here, there] = [here, there].map(|address| SocketAddrV4::new(address, scene.server.port()));
    let relay = gateway.inside(|| Relay::start_at(here, there)).unwrap().unwrap();
    relay.set(Fault::Latency(LATENCY)).unwrap();
    [SLOW, PRODUCER].iter().for_each(|member| scene.broker_of(*member, gateway.address()));
    // As long as they are unless told otherwise: until its second connection is there, which is made when a lease is first renewed, a worker needs some
    // two seconds here.
    scene.lease = Duration::from_secs(30);
    scene.start();
    scene.until("work behind the gateway", |scene| scene.told(SLOW).done.len() >= DONE);
    scene.until("work on all hosts", |scene| scene.workers().all(|told| told.done.len() >= DONE));
    let report = scene.end();
    assert!(report.doubled.is_empty() && report.overlapping.is_empty(), "a run is repeated: {report}");
    assert_eq!(report.runs, report.confirmed, "{report}");
    assert!(relay.stats().accepted >= 2, "both were behind the gateway: {:?}", relay.stats());
}
