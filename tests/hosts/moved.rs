//! The broker moves from host to host, and all follow it.

use std::net::Ipv4Addr;

use manyhands::Task;
use manyhands_test_support::ledger::now;

use crate::{
    scene::{PRODUCER, Scene},
    server::Kind,
    worker::Work,
};

/// How many tasks are sent before the broker moves and after.
const SOME: usize = 15;

/// First its name gets another address, then another host gets its address. Each time the old host is gone without a word, as if its power
/// was cut: only its disk is there.
pub(crate) fn play(kind: Kind) {
    let mut scene = Scene::new(kind);
    for name in ["broker-2", "broker-3"] {
        let host = scene.lan.host(name).unwrap();
        scene.brokers.push(host);
    }
    scene.count_from_here();
    scene.start();
    all_work(&mut scene);
    scene.until("a server that has stored what it has", |scene| scene.server.is_settled(Work::QUEUE));

    let (second, from) = (scene.brokers[1].address(), now());
    move_to(&mut scene, 1, second);
    scene.broker_is_at(second);
    all_work(&mut scene);
    scene.ledger.fault("the broker's name has another address", None, from).unwrap();

    let from = now();
    move_to(&mut scene, 2, second);
    all_work(&mut scene);
    scene.ledger.fault("the broker's address is another host's", None, from).unwrap();
    let report = scene.end();
    // With RabbitMQ the session that holds a task says whether it was settled, and not the server, which may have taken it away.
    if kind == Kind::Redis {
        assert_eq!(report.resettled, [""; 0], "settled twice");
    }
}

/// Waits until more is sent, and all have done more and renewed a lease: until then it is not over for them.
fn all_work(scene: &mut Scene) {
    let sent = scene.told(PRODUCER).sent;
    let begun: Vec<_> = scene.workers().map(|told| told.begun.len()).collect();
    scene.until("tasks that are sent", |scene| scene.told(PRODUCER).sent >= sent + SOME);
    scene.until("work on all hosts, and leases that are renewed", |scene| {
        scene.workers().zip(&begun).all(|(told, begun)| told.renewed_since(*begun))
    });
}

/// Takes the server's host away, and starts the server on another one, with what is on its disk.
fn move_to(scene: &mut Scene, number: usize, address: Ipv4Addr) {
    let (old, new) = (&scene.brokers[number - 1], &scene.brokers[number]);
    old.unplug().unwrap();
    scene.server.kill();
    if new.address() != address {
        old.give_up(address).unwrap();
        new.take(address).unwrap();
    }
    scene.server.start_again(new, address);
    // It has found itself by its loopback.
    scene.count_from_here();
}
